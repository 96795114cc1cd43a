"""Tasks that wait for something that passes by itself: held, asked for again and again, and let go on.

A held task processes nothing; it stays owned, its inputs are paused and its store stays open. The
reason and the time of the next try stand on the status page. Nothing of it is kept: whoever owns the task next reads
the same records and meets the same trouble, or does not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from streams.back_off import REGISTRY
from streams.ownership import Ownership
from streams.tasks import Task, TaskState

log = logging.getLogger(__name__)

Retry = Callable[[], Awaitable[str]]
"""Try once more; gives what is still in the way, or nothing when the task can go on."""


class Holds:
    """The held tasks of a worker. On the event loop; :meth:`hold` and :meth:`release` between two epochs.

    ``sleep`` takes seconds.
    """

    def __init__(
        self, ownership: Ownership, now_ms: Callable[[], int], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._ownership = ownership
        self._now_ms = now_ms
        self._sleep = sleep
        self._tries: dict[Task, asyncio.Task[None]] = {}

    async def hold(self, task: Task, reason: str, retry: Retry) -> None:
        """Hold a running task until ``retry`` finds nothing in the way; it is called at once, then with growing pauses."""
        await self._ownership.hold(task, reason)
        self._tries[task] = asyncio.ensure_future(self._try(task, retry))

    async def release(self) -> None:
        """Let go on what can; a task whose ``retry`` raised stops. Costs nothing while no task is held."""
        for task, tries in list(self._tries.items()):
            if not self._is_held(task):
                tries.cancel()
                del self._tries[task]
            elif tries.done():
                error = tries.exception()
                if error is not None:
                    await self._ownership.stop(task, f"{task.reason}; looking for its end failed: {error!r}")
                else:
                    await self._ownership.let_go_on(task)
                del self._tries[task]

    @property
    def has_any(self) -> bool:
        """Whether a task is held, and so to be looked after between two epochs."""
        return bool(self._tries)

    def close(self) -> None:
        """Give up every try."""
        for tries in self._tries.values():
            tries.cancel()
        self._tries.clear()

    def _is_held(self, task: Task) -> bool:
        return task.state is TaskState.HELD and self._ownership.tasks.is_current(task)

    async def _try(self, task: Task, retry: Retry) -> None:
        tries = 0
        while self._is_held(task) and (reason := await retry()):
            tries += 1
            wait_s = REGISTRY.wait_s(tries, random.random())
            task.reason, task.retry_at_ms = reason, self._now_ms() + round(wait_s * 1000)
            said = "task %s is held, the others go on; tried again in %.1f s: %s"
            log.warning(said, task.name, wait_s, reason, extra={"task": task.name})
            await self._sleep(wait_s)
