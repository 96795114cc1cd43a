"""Customers on a stream: what settlement adds to customers in, windows and alerts out."""

from __future__ import annotations

from agents.customers.windows import CUSTOMER, WATERMARKS
from agents.ports import Runtime, Stream
from agents.windows.stage import Windows
from schemas.topics import ORDERS


def declare(runtime: Runtime) -> None:
    """Declare the agent and its tables."""
    windows = Windows(runtime, CUSTOMER, WATERMARKS, ORDERS.partitions)

    @runtime.agent("customers")
    async def customers(stream: Stream) -> None:
        async for batch in stream:
            windows.take(batch)
