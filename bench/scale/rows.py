"""The rows of the table: a base, and rows that turn one knob of it each. Pure, and knows no topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

HOT_SHARE = 0.8
"""Of the events (a hot order) or of the orders (a hot merchant)."""
ORDER_EVENTS_MEAN_MAX = 400
"""Of the events of one order, on average: the rules tell 1,000 apart, and chance gives some orders more than others."""


class Row(Struct, frozen=True):
    """One configuration. ``duplicates``: the share of events that repeat an earlier one; ``hot``: what most of them share."""

    name: str
    meaning: str
    live_keys: int = 100_000
    partitions: int = 12
    workers: int = 1
    duplicates: float = 0.01
    hot: Literal["", "order", "merchant"] = ""
    memory_mb: int = 512

    def shrunk(self, share: float) -> Row:
        """Give the row with that share of its live keys, for a try."""
        return replace(self, live_keys=max(round(self.live_keys * share), 1_000))


ROWS = (
    Row("base", "100 k live keys, 12 partitions, one worker, 1 % duplicates, 512 MB"),
    Row("keys-1k", "1 k live keys", live_keys=1_000),
    Row("keys-5m", "5 M live keys: a state larger than the cache", live_keys=5_000_000),
    Row("partitions-48", "48 partitions", partitions=48),
    Row("partitions-192", "192 partitions", partitions=192),
    Row("workers-2", "two workers", workers=2),
    Row("duplicates-50", "half of the events are repeats", duplicates=0.5),
    Row("hot-order", "80 % of the events on one order: 900 that count, then repeats of these", hot="order"),
    Row("hot-merchant", "80 % of the orders are one merchant's: one task of the second stage has them", hot="merchant"),
    Row("memory-28", "a budget of 28 MB, of which 8 for stores: a state larger than the cache", memory_mb=28),
)
ROW_NAMED = {row.name: row for row in ROWS}


def chosen(names: str) -> list[Row]:
    """Give the rows that ``--rows`` names, with commas between them.

    Raises:
        ValueError: there is no such row; the sentence says which there are.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in ROW_NAMED]
    if unknown or not wanted:
        raise ValueError(f"there is no row {', '.join(unknown) or 'without a name'}; there are {', '.join(ROW_NAMED)}")
    return [ROW_NAMED[name] for name in dict.fromkeys(wanted)]


def too_many_events(rows: Sequence[Row], events_count: int) -> str:
    """Say which row would have orders with more events than the rules allow; empty: none."""
    few = [row for row in rows if events_count > row.live_keys * ORDER_EVENTS_MEAN_MAX]
    if not few:
        return ""
    most = min(row.live_keys for row in few) * ORDER_EVENTS_MEAN_MAX
    return f"{events_count:,} events are too many for row {few[0].name}: orders would be full; ask for {most:,} at most"
