"""Sharded tables: rows of a stage's tasks, read from their stores, written through the epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from agents.ports import Found, Keys, Slot, TableSpec
from streams.store import Store
from streams.tasks import Task

if TYPE_CHECKING:
    import polars as pl

    from schemas.packed import PackedColumns

S = TypeVar("S")

Layer = dict[int, dict[bytes, bytes | None]]
"""Rows as they are stored, by partition and key; None deletes."""


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
        self._pending: Layer = {}
        self._on_its_way: Layer = {}
        self._version = bytes([spec.version])
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(spec.row).decode

    def get_many(self, slots: Sequence[Slot]) -> dict[Slot, S | None]:
        """Give the rows as of the epoch before and what this one wrote; None where there is none."""
        found: dict[Slot, S | None] = dict.fromkeys(slots)
        keys: defaultdict[int, list[bytes]] = defaultdict(list)
        for partition, key in found:
            keys[partition].append(key)
        for partition, wanted in keys.items():
            for key, value in zip(wanted, self._values(partition, wanted), strict=True):
                if value is not None:
                    found[partition, key] = self._row(value)
        return found

    def get_columns(self, keys: Keys) -> Found:
        """Give the rows as of the epoch before and what this one wrote, in columns."""
        values = [value for partition, wanted in keys.items() for value in self._values(partition, wanted)]
        there = [place for place, value in enumerate(values) if value is not None]
        good = [place for place in there if values[place][0] == self.spec.version]  # type: ignore[index]
        frame, refused = self._columns.decode([values[place] for place in good], begin=1)  # type: ignore[misc]
        others = {good[number] for number in refused}.union(set(there).difference(good))
        return Found(frame, [place for place in good if place not in others], sorted(others))

    def put_many(self, rows: Mapping[Slot, S | None]) -> None:
        """Write rows in this epoch; None deletes.

        Raises:
            RuntimeError: no agent has a batch in hand, so there is no epoch that could carry the rows.
        """
        self._must_be_in_epoch()
        version, encode, pending = self._version, self._encode, self._pending
        for (partition, key), row in rows.items():
            pending.setdefault(partition, {})[key] = None if row is None else version + encode(row)

    def put_same(self, keys: Keys, row: S | None) -> None:
        """Write one and the same row for each key in this epoch; None deletes.

        Raises:
            RuntimeError: as :meth:`put_many`.
        """
        self._must_be_in_epoch()
        value = None if row is None else self._version + self._encode(row)
        for partition, written in keys.items():
            self._pending.setdefault(partition, {}).update(dict.fromkeys(written, value))

    def put_columns(self, keys: Keys, frame: pl.DataFrame) -> None:
        """Write a row for each key in this epoch, from a frame that has the fields of the table's rows.

        Raises:
            RuntimeError: as :meth:`put_many`.
        """
        self._must_be_in_epoch()
        values = iter(self._columns.encode(frame, self._version))
        for partition, written in keys.items():
            self._pending.setdefault(partition, {}).update(zip(written, values))  # noqa: B905 - the rest is the others'

    def keys_below(self, partition: int, bound: bytes, keys_max: int) -> list[bytes]:
        """Give up to ``keys_max`` keys of one task that sort below ``bound``, smallest first, as :meth:`get_many` sees them."""
        layers = [layer.get(partition, {}) for layer in (self._on_its_way, self._pending)]
        pending = {key: row for rows in layers for key, row in rows.items() if key < bound}
        stored = (key for key in self._store(partition).keys_below(self.spec.name, bound) if key not in pending)
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

    @property
    def changes(self) -> Mapping[int, Mapping[bytes, bytes | None]]:
        """What the epoch wrote, by partition and key, as it is stored; None: deleted."""
        return self._pending

    @cached_property
    def _columns(self) -> PackedColumns:
        from schemas.packed import PackedColumns  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has

        return PackedColumns(self.spec.row)  # type: ignore[arg-type]  # rows are structs

    def _must_be_in_epoch(self) -> None:
        if not self._in_epoch():
            raise RuntimeError(f"table {self.spec.name} is written outside an epoch: only an agent with a batch in hand may")

    def _values(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Give rows of one task as they are stored."""
        stored = self._store(partition).get_many(self.spec.name, list(keys))
        for layer in (self._on_its_way, self._pending):
            newer = layer.get(partition)
            if newer:
                stored = [newer.get(key, value) for key, value in zip(keys, stored, strict=True)]
        return stored

    def _store(self, partition: int) -> Store:
        store = self._tasks[partition].store
        assert store is not None  # noqa: S101 - only running tasks have records
        return store

    def _row(self, value: bytes) -> Any:
        if value[0] != self.spec.version:
            raise TableFormatError(
                f"a row of table {self.spec.name} has version {value[0]}, this worker reads {self.spec.version}: "
                "run the version that wrote it, or migrate the changelog"
            )
        return self._decode(memoryview(value)[1:])
