"""One task on its way back: what its changelog holds goes to its store, and what is wrong with it is its own problem."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.settlement.state import ORDER_STATE
from schemas.topics import MARKER_KEY
from streams.fill import Fill
from streams.marker import Later, Refuse
from streams.store import Store, StoreIdentity, StoreResources
from streams.tasks import Tasks
from streams.topology import TOPOLOGY
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task

IDENTITY = StoreIdentity("cluster", "group", "settlement-changelog", "topic-id")
NOW_MS = 1_795_000_000_000


@pytest.fixture
def fill(tmp_path: Path) -> Iterator[Fill]:
    task = running_task(Tasks(TOPOLOGY, PREFIX), SETTLEMENT, 0, (0, 0))
    task.store = Store(tmp_path / "store", [ORDER_STATE.name], StoreResources(1 << 20, 1 << 20))
    yield Fill(task, IDENTITY, lambda: NOW_MS)
    task.store.close()


def test_rows_and_the_newest_marker_go_to_the_store_with_where_they_end(fill: Fill) -> None:
    fill.add(message("settlement-changelog", 4, b"row", key=b"order_state/o-1"))
    fill.add(message("settlement-changelog", 5, b"marker", key=MARKER_KEY))
    fill.add(message("settlement-changelog", 6, None, key=b"order_state/o-2"))
    fill.write(9)
    assert fill.task.store is not None
    assert fill.task.store.get_many(ORDER_STATE.name, [b"o-1", b"o-2"]) == [b"row", None]
    stands_for = fill.task.store.stands_for
    assert stands_for is not None
    assert (stands_for.changelog_offset, stands_for.marker, stands_for.applied_at_ms) == (9, b"marker", NOW_MS)
    assert (fill.obstacle, fill.task.restored_records) == (None, 3)


@pytest.mark.parametrize("key", [None, b"", b"no slash", b"another_table/o-1", b"\xff/o-1"])
def test_i8_a_record_of_no_table_is_this_tasks_problem_and_nothing_more_is_written(fill: Fill, key: bytes | None) -> None:
    fill.add(message("settlement-changelog", 4, b"row", key=b"order_state/o-1"))
    fill.add(message("settlement-changelog", 5, b"?", key=key))
    fill.write(9)
    assert isinstance(fill.obstacle, Refuse)
    assert "has a record at offset 5" in fill.obstacle.reason
    assert fill.task.store is not None
    assert fill.task.store.stands_for is None


def test_i8_what_a_store_raises_is_this_tasks_problem_unless_another_process_holds_it(fill: Fill) -> None:
    with fill.guard():
        raise OSError("Input/output error")
    assert fill.obstacle == Refuse("its store cannot be restored: OSError: Input/output error")
    with pytest.raises(OSError, match="No locks available"), fill.guard():
        raise OSError("No locks available")


@pytest.mark.parametrize("said", ["No space left on device", "Disk quota exceeded", "File too large"])
def test_f14_a_disk_without_room_is_an_obstacle_that_passes(fill: Fill, said: str) -> None:
    with fill.guard():
        raise RuntimeError(f"IO error: While appending to file: 000012.sst: {said}")
    assert isinstance(fill.obstacle, Later)
    assert fill.obstacle.reason.startswith("the disk has no room for its store: IO error: ")
    fill.add(message("settlement-changelog", 4, b"row", key=b"order_state/o-1"))
    fill.write(5)
    assert fill.task.store is not None
    assert fill.task.store.stands_for is None, "there would be a hole before it"
