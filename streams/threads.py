"""The two threads of a worker beside its event loop: one calls Kafka's client, the other opens, fills and closes stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """One thread each, so that calls on the consumer, and on the stores, never overlap."""

    def __init__(self) -> None:
        self._kafka = ThreadPoolExecutor(1, "kafka")
        self._stores = ThreadPoolExecutor(1, "stores")

    async def on_kafka(self, work: Callable[[], T]) -> T:
        """Run on Kafka's thread and wait."""
        return await asyncio.get_running_loop().run_in_executor(self._kafka, work)

    async def on_stores(self, work: Callable[[], T]) -> T:
        """Run on the stores' thread, after what was submitted before, and wait."""
        return await asyncio.get_running_loop().run_in_executor(self._stores, work)

    def submit_to_stores(self, work: Callable[[], None]) -> None:
        """Run on the stores' thread, after what was submitted before; ``work`` handles its own errors."""
        self._stores.submit(work)

    def shutdown(self) -> None:
        """Wait for what was submitted, and end both."""
        self._kafka.shutdown(wait=True)
        self._stores.shutdown(wait=True)
