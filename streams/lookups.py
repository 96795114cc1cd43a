"""Schema ids that nobody here has met: their tasks are held until the registry has said what they mean.

The question goes over HTTP, so it is asked on a thread of its own; no epoch waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from schemas.wire import FIXED, SchemaId, Wire
from streams.back_off import REGISTRY
from streams.epoch import Epoch
from streams.errors import RegistryAwayError
from streams.hold import Holds, Retry
from streams.registry import Registry
from streams.tasks import Task
from streams.topology import Topology

log = logging.getLogger(__name__)

T = TypeVar("T")


class Lookups:
    """Between poll and decision. Without a registry it lets everything pass, and costs nothing."""

    def __init__(
        self,
        registry: Registry | None,
        topology: Topology,
        prefix: str,
        holds: Holds,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._topology = topology
        self._prefix = prefix
        self._holds = holds
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(1, "registry")
        self._asked: dict[SchemaId, asyncio.Task[None]] = {}

    @property
    def wire(self) -> Wire:
        """Which schema ids stand for what."""
        return FIXED if self._registry is None else self._registry.wire

    async def begin(self, look: Callable[[], None]) -> None:
        """Have our schemas registered; wait as long as the registry is away, calling ``look`` between two tries.

        Raises:
            RegistryRefusedError: it does not take a schema, or the login, or is none.
        """
        registry, tries = self._registry, 0
        if registry is None:
            return
        reads = [topic for stage in self._topology for topic in stage.reads]
        writes = [topic for stage in self._topology for topic in stage.writes]
        while True:
            try:
                await self._on_thread(lambda: registry.enter(self._prefix, reads=reads, writes=writes))
            except RegistryAwayError as error:
                tries += 1
                wait_s = REGISTRY.wait_s(tries, random.random())
                log.warning("the worker waits, tried again in %.1f s: %s", wait_s, error)
                look()
                await self._sleep(wait_s)
            else:
                return

    async def keep_back(self, epoch: Epoch) -> Epoch:
        """Give the epoch without the tasks of which a record has an id that must be asked for; they are held."""
        registry = self._registry
        if registry is None:
            return epoch
        open_ids = self._open_ids(epoch, registry)
        for task, ids in open_ids.items():
            await self._holds.hold(task, f"the schema registry is asked for schema id {_listed(ids)}", self._retry(registry, ids))
        return epoch.only([task for task in epoch.tasks if task not in open_ids]) if open_ids else epoch

    def close(self) -> None:
        """Ask nothing more; a question that is under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _open_ids(epoch: Epoch, registry: Registry) -> dict[Task, set[SchemaId]]:
        found: dict[Task, set[SchemaId]] = {}
        open_id = registry.open_id
        for records in epoch.stages.values():
            for message in records.messages:
                schema_id = open_id(message)
                if schema_id is not None:
                    found.setdefault(records.tasks[message.partition()], set()).add(schema_id)  # type: ignore[index]
        return found

    def _retry(self, registry: Registry, ids: set[SchemaId]) -> Retry:
        """Give a try at these ids; each that is answered needs no other."""
        left = set(ids)

        async def retry() -> str:
            for schema_id in sorted(left, key=str):
                try:
                    await self._learn(registry, schema_id)
                except RegistryAwayError as error:
                    return f"schema id {_listed(left)} cannot be looked up: {error}"
                left.discard(schema_id)
            return ""

        return retry

    async def _learn(self, registry: Registry, schema_id: SchemaId) -> None:
        """Ask once for all tasks that wait for the same id."""
        asked = self._asked.get(schema_id)
        if asked is None and registry.is_open(schema_id):
            asked = self._asked[schema_id] = asyncio.ensure_future(self._ask(registry, schema_id))
        if asked is not None:
            await asyncio.shield(asked)

    async def _ask(self, registry: Registry, schema_id: SchemaId) -> None:
        try:
            registry.note(schema_id, await self._on_thread(lambda: registry.ask(schema_id)))
        finally:
            del self._asked[schema_id]

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _listed(ids: set[SchemaId]) -> str:
    """Give ids for a sentence: three at most."""
    some = [str(schema_id) for schema_id in sorted(ids, key=str)]
    return ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")  # noqa: PLR2004
