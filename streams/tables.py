"""Sharded tables: rows of a stage's tasks, read from their stores, written through the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec

from agents.ports import Slot, TableSpec
from streams.tasks import Task

S = TypeVar("S")


class TableFormatError(Exception):
    """A stored row was written by a version of the table that this worker cannot read."""


class EngineTable(Generic[S]):
    """One table over all running tasks of a stage. What an epoch writes is pending until its commit."""

    def __init__(self, spec: TableSpec[S], tasks: Mapping[int, Task], in_epoch: Callable[[], bool] = lambda: True) -> None:
        self.spec = spec
        self._tasks = tasks
        self._in_epoch = in_epoch
        self._pending: dict[Slot, S | None] = {}
        self._version = bytes([spec.version])
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(spec.row).decode

    def get_many(self, slots: Sequence[Slot]) -> dict[Slot, S | None]:
        """Give the rows as of the last commit and what this epoch wrote; None where there is none."""
        found: dict[Slot, S | None] = dict.fromkeys(slots)
        keys: dict[int, list[bytes]] = {}
        for slot in found:
            if slot in self._pending:
                found[slot] = self._pending[slot]
            else:
                keys.setdefault(slot[0], []).append(slot[1])
        for partition, wanted in keys.items():
            store = self._tasks[partition].store
            assert store is not None  # noqa: S101 - only running tasks have records
            for key, value in zip(wanted, store.get_many(self.spec.name, wanted), strict=True):
                if value is not None:
                    found[partition, key] = self._row(value)
        return found

    def put_many(self, rows: Mapping[Slot, S | None]) -> None:
        """Write rows in this epoch; None deletes.

        Raises:
            RuntimeError: no agent has a batch in hand, so there is no epoch that could carry the rows.
        """
        if not self._in_epoch():
            raise RuntimeError(f"table {self.spec.name} is written outside an epoch: only an agent with a batch in hand may")
        self._pending.update(rows)

    def keys_below(self, partition: int, bound: bytes, keys_max: int) -> list[bytes]:
        """Give up to ``keys_max`` keys of one task that sort below ``bound``, smallest first, as :meth:`get_many` sees them."""
        pending = {key: row for (where, key), row in self._pending.items() if where == partition and key < bound}
        store = self._tasks[partition].store
        assert store is not None  # noqa: S101 - only running tasks have records
        stored = (key for key in store.keys_below(self.spec.name, bound) if key not in pending)
        written = sorted(key for key, row in pending.items() if row is not None)
        return list(islice(merge(stored, written), keys_max))

    def forget(self) -> None:
        """Throw away what the epoch wrote."""
        self._pending = {}

    def take_changes(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Give what the epoch wrote, as (partition, key, value), and keep it pending."""
        for (partition, key), row in self._pending.items():
            yield partition, key, None if row is None else self._version + self._encode(row)

    def _row(self, value: bytes) -> Any:
        if value[0] != self.spec.version:
            raise TableFormatError(
                f"a row of table {self.spec.name} has version {value[0]}, this worker reads {self.spec.version}: "
                "run the version that wrote it, or migrate the changelog"
            )
        return self._decode(memoryview(value)[1:])
