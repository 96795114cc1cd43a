"""Sharded tables: rows of a stage's tasks, read from their stores, written through the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from agents.ports import Found, Slot, TableSpec
from streams.tasks import Task

if TYPE_CHECKING:
    import polars as pl

    from schemas.packed import PackedColumns

S = TypeVar("S")


class TableFormatError(Exception):
    """A stored row was written by a version of the table that this worker cannot read."""


class EngineTable(Generic[S]):
    """One table over all running tasks of a stage.

    What an epoch writes is pending until it is to be committed, and then on its way until that is applied. Meanwhile the next
    epoch reads through it, and what it writes is pending.
    """

    def __init__(self, spec: TableSpec[S], tasks: Mapping[int, Task], in_epoch: Callable[[], bool] = lambda: True) -> None:
        self.spec = spec
        self._tasks = tasks
        self._in_epoch = in_epoch
        self._pending: dict[Slot, bytes | None] = {}
        self._on_its_way: dict[Slot, bytes | None] = {}
        self._version = bytes([spec.version])
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(spec.row).decode

    def get_many(self, slots: Sequence[Slot]) -> dict[Slot, S | None]:
        """Give the rows as of the epoch before and what this one wrote; None where there is none."""
        found = self._values(slots)
        return {slot: None if value is None else self._row(value) for slot, value in found.items()}

    def get_columns(self, slots: Sequence[Slot]) -> Found:
        """Give the rows as of the epoch before and what this one wrote, in columns. Each slot is asked for once."""
        there = [(place, value) for place, value in enumerate(self._values(slots).values()) if value is not None]
        good = [(place, value) for place, value in there if value[0] == self.spec.version]
        frame, others = self._columns.decode([value for _, value in good], begin=1)
        refused = {good[number][0] for number in others}
        read = [place for place, _ in good if place not in refused]
        return Found(frame, read, sorted({place for place, _ in there}.difference(read)))

    def put_many(self, rows: Mapping[Slot, S | None]) -> None:
        """Write rows in this epoch; None deletes.

        Raises:
            RuntimeError: no agent has a batch in hand, so there is no epoch that could carry the rows.
        """
        self._must_be_in_epoch()
        version, encode = self._version, self._encode
        self._pending.update({slot: None if row is None else version + encode(row) for slot, row in rows.items()})

    def put_columns(self, slots: Sequence[Slot], frame: pl.DataFrame) -> None:
        """Write a row for each slot in this epoch, from a frame that has the fields of the table's rows.

        Raises:
            RuntimeError: as :meth:`put_many`.
        """
        self._must_be_in_epoch()
        self._pending.update(zip(slots, self._columns.encode(frame, self._version), strict=True))

    def keys_below(self, partition: int, bound: bytes, keys_max: int) -> list[bytes]:
        """Give up to ``keys_max`` keys of one task that sort below ``bound``, smallest first, as :meth:`get_many` sees them."""
        layers = self._on_its_way, self._pending
        pending = {key: row for rows in layers for (where, key), row in rows.items() if where == partition and key < bound}
        store = self._tasks[partition].store
        assert store is not None  # noqa: S101 - only running tasks have records
        stored = (key for key in store.keys_below(self.spec.name, bound) if key not in pending)
        return list(islice(merge(stored, sorted(key for key, row in pending.items() if row is not None)), keys_max))

    def forget(self) -> None:
        """Throw away what the epoch wrote."""
        self._pending = {}

    def send(self) -> None:
        """Let what the epoch wrote be on its way: it is to be committed."""
        self._pending, self._on_its_way = {}, self._pending

    def arrive(self) -> None:
        """Let nothing be on its way any more: the stores have it, or it did not happen."""
        self._on_its_way = {}

    def take_changes(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Give what the epoch wrote, as (partition, key, value), and keep it pending."""
        for (partition, key), value in self._pending.items():
            yield partition, key, value

    @cached_property
    def _columns(self) -> PackedColumns:
        from schemas.packed import PackedColumns  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has

        return PackedColumns(self.spec.row)  # type: ignore[arg-type]  # rows are structs

    def _must_be_in_epoch(self) -> None:
        if not self._in_epoch():
            raise RuntimeError(f"table {self.spec.name} is written outside an epoch: only an agent with a batch in hand may")

    def _values(self, slots: Sequence[Slot]) -> dict[Slot, bytes | None]:
        """Give rows as they are stored, in the order of the slots."""
        found: dict[Slot, bytes | None] = dict.fromkeys(slots)
        keys: dict[int, list[bytes]] = {}
        for slot in found:
            if slot in self._pending:
                found[slot] = self._pending[slot]
            elif slot in self._on_its_way:
                found[slot] = self._on_its_way[slot]
            else:
                keys.setdefault(slot[0], []).append(slot[1])
        for partition, wanted in keys.items():
            store = self._tasks[partition].store
            assert store is not None  # noqa: S101 - only running tasks have records
            for key, value in zip(wanted, store.get_many(self.spec.name, wanted), strict=True):
                if value is not None:
                    found[partition, key] = value
        return found

    def _row(self, value: bytes) -> Any:
        if value[0] != self.spec.version:
            raise TableFormatError(
                f"a row of table {self.spec.name} has version {value[0]}, this worker reads {self.spec.version}: "
                "run the version that wrote it, or migrate the changelog"
            )
        return self._decode(memoryview(value)[1:])
