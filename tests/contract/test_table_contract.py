"""One suite for every table: the one in memory and the engine's over a real RocksDB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from agents.ports import Slot, Table, TableSpec
from agents.testing_tables import MemoryTable
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tables import EngineTable, TableFormatError
from streams.tasks import Task


class Entry(Struct, frozen=True, array_like=True):
    amount_minor: int
    names: tuple[str, ...] = ()


SPEC = TableSpec("entries", Entry)
IDENTITY = StoreIdentity("cluster", "group", "changelog", "topic-id")
A, B = (0, b"a"), (0, b"b")


class Harness(ABC):
    """A table, and what its runtime does with it at the end of an epoch."""

    table: Table[Entry]

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def forget(self) -> None: ...


class InMemory(Harness):
    def __init__(self) -> None:
        self._table = MemoryTable(SPEC)
        self.table = self._table

    def commit(self) -> None:
        self._table.commit()

    def forget(self) -> None:
        self._table.forget()


class OverRocksDB(Harness):
    def __init__(self, folder: Path) -> None:
        resources = StoreResources(1 << 20, 1 << 20)
        self.tasks = {partition: Task(None, partition, (("orders", partition),), None) for partition in (0, 1)}
        for partition, task in self.tasks.items():
            task.store = Store(folder / str(partition), [SPEC.name], resources)
        self._table = EngineTable(SPEC, self.tasks)
        self.table = self._table
        self._offset = 0

    def commit(self) -> None:
        changes: dict[int, dict[bytes, bytes | None]] = {0: {}, 1: {}}
        for partition, rows in self._table.changes.items():
            changes[partition].update(rows)
        self._table.forget()
        self._offset += 1
        for partition, task in self.tasks.items():
            assert task.store is not None
            task.store.apply({SPEC.name: changes[partition]}, StandsFor(IDENTITY, self._offset, 0, None))

    def forget(self) -> None:
        self._table.forget()

    def close(self) -> None:
        for task in self.tasks.values():
            assert task.store is not None
            task.store.close()


@pytest.fixture(params=["memory", "rocksdb"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    if request.param == "memory":
        yield InMemory()
        return
    over_rocksdb = OverRocksDB(tmp_path)
    yield over_rocksdb
    over_rocksdb.close()


def get(harness: Harness, slot: Slot) -> Entry | None:
    return harness.table.get_many([slot])[slot]


def test_a_row_that_was_never_written_is_none(harness: Harness) -> None:
    assert harness.table.get_many([A, B]) == {A: None, B: None}
    assert harness.table.get_many([]) == {}


def test_an_epoch_reads_what_it_wrote_before_it_is_committed(harness: Harness) -> None:
    harness.table.put_many({A: Entry(1, ("x",))})
    assert get(harness, A) == Entry(1, ("x",))
    harness.table.put_many({A: Entry(2)})
    assert get(harness, A) == Entry(2)


def test_what_was_committed_is_read_in_later_epochs(harness: Harness) -> None:
    harness.table.put_many({A: Entry(1), B: Entry(2)})
    harness.commit()
    harness.table.put_many({B: Entry(3)})
    assert harness.table.get_many([A, B]) == {A: Entry(1), B: Entry(3)}
    harness.commit()
    assert harness.table.get_many([A, B]) == {A: Entry(1), B: Entry(3)}


def test_i1_what_is_forgotten_leaves_the_last_commit(harness: Harness) -> None:
    harness.table.put_many({A: Entry(1)})
    harness.commit()
    harness.table.put_many({A: Entry(9), B: Entry(9)})
    harness.forget()
    assert harness.table.get_many([A, B]) == {A: Entry(1), B: None}
    harness.commit()
    assert harness.table.get_many([A, B]) == {A: Entry(1), B: None}


def test_none_deletes_at_once_and_for_good_and_may_be_written_again(harness: Harness) -> None:
    harness.table.put_many({A: Entry(1)})
    harness.commit()
    harness.table.put_many({A: None, B: None})
    assert harness.table.get_many([A, B]) == {A: None, B: None}
    harness.commit()
    assert get(harness, A) is None
    harness.table.put_many({A: Entry(2)})
    harness.commit()
    assert get(harness, A) == Entry(2)


def test_one_row_may_be_written_for_many_keys_and_many_deleted_at_once(harness: Harness) -> None:
    other = (1, b"a")
    harness.table.put_same({0: [b"a", b"b"], 1: [b"a"]}, Entry(1))
    harness.commit()
    assert harness.table.get_many([A, B, other]) == dict.fromkeys([A, B, other], Entry(1))
    harness.table.put_same({0: [b"a"], 1: [b"a"]}, None)
    assert harness.table.get_many([A, B, other]) == {A: None, B: Entry(1), other: None}
    harness.commit()
    assert harness.table.get_many([A, B, other]) == {A: None, B: Entry(1), other: None}


def test_the_same_key_in_two_partitions_is_two_rows(harness: Harness) -> None:
    harness.table.put_many({(0, b"a"): Entry(1), (1, b"a"): Entry(2)})
    harness.commit()
    assert harness.table.get_many([(1, b"a"), (0, b"a")]) == {(1, b"a"): Entry(2), (0, b"a"): Entry(1)}


def test_a_slot_asked_for_twice_is_answered_once_and_keys_may_be_any_bytes(harness: Harness) -> None:
    odd = (1, b"\x00\xff/")
    harness.table.put_many({odd: Entry(5), (1, b""): Entry(6)})
    harness.commit()
    assert harness.table.get_many([odd, odd, (1, b"")]) == {odd: Entry(5), (1, b""): Entry(6)}


def test_the_answer_is_the_callers_to_change(harness: Harness) -> None:
    harness.table.put_many({A: Entry(1)})
    found = harness.table.get_many([A])
    found[A] = Entry(99)
    rows: dict[Slot, Entry | None] = {B: Entry(2)}
    harness.table.put_many(rows)
    rows[B] = Entry(99)
    assert harness.table.get_many([A, B]) == {A: Entry(1), B: Entry(2)}


def test_keys_below_a_bound_come_in_order_from_the_commit_and_the_epoch_and_of_one_task_only(harness: Harness) -> None:
    harness.table.put_many({(0, b"b"): Entry(1), (0, b"d"): Entry(2), (0, b"\x00"): Entry(3), (1, b"a"): Entry(4)})
    harness.commit()
    assert harness.table.keys_below(0, b"d", 9) == [b"\x00", b"b"]
    harness.table.put_many({(0, b"a"): Entry(5), (0, b"b"): None, (0, b"c"): Entry(6), (0, b"d"): Entry(7), (0, b"e"): Entry(8)})
    assert harness.table.keys_below(0, b"d", 9) == [b"\x00", b"a", b"c"]
    assert harness.table.keys_below(0, b"d", 2) == [b"\x00", b"a"]
    assert harness.table.keys_below(0, b"\xff", 9) == [b"\x00", b"a", b"c", b"d", b"e"]
    harness.forget()
    assert harness.table.keys_below(0, b"d", 9) == [b"\x00", b"b"]
    assert harness.table.keys_below(0, b"", 9) == harness.table.keys_below(1, b"a", 9) == []


STEPS = st.lists(
    st.sampled_from(["commit", "forget"])
    | st.dictionaries(
        st.tuples(st.integers(0, 1), st.sampled_from([b"a", b"b", b""])),
        st.none() | st.builds(Entry, st.integers(-(2**63), 2**63 - 1), st.lists(st.text(), max_size=2).map(tuple)),
        max_size=4,
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_every_table_agrees_with_a_dictionary(harness: Harness, steps: list[str | Mapping[Slot, Entry | None]]) -> None:
    slots = [(partition, key) for partition in (0, 1) for key in (b"a", b"b", b"")]
    harness.forget()
    committed = harness.table.get_many(slots)  # what earlier examples left
    now = dict(committed)
    for step in steps:
        if step == "commit":
            harness.commit()
            committed = dict(now)
        elif step == "forget":
            harness.forget()
            now = dict(committed)
        elif not isinstance(step, str):
            harness.table.put_many(step)
            now.update(step)
        assert harness.table.get_many(slots) == now
        for partition, bound in ((0, b"b"), (1, b"\xff")):
            there = sorted(key for (where, key), row in now.items() if where == partition and row is not None and key < bound)
            assert harness.table.keys_below(partition, bound, 9) == there


def test_a_row_of_another_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    harness = OverRocksDB(tmp_path)
    harness.table.put_many({A: Entry(1)})
    harness.commit()
    newer: EngineTable[Entry] = EngineTable(TableSpec(SPEC.name, Entry, version=2), harness.tasks)
    with pytest.raises(TableFormatError, match="table entries has version 1, this worker reads 2"):
        newer.get_many([A])
    harness.close()
