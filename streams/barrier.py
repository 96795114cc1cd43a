"""The barrier of an epoch: its records are handed to the agents, and it goes on when every one is done with its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from confluent_kafka import Message

from streams.batch import EngineBatch
from streams.effects import Effects
from streams.epoch import Epoch
from streams.tasks import Task


class AgentFailedError(Exception):
    """An agent raised while it worked on the epoch."""

    def __init__(self, agent: str, error: BaseException) -> None:
        super().__init__(f"agent {agent}: {type(error).__name__}: {error}")
        self.__cause__ = error


class Barrier:
    """Hands records to agents. ``deliver_batch`` and ``deliver_plain`` are the transport's."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.deliver_batch: Callable[[EngineBatch], Awaitable[None]]
        self.deliver_plain: Callable[[Sequence[tuple[Task, Message]]], Awaitable[None]]
        self._now_ms = now_ms
        self._batches: dict[str, EngineBatch] | None = None

    async def decide(self, epoch: Epoch, effects: Effects) -> None:
        """Let the agents decide; wait until every one is done, also when one has failed.

        So nothing of an attempt is in anybody's hands when the next one begins.
        """
        self._batches = {name: EngineBatch(records, effects, self._now_ms) for name, records in epoch.stages.items()}
        work: list[Awaitable[None]] = [self._carry(batch) for batch in self._batches.values() if batch.is_for_agents]
        if epoch.plain:
            work.append(self.deliver_plain(epoch.plain))
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _carry(self, batch: EngineBatch) -> None:
        batch.finished = asyncio.get_running_loop().create_future()
        await self.deliver_batch(batch)
        await batch.finished

    def holds(self) -> bool:
        """Tell whether an epoch is being decided or committed: only then do tables take rows."""
        return self._batches is not None

    def lift(self) -> None:
        """End the attempt."""
        self._batches = None

    def agent_failed(self, name: str, error: BaseException) -> None:
        """Note that an agent raised; the epoch is redone if it worked on a stage's batch."""
        batch = (self._batches or {}).get(name)
        if batch is not None and batch.finished is not None and not batch.finished.done():
            batch.finished.set_exception(AgentFailedError(name, error))
