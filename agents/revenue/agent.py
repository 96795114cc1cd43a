"""Revenue on a stream: what settlement adds to merchants in, windows out."""

from __future__ import annotations

from collections.abc import Sequence

from agents.ports import Runtime, Stream
from agents.revenue.windows import REVENUE, WATERMARKS
from agents.windows.declared import Window
from agents.windows.stage import Windows
from schemas.topics import ORDERS


def declare(runtime: Runtime, windows: Sequence[Window] = REVENUE) -> None:
    """Declare the agent and its tables."""
    summed = Windows(runtime, windows, WATERMARKS, ORDERS.partitions)

    @runtime.agent("revenue")
    async def revenue(stream: Stream) -> None:
        async for batch in stream:
            summed.take(batch)
