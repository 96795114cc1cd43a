"""From a poll to the epoch that it makes: sorted to tasks, without what must wait, with what is due beside its records.

Columns are read where the records are polled, on Kafka's thread: the loop decides what was polled before at that time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streams.admission import Admission
from streams.batch import StageRecords
from streams.epoch import Epoch
from streams.group import GroupConsumer, Polled
from streams.kill_points import KillPoint
from streams.lookups import Lookups
from streams.messages import Run
from streams.settings import Settings
from streams.tasks import Task, Tasks
from streams.ticker import Ticker
from streams.topology import Topology

log = logging.getLogger(__name__)


class Intake:
    """Polls, and makes epochs. On the event loop, but for :meth:`poll`."""

    def __init__(
        self,
        settings: Settings,
        topology: Topology,
        tasks: Tasks,
        admission: Admission,
        lookups: Lookups,
        ticker: Ticker,
        kill_point: KillPoint,
    ) -> None:
        self._in_columns = [
            (stage, {topic.named(settings.prefix) for topic in stage.reads}) for stage in topology if stage.columns_from
        ]
        self._read: list[StageRecords] = []
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
        polled = self._group.poll(wait_s)
        self._read = self._in_columns_of(polled.runs)
        return polled

    async def epoch_of(self, polled: Polled, number: int, epochs_count: int) -> tuple[Epoch, list[Task]]:
        """Give the epoch, and the tasks of which some records are left out; ``epochs_count`` are committed.

        Asked before any task is started again: then it would go on before what was polled of it.
        """
        epoch = Epoch.collect(number, polled.runs, self._tasks, self._settings.prefix, self._admission)
        epoch, cut = (await self._lookups.keep_back(epoch)).up_to_probes()
        if epoch.records_count:
            self._kill_point.reach("after_poll", epochs_count, epoch.records_count)
        epoch = await self._ticker.complete(epoch, [where for where, _ in polled.runs])
        for read in self._read:
            if read.stage.name in epoch.stages:
                epoch.stages[read.stage.name].take_over(read)
        self._read = []
        return epoch, cut

    def _in_columns_of(self, runs: Sequence[Run]) -> list[StageRecords]:
        """Read the columns of polled records; who they belong to, and whether all of them are taken, is seen later."""
        found = []
        for stage, topics in self._in_columns:
            its_own = [message for (topic, _), run in runs if topic in topics for message in run]
            records = StageRecords(stage, self._settings.prefix, its_own, {}, self._admission)
            if records.takes_columns:
                try:
                    records.read()
                except Exception:
                    log.exception("no columns could be read for %s; its epoch tries again", stage.name)
                else:
                    found.append(records)
        return found
