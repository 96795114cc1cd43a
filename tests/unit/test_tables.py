"""Tables of the engine: what they hand to the changelog, and that rows of the past can be read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from agents.ports import TableSpec
from agents.settlement.state import ORDER_STATE
from agents.windows.declared import Counts, Ranks, Sums
from agents.windows.watermarks import Heard, Sources
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tables import EngineTable
from streams.tasks import Task
from tests.unit.orders import T0_MS, after, cancelled, captured, failed, placed, refunded


class Old(Struct, frozen=True, array_like=True):
    amount_minor: int


class Grown(Struct, frozen=True, array_like=True):
    amount_minor: int
    note: str = "none yet"


def test_changes_are_the_last_row_per_key_with_the_version_first_and_stay_pending_until_forgotten() -> None:
    table = EngineTable(TableSpec("t", Old, version=3), {})
    table.put_many({(0, b"a"): Old(1), (1, b"a"): Old(2)})
    table.put_many({(0, b"a"): Old(5), (1, b"b"): None})
    first, second = (b"\x03" + msgspec.msgpack.encode(row) for row in (Old(5), Old(2)))
    assert table.changes == {0: {b"a": first}, 1: {b"a": second, b"b": None}}
    table.forget()
    assert table.changes == {}


def test_a_row_that_grew_fields_with_defaults_reads_what_was_written_before(tmp_path: Path) -> None:
    task = Task(None, 0, (("orders", 0),), None)
    task.store = Store(tmp_path / "store", ["t"], StoreResources(1 << 20, 1 << 20))
    old = EngineTable(TableSpec("t", Old), {0: task})
    old.put_many({(0, b"a"): Old(7)})
    task.store.apply({"t": old.changes[0]}, StandsFor(StoreIdentity("c", "g", "l", "i"), 1, 0, None))
    assert EngineTable(TableSpec("t", Grown), {0: task}).get_many([(0, b"a")]) == {(0, b"a"): Grown(7)}
    task.store.close()


@pytest.mark.parametrize(
    "state",
    [
        after(placed(), captured(), refunded(amount_minor=10), failed(), cancelled()),
        after(captured(), failed(), refunded(), cancelled()),
    ],
)
def test_an_order_is_read_back_as_it_was_with_all_that_waits(state: object) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ORDER_STATE.row) == state


@pytest.mark.parametrize(
    "state",
    [
        Sums(1, (2, 2**63 - 1, -5, 0, 7)),
        Counts(3, {-1: 2, 4_711: 1}),
        Ranks(9, (("sku-a", (2, 90)), ("sku-b", (1, 90)))),
        Sources((Heard(T0_MS, False, 7), None), T0_MS),  # noqa: FBT003
    ],
)
def test_windows_and_sources_are_read_back_as_they_were(state: object) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state
