"""The local store on a real RocksDB: never ahead of what it stands for, whatever ends the process (invariant I2)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from rocksdict import DbClosedError

from streams.store import OWN_FILE_BYTES_MAX, StandsFor, Store, StoreIdentity, StoreResources
from tests.support.full_disk import full_disk

ROOT = Path(__file__).parents[2]
IDENTITY = StoreIdentity("cluster", "group", "t.settlement-changelog", "topic-id")
TABLES = ("first", "second")
RESOURCES = StoreResources(1 << 20, 1 << 20)


def stands_for(offset: int) -> StandsFor:
    return StandsFor(IDENTITY, offset, 1_795_000_000_000, b"marker %d" % offset)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "new" / "store", TABLES, RESOURCES)
    yield opened
    opened.close()


def test_a_new_store_is_empty_and_stands_for_nothing(store: Store) -> None:
    assert store.stands_for is None
    assert store.get_many("first", [b"a", b"b"]) == [None, None]
    assert store.get_many("first", []) == []


def test_apply_writes_rows_of_several_tables_deletes_and_what_they_stand_for(store: Store) -> None:
    store.apply({"first": {b"a": b"1", b"b": b"2"}, "second": {b"a": b"3"}}, stands_for(10))
    store.apply({"first": {b"b": None, b"c": b""}}, stands_for(20))
    assert store.get_many("first", [b"c", b"b", b"a", b"a"]) == [b"", None, b"1", b"1"]
    assert store.get_many("second", [b"a", b"b"]) == [b"3", None]
    assert store.stands_for == stands_for(20)


def test_i3_an_epoch_without_changes_moves_what_the_store_stands_for(store: Store) -> None:
    store.apply({}, stands_for(7))
    assert store.stands_for == stands_for(7)


def test_i2_a_write_that_fails_half_way_leaves_neither_rows_nor_position(store: Store) -> None:
    store.apply({"first": {b"a": b"old"}}, stands_for(1))
    with pytest.raises(KeyError):
        store.apply({"first": {b"a": b"new"}, "no such table": {b"a": b"new"}}, stands_for(2))
    assert store.get_many("first", [b"a"]) == [b"old"]
    assert store.stands_for == stands_for(1)


def test_a_closed_store_opens_again_with_all_it_had(tmp_path: Path) -> None:
    for offset in (1, 2, 3):
        store = Store(tmp_path / "store", TABLES, RESOURCES)
        assert store.stands_for == (stands_for(offset - 1) if offset > 1 else None)
        store.apply({"first": {b"%d" % offset: b"x"}}, stands_for(offset))
        store.close()
    store = Store(tmp_path / "store", TABLES, RESOURCES)
    assert store.get_many("first", [b"1", b"2", b"3"]) == [b"x"] * 3
    store.close()


def test_a_store_that_is_open_cannot_be_opened_again(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)lock"):
        Store(store.folder, TABLES, RESOURCES)


def test_f14_a_store_that_cannot_be_flushed_lets_go_and_opens_again_behind(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", TABLES, RESOURCES)
    store.apply({"first": {b"a": b"1"}}, stands_for(1))
    store.flush()
    store.apply({"first": {b"a": b"2"}}, stands_for(2))
    with full_disk(), pytest.raises(Exception, match="File too large") as raised:
        store.close()
    again = Store(tmp_path / "store", TABLES, RESOURCES)
    assert (again.stands_for, again.get_many("first", [b"a"])) == (stands_for(1), [b"1"])
    again.close()
    assert raised.value.__traceback__, "what was raised lives on, and holds no lock"


def test_a_closed_store_answers_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", TABLES, RESOURCES)
    store.close()
    with pytest.raises((DbClosedError, KeyError, AttributeError)):
        store.get_many("first", [b"a"])


def test_a_destroyed_store_is_gone_and_destroying_nothing_is_fine(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", TABLES, RESOURCES)
    store.apply({"first": {b"a": b"1"}}, stands_for(1))
    store.close()
    Store.destroy(tmp_path / "store")
    Store.destroy(tmp_path / "store")
    store = Store(tmp_path / "store", TABLES, RESOURCES)
    assert (store.stands_for, store.get_many("first", [b"a"])) == (None, [None])
    store.close()


DIES = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from streams.store import OWN_FILE_BYTES_MAX, StandsFor, Store, StoreIdentity, StoreResources

    folder, epochs, flush_after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = Store(folder, ("first", "second"), StoreResources(1 << 20, 64 << 10))
    identity = StoreIdentity("cluster", "group", "t.settlement-changelog", "topic-id")
    filling = os.urandom(500)
    for offset in range(1, epochs + 1):
        rows = {b"%d" % (offset * 10 + n): b"%d " % offset + filling for n in range(10)}
        store.apply({"first": {**rows, b"newest": b"%d" % offset}, "second": {b"newest": b"%d" % offset}},
                    StandsFor(identity, offset, 0, b"marker %d" % offset))
        if offset == flush_after:
            store.flush()
    os._exit(9)
""")


def test_what_rocksdb_says_of_itself_does_not_grow_with_the_history(store: Store) -> None:
    for offset in range(250):
        store.apply({"first": {b"%d" % (offset % 50): b"x" * 100}}, stands_for(offset))
        store.flush()
    sizes = {path.name: path.stat().st_size for path in store.folder.iterdir() if path.name.startswith(("LOG", "MANIFEST"))}
    assert any(name.startswith("LOG.old") for name in sizes), "so little was logged that nothing is shown"
    assert sum(sizes.values()) <= 3 * OWN_FILE_BYTES_MAX + 4_096, sizes


@pytest.mark.parametrize(("epochs", "flush_after"), [(3, 0), (30, 20), (20, 20), (400, 0)])
def test_i2_a_process_that_dies_leaves_a_store_that_may_be_behind_and_is_whole(
    tmp_path: Path, epochs: int, flush_after: int
) -> None:
    folder = tmp_path / "store"
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(folder), str(epochs), str(flush_after)], cwd=ROOT, timeout=60, check=False
    )
    assert died.returncode == 9

    store = Store(folder, TABLES, RESOURCES)
    left = store.stands_for
    reached = left.changelog_offset if left else 0
    assert flush_after <= reached <= epochs
    assert left is None or left.marker == b"marker %d" % reached
    newest = b"%d" % reached if reached else None
    assert store.get_many("first", [b"newest"]) == store.get_many("second", [b"newest"]) == [newest]
    for offset in range(1, epochs + 1):
        found = store.get_many("first", [b"%d" % (offset * 10 + n) for n in range(10)])
        assert [row is not None and row.startswith(b"%d " % offset) for row in found] == [offset <= reached] * 10
    store.close()
