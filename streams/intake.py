"""From a poll to the epoch that it makes: sorted to tasks, without what must wait, with what is due beside its records."""

from __future__ import annotations

from streams.admission import Admission
from streams.epoch import Epoch
from streams.group import GroupConsumer, Polled
from streams.kill_points import KillPoint
from streams.lookups import Lookups
from streams.settings import Settings
from streams.tasks import Task, Tasks
from streams.ticker import Ticker


class Intake:
    """Polls, and makes epochs. On the event loop, but for :meth:`poll`."""

    def __init__(
        self, settings: Settings, tasks: Tasks, admission: Admission, lookups: Lookups, ticker: Ticker, kill_point: KillPoint
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._admission = admission
        self._lookups = lookups
        self._ticker = ticker
        self._kill_point = kill_point
        self._group: GroupConsumer

    def connect(self, group: GroupConsumer) -> None:
        """Take the client."""
        self._group = group

    def poll(self, wait_s: float) -> Polled:
        """Give what the client has, waiting for it to fill an epoch; on Kafka's thread."""
        return self._group.poll(wait_s)

    async def epoch_of(self, polled: Polled, number: int, epochs_count: int) -> tuple[Epoch, list[Task]]:
        """Give the epoch, and the tasks of which some records are left out; ``epochs_count`` are committed.

        Asked before any task is started again: then it would go on before what was polled of it.
        """
        epoch = Epoch.collect(number, polled.messages, self._tasks, self._settings.prefix, self._admission)
        epoch, cut = (await self._lookups.keep_back(epoch)).up_to_probes()
        if epoch.records_count:
            self._kill_point.reach("after_poll", epochs_count, epoch.records_count)
        return await self._ticker.complete(epoch, polled.messages), cut
