"""The tables of the runtime in memory, and its batches in columns (``testing.py``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec
import polars as pl

from agents.ports import Columns, Found, Keys, Row, Slot, TableSpec
from schemas.codec import encode
from schemas.columns import as_records, empty_records, fixed
from schemas.packed import PackedColumns

S = TypeVar("S")


class MemoryTable(Generic[S]):
    """Implements :class:`agents.ports.Table`. Rows are kept as bytes, so that what cannot be stored fails here too."""

    def __init__(self, spec: TableSpec[S]) -> None:
        self.spec = spec
        self._committed: dict[Slot, bytes] = {}
        self._pending: dict[Slot, S | None] = {}

    def get_many(self, slots: Sequence[Slot]) -> dict[Slot, S | None]:
        """Give the rows as of the last commit and what this epoch wrote; None where there is none."""
        return {slot: self._pending[slot] if slot in self._pending else self._read(slot) for slot in slots}

    def put_many(self, rows: Mapping[Slot, S | None]) -> None:
        """Write rows in this epoch; None deletes."""
        self._pending.update(rows)

    def put_same(self, keys: Keys, row: S | None) -> None:
        """Write one and the same row for each key in this epoch; None deletes."""
        self._pending.update(dict.fromkeys(_slots(keys), row))

    def get_columns(self, keys: Keys) -> Found:
        """Give the rows as of the last commit and what this epoch wrote, in columns."""
        rows = {place: row for place, row in enumerate(self.get_many(_slots(keys)).values()) if row is not None}
        frame, others = self._columns.decode([msgspec.msgpack.encode(row) for row in rows.values()])
        assert not others  # noqa: S101 - they were written here
        return Found(frame, list(rows), ())

    def put_columns(self, keys: Keys, frame: pl.DataFrame) -> None:
        """Write a row for each key, from a frame that has the fields of the table's rows."""
        packed = self._columns.encode(frame)
        self._pending.update(
            {slot: msgspec.msgpack.decode(row, type=self.spec.row) for slot, row in zip(_slots(keys), packed, strict=True)}
        )

    def keys_below(self, partition: int, bound: bytes, keys_max: int) -> list[bytes]:
        """Give up to ``keys_max`` keys of one task that sort below ``bound``, smallest first."""
        below = [slot for slot in self._committed.keys() | self._pending.keys() if slot[0] == partition and slot[1] < bound]
        there = [slot[1] for slot in below if self._pending.get(slot, True) is not None]
        return sorted(there)[:keys_max]

    def commit(self) -> None:
        """Keep what the epoch wrote."""
        for slot, row in self._pending.items():
            if row is None:
                self._committed.pop(slot, None)
            else:
                self._committed[slot] = msgspec.msgpack.encode(row)
        self._pending = {}

    def forget(self) -> None:
        """Throw away what the epoch wrote."""
        self._pending = {}

    @property
    def committed(self) -> dict[Slot, S | None]:
        """All committed rows."""
        return {slot: self._read(slot) for slot in self._committed}

    @cached_property
    def _columns(self) -> PackedColumns:
        return PackedColumns(self.spec.row)  # type: ignore[arg-type]  # rows are structs

    def _read(self, slot: Slot) -> S | None:
        value = self._committed.get(slot)
        return None if value is None else msgspec.msgpack.decode(value, type=self.spec.row)


def _slots(keys: Keys) -> list[Slot]:
    return [(partition, key) for partition, some in keys.items() for key in some]


def in_columns(rows: Sequence[Row], reads: Collection[type[Any]]) -> Columns:
    """Give rows as the engine gives a batch in columns."""
    polled = fixed().decode([encode(row.event) for row in rows])
    assert not polled.unserved  # noqa: S101 - what is encoded here has columns
    frames = {}
    for kind in reads:
        decoded = polled.frames.get(kind)
        frame = as_records(kind, decoded.frame) if decoded else empty_records(kind)
        at = decoded.indexes if decoded else []
        frames[kind] = frame.with_columns(
            at=pl.Series(at, dtype=pl.Int64), partition=pl.Series([rows[place].partition for place in at], dtype=pl.Int32)
        )
    return Columns(frames, {refusal.index: rows[refusal.index] for refusal in polled.refused})
