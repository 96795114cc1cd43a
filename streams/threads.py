"""The two threads of a worker beside its event loop: one calls Kafka's client, the other opens, fills and closes stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from streams.errors import ClientStuckError

T = TypeVar("T")

LOOK_S = 1.0
"""Between two looks at a call that lasts: how exactly its limit is kept."""


class Threads:
    """One thread each, so that calls on the consumer, and on the stores, never overlap.

    A call on Kafka's client that gives no sign of life for ``call_timeout_s`` is given up. The client's own calls take ten
    seconds, whatever their time-outs say.
    """

    def __init__(self, call_timeout_s: float) -> None:
        self.stuck = False
        self.call_timeout_s = call_timeout_s
        self._kafka = ThreadPoolExecutor(1, "kafka")
        self._stores = ThreadPoolExecutor(1, "stores")
        self._alive_s = time.monotonic()

    async def on_kafka(self, work: Callable[[], T], *, within_s: float | None = None) -> T:
        """Run on Kafka's thread and wait.

        Raises:
            ClientStuckError: the client did not return in time. Nothing can end the call but the end of the process.
        """
        self._alive_s = time.monotonic()
        limit_s = self.call_timeout_s if within_s is None else within_s
        call = asyncio.get_running_loop().run_in_executor(self._kafka, copy_context().run, work)
        while not call.done():
            await asyncio.wait({call}, timeout=min(LOOK_S, limit_s))
            if not call.done() and time.monotonic() - self._alive_s > limit_s:
                self.stuck = True
                raise ClientStuckError(limit_s)
        return call.result()

    def renew_kafka(self) -> None:
        """Leave the thread to its call, and go on with another one."""
        self._kafka.shutdown(wait=False, cancel_futures=True)
        self._kafka = ThreadPoolExecutor(1, "kafka")

    def is_alive(self) -> None:
        """Give a sign of life, from work that waits for the cluster."""
        self._alive_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """How long nothing has been called on Kafka's thread, and what is called there gave no sign of life."""
        return time.monotonic() - self._alive_s

    async def on_stores(self, work: Callable[[], bool], *, within_s: float) -> bool:
        """Run on the stores' thread, after what was submitted before; tell whether it was done well, and in time."""
        call = asyncio.get_running_loop().run_in_executor(self._stores, work)
        await asyncio.wait({call}, timeout=within_s)
        return call.done() and call.result()

    def submit_to_stores(self, work: Callable[[], object]) -> None:
        """Run on the stores' thread, after what was submitted before; ``work`` handles its own errors."""
        self._stores.submit(work)

    def shutdown(self) -> None:
        """Wait for what was submitted, and end both; a call that is stuck is not waited for."""
        self._kafka.shutdown(wait=not self.stuck, cancel_futures=True)
        self._stores.shutdown(wait=not self.stuck, cancel_futures=True)
