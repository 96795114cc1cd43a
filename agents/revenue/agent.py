"""Revenue on a stream: deltas in, window totals and rows out."""

from __future__ import annotations

from collections import Counter

from agents.ports import Runtime, Slot, Stream
from agents.revenue.decide import decide, window_key, window_row
from agents.revenue.state import REVENUE_1M
from agents.rowwise import Fold
from schemas.events import MEASURES, RevenueDelta
from schemas.partitioning import partition_of
from schemas.topics import REVENUE_BY_MERCHANT_1M


def declare(runtime: Runtime) -> None:
    """Declare the agent and its table."""
    windows = runtime.table(REVENUE_1M)

    @runtime.agent("revenue")
    async def revenue(stream: Stream) -> None:
        async for batch in stream:
            books: Counter[tuple[int, str, str]] = Counter()
            newest: dict[Slot, RevenueDelta] = {}
            fold = Fold(batch, windows, window_key, decide)
            for row, _, _ in fold:
                delta = row.event
                newest[row.partition, window_key(delta)] = delta
                for measure in MEASURES:
                    books[row.partition, delta.currency, measure] += getattr(delta, measure)
            for slot, totals in fold.changed.items():
                value = window_row(newest[slot], totals)
                partition = partition_of(value.merchant_id, REVENUE_BY_MERCHANT_1M.partitions)
                batch.emit(REVENUE_BY_MERCHANT_1M, slot[1], value, partition)
            for (partition, currency, measure), amount in books.items():
                batch.count(partition, f"windowed|{currency}|{measure}", amount)
