"""What comes into an epoch without a record: ticks, tasks that asked for another epoch, positions that only passed markers.

All of it commits the positions of its tasks with their markers, as records do (I9).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from agents.ports import Tick
from streams.admission import Admission
from streams.effects import AGAIN
from streams.epoch import Epoch
from streams.group import GroupConsumer
from streams.idleness import Idleness, is_ticked
from streams.marker import TopicPartition
from streams.ownership import Ownership
from streams.settings import Settings
from streams.tasks import Task
from streams.threads import Threads

LOOK_S = 0.5
"""Between two looks at positions and ends, which ask the client for each partition: far below what counts as idle."""


class Ticker:
    """Completes epochs. On the event loop; the client is asked on Kafka's thread."""

    def __init__(
        self, settings: Settings, ownership: Ownership, threads: Threads, admission: Admission, now_ms: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._ownership = ownership
        self._threads = threads
        self._admission = admission
        self._now_ms = now_ms
        self._idleness = Idleness(settings.idle_after_ms / 1000, settings.idle_tick_ms / 1000)
        self._came: set[TopicPartition] = set()
        self._looked_s = self._looked_at_passed_s = time.monotonic()
        self._group: GroupConsumer

    def connect(self, group: GroupConsumer) -> None:
        """Take the client."""
        self._group = group

    @property
    def is_asked(self) -> bool:
        """Whether a task waits for an epoch that it asked for."""
        return bool(self._that_asked())

    async def complete(self, epoch: Epoch, polled: Collection[TopicPartition]) -> Epoch:
        """Give the epoch with what is due beside its records; ``polled`` is where all records of its poll are of."""
        now_s = time.monotonic()
        self._came.update(polled)
        if not polled and now_s - self._looked_at_passed_s > self._settings.idle_commit_ms / 1000:
            self._looked_at_passed_s = now_s
            epoch = await self._passed(epoch.number)
        ticks = {}
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            ticks = await self._look(now_s)
        again = self._that_asked()
        return epoch.joined(ticks, again, self._settings.prefix, self._admission) if ticks or again else epoch

    async def _passed(self, number: int) -> Epoch:
        """Look, once in a while and when idle, for positions that moved over nothing but markers of transactions."""
        running = self._ownership.tasks.running()
        inputs = [where for task in running for where in task.inputs]
        positions = await self._threads.on_kafka(lambda: self._group.positions(inputs))
        return Epoch.of_passed(number, positions, running)

    async def _look(self, now_s: float) -> dict[Task, Tick]:
        """Give the ticks that are due."""
        running = [] if self._ownership.lacking else [task for task in self._ownership.tasks.running() if is_ticked(task)]
        inputs = [where for task in running for where in task.inputs]
        known = await self._threads.on_kafka(lambda: (self._group.positions(inputs), self._group.ends(inputs)))
        came, self._came = self._came, set()
        due = self._idleness.look(running, came, *known, now_s)
        now_ms = self._now_ms()
        return {task: Tick(task.partition, now_ms, idle) for task, idle in due.items()}

    def _that_asked(self) -> list[Task]:
        """Give the tasks that asked, as their markers say, for another epoch; those that rest keep waiting."""
        running = [] if self._ownership.lacking else self._ownership.tasks.running()
        return sorted((task for task in running if task.foreseen.counters.get(AGAIN)), key=lambda task: task.name)
