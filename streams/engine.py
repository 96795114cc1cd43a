"""The engine: poll, decide, commit, apply; everything of an epoch or nothing of it.

It runs on the event loop. Kafka's client is called on one thread of its own, stores are restored
on another (``threads.py``); agents run on the loop between the two. Here epochs are carried one after the other; while
there is a backlog, ``pipeline.py`` lets the next one be decided while the last one commits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from agents.ports import TableSpec
from streams.admission import Admission
from streams.attempts import Attempts, Decided
from streams.back_off import ABORTED, BackOff
from streams.barrier import Barrier
from streams.committer import Carried, Committer
from streams.disk import Disk
from streams.epoch import Epoch
from streams.errors import WorkerError
from streams.group import GroupConsumer, Polled
from streams.hold import Holds
from streams.intake import Intake
from streams.judgement import Judgement
from streams.kill_points import KillPoint
from streams.logs import in_its_epoch
from streams.lookups import Lookups
from streams.meter import Meter
from streams.ownership import Announce, Ownership
from streams.pauses import Crossed, Failed, Pauses, paused
from streams.pipeline import Pipeline, Verdict, fits
from streams.preflight import check_rights
from streams.registry import connect
from streams.restore import Restorer
from streams.room import record_bytes
from streams.sends import Sends
from streams.settings import Settings
from streams.store import StoreResources
from streams.tables import EngineTable
from streams.tasks import Task
from streams.threads import Threads
from streams.ticker import Ticker
from streams.topology import Topology
from streams.transaction import Aborted, Committed, Outcome, TransactionalProducer, Unknown
from streams.waiting import Waiting

log = logging.getLogger(__name__)

AT_ONCE_S = 0.001
"""What a poll waits that is not to wait."""
ABORTS_MAX = 10
"""Aborts of one epoch in a row; then its tasks are restored instead, which asks the cluster where they stand.

No setting: how often that may happen, and so how long a cluster may be in trouble, ``restore_attempts_max`` says.
"""


class Engine:
    """Everything a worker does between Kafka and its agents.

    ``barrier`` hands records to the agents; ``announce``, the transport's, tells Faust which partitions are owned.
    """

    def __init__(
        self,
        settings: Settings,
        topology: Topology,
        kill_point: KillPoint,
        *,
        back_off: BackOff = ABORTED,
    ) -> None:
        self.settings = settings
        self.threads = Threads(settings.call_timeout_s)
        self.barrier = Barrier(_now_ms)
        self.ownership = Ownership(topology, settings.prefix, self.threads, Disk(settings.state_folder, settings.disk_free_bytes))
        self.tasks = self.ownership.tasks
        self.holds = Holds(self.ownership, _now_ms)
        self._lookups = Lookups(connect(settings), topology, settings.prefix, self.holds)
        admission = Admission(settings.future_max_ms, self.ownership.partition_counts, self._lookups.wire)
        self._ticker = Ticker(settings, self.ownership, self.threads, admission, _now_ms)
        self._intake = Intake(settings, topology, self.tasks, admission, self._lookups, self._ticker, kill_point)
        self.tables: dict[str, list[EngineTable[Any]]] = {
            stage.name: [EngineTable(spec, self.ownership.running[stage.name], self.barrier.holds) for spec in stage.keeps]
            for stage in topology
        }
        self.announce: Announce
        self.sends = Sends(settings.budget.producer_bytes)
        self.meter = Meter()
        self.stopping = asyncio.Event()
        self._back_off = back_off
        self.waits = Waiting(self._go_on_waiting), Waiting(self._stop_if_asked)
        self._subscribed: frozenset[str] = frozenset()
        self._group: GroupConsumer
        self.committer = Committer(self.threads, kill_point, _now_ms)
        self._attempts = Attempts(
            settings, self.tasks, self.tables, self.barrier, self.sends, self.committer, self._count_partitions
        )
        self._pipeline = Pipeline(self, self._attempts, self._intake, self.ownership, self.threads, kill_point)
        self.pauses = Pauses(self.tasks, self._decree, self._look_again)
        self._run: asyncio.Task[None] | None = None
        self._doubts: Counter[str] = Counter()
        self._polled_at_s = 0.0

    @property
    def epochs_count(self) -> int:
        """Epochs that it has committed."""
        return self.committer.epochs_count

    @property
    def is_called_away(self) -> bool:
        """Whether there is something to be done between two epochs: to end, to pause a task, to let one go on."""
        return self.stopping.is_set() or self.pauses.is_asked or self.holds.has_any

    # What agents and Faust ask of it.

    def table(self, spec: TableSpec[Any]) -> EngineTable[Any]:
        """Give the table that a stage of the topology declares."""
        for tables in self.tables.values():
            for table in tables:
                if table.spec is spec:
                    return table
        raise KeyError(f"no stage of streams/topology.py keeps the table {spec.name}")

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group; called again when Faust adds a topic."""
        wanted = frozenset(topics)
        if wanted != self._subscribed:
            self._subscribed = wanted
            await self.threads.on_kafka(lambda: self._group.subscribe(wanted))

    # Its life.

    async def start(self) -> None:
        """Connect; refuse topics that do not belong together; fence a predecessor with the same id."""
        await self._lookups.begin(self.threads.is_alive)
        await self.threads.on_kafka(self._start)

    def _start(self) -> None:
        settings, budget = self.settings, self.settings.budget
        check_rights(settings, self.ownership.topology, self.waits[0])
        resources = StoreResources(budget.stores_bytes, budget.write_buffer_bytes)
        restorer = Restorer(settings, resources, self.ownership.disk, _now_ms, self.waits[1], self.meter)
        # The group first: what it refuses is refused before a predecessor with the same id is fenced.
        in_columns = any(stage.columns_from for stage in self.ownership.topology)
        group = GroupConsumer(settings, record_bytes(settings.memory_mb, in_columns=in_columns))
        self.ownership.connect(group, restorer, self.waits[0])
        self.connect(group, TransactionalProducer.of(settings, self.committer.reach, self.waits[0]))

    def connect(self, group: GroupConsumer, producer: TransactionalProducer) -> None:
        """Take the clients it works with."""
        self._group = group
        self._ticker.connect(group)
        self._intake.connect(group)
        self.committer.connect(group, producer)

    async def run(self) -> None:
        """Run epochs until :meth:`drain`."""
        self._run = asyncio.current_task()
        while not self.stopping.is_set():
            await self._turn()

    async def drain(self) -> None:
        """Finish the epoch that runs, begin no other, leave the group, close the stores.

        An epoch whose agents are not done in time is given up: whoever owns its tasks next redoes it.
        """
        self.stopping.set()
        if self._run is not None:
            timeout_s = self.settings.drain_timeout_ms / 1000
            await asyncio.wait([self._run], timeout=timeout_s)
            if self._run.cancel():
                log.warning("the epoch did not end within %.1f s (TALLY_DRAIN_TIMEOUT_MS) and is given up", timeout_s)
                await asyncio.wait([self._run])
            await self.ownership.release()
        self.holds.close()
        self._lookups.close()
        self.threads.shutdown()

    async def _turn(self) -> None:
        await self.ownership.look_at_disk()
        wait_s = self._wait_s(time.monotonic())
        polled = await self.threads.on_kafka(lambda: self._intake.poll(wait_s))
        self._polled_at_s = time.monotonic()
        await self.follow(polled)
        await self.pauses.serve()
        await self.holds.release()
        epoch, cut = await self._intake.epoch_of(polled, self.epochs_count + 1, self.epochs_count)
        if epoch.tasks and fits(polled, epoch, cut):
            await self._pipeline.run(epoch)
        else:
            await self.take_up(epoch, cut)

    def _wait_s(self, now_s: float) -> float:
        """Give how long the next poll may wait for an epoch to fill; an epoch that took so long has let it fill already."""
        if self._ticker.is_asked or self._sends_may_go():
            return AT_ONCE_S
        return max(self.settings.epoch_wait_ms / 1000 - (now_s - self._polled_at_s), AT_ONCE_S)

    async def follow(self, polled: Polled) -> None:
        """Act on what a poll said beside its records."""
        await self.ownership.follow(polled, self.announce)
        if polled.changes:
            await self._synchronise()

    async def take_up(self, epoch: Epoch, cut: list[Task]) -> None:
        """Carry an epoch to its end, if there is anything in it; of the tasks in ``cut`` it has not all that was polled."""
        if epoch.tasks or self._sends_may_go():
            await self.process(epoch)
            await self.ownership.read_again(cut)
        else:
            await asyncio.sleep(0)

    async def _synchronise(self) -> None:
        """Agree with the group on who this worker is and what it owns."""
        await self.ownership.follow(await self.threads.on_kafka(self._group.synchronise), self.announce)
        await self.ownership.resume_running()

    # One epoch.

    @in_its_epoch
    async def process(self, epoch: Epoch, *, by_agents_only: bool = False, verdict: Verdict | None = None) -> None:
        """Carry an epoch to its commit. An abort is redone; repeated failures are narrowed down.

        First without what timers and pages sent, then task by task: what still fails alone stops alone. ``verdict`` is what
        became of a first attempt, if there was one.
        """
        failures = aborts = 0
        while not self.stopping.is_set():
            if verdict is None:
                epoch = epoch.only(self.tasks.committable() if epoch.verdicts else self.tasks.running())
                if not epoch.tasks and (by_agents_only or not self._sends_may_go()):
                    return
                verdict = await self._try(epoch, by_agents_only=by_agents_only)
            outcome, verdict = verdict, None
            if isinstance(outcome, Failed):
                failures, limit = failures + 1, self.settings.redo_attempts_max
                log.warning("epoch %d failed (%d of %d): %s", epoch.number, failures, limit, outcome.error)
                if failures < limit:
                    continue
                if by_agents_only or not self.sends.give_up(outcome.error):
                    await self._isolate(epoch, outcome.error)
                    return
                failures, by_agents_only = 0, True
            elif isinstance(outcome, Crossed):
                await self._decree(outcome.verdicts)
            elif isinstance(outcome, Aborted):
                aborts += 1
                if aborts >= ABORTS_MAX:
                    await self._doubt(epoch.tasks, outcome.cause)
                    return
                log.info("epoch %d was aborted and is redone: %s", epoch.number, outcome.cause)
                await asyncio.sleep(self._back_off.wait_s(aborts - 1, random.random()))  # the first at once: somebody joined
                await self._synchronise()
            else:
                return

    def _sends_may_go(self) -> bool:
        """I9: what is to be sent waits until this worker owns something that fences it."""
        return bool(self.sends and self.tasks.running() and not self.ownership.lacking)

    async def _try(self, epoch: Epoch, *, by_agents_only: bool) -> Verdict:
        """Attempt it once."""
        decided = await self._attempts.decide(epoch, by_agents_only=by_agents_only)
        if not isinstance(decided, Decided):
            return decided
        return await self.conclude(decided, await self._attempts.commit(decided))

    async def conclude(self, decided: Decided, carried: Carried) -> Outcome | Failed:
        """Bring memory to where a committed epoch is; a store that could not follow is restored, and so is what is in doubt."""
        outcome, prepared = self._attempts.conclude(decided, carried), decided.prepared
        self.meter.attempted(carried.outcome)
        if isinstance(outcome, Committed):
            for task in prepared.positions:
                prepared.settle(task)
                self._doubts.pop(task.name, None)
            await self.ownership.recover(carried.failed)
            await self.ownership.heed(prepared.positions)
            self.meter.committed(decided.effects.counters, decided.effects.in_columns, time.monotonic() - decided.began_s)
        elif isinstance(outcome, Unknown):
            await self._doubt(prepared.positions, outcome.cause)
        return outcome

    async def _count_partitions(self, topics: set[str]) -> Mapping[str, int]:
        return await self.threads.on_kafka(lambda: self._group.partition_counts(topics, self.waits[0]))

    async def _isolate(self, epoch: Epoch, error: Exception) -> None:
        """Find the task that an agent cannot work on: each alone; the one that still fails is paused, the others go on.

        If the pause itself cannot be committed either, or there is no marker for it, the task is stopped.
        """
        if len(epoch.tasks) <= 1:
            reason = f"{error} (tried {self.settings.redo_attempts_max} times)"
            for task in epoch.tasks:
                if task in epoch.verdicts:
                    why = epoch.verdicts[task].paused or "it was to go on"
                    await self.ownership.stop(task, f"{why}; that cannot be committed: {reason}")
                elif task.stage is None:
                    await self.ownership.stop(task, reason)
                else:
                    await self._decree({task: paused(task, reason)})
            return
        for task in epoch.tasks:
            await self.process(epoch.only([task]), by_agents_only=True)

    async def _decree(self, verdicts: Mapping[Task, Judgement]) -> None:
        """Commit how tasks stand from now on: a marker with their unchanged positions, which every later owner heeds."""
        await self.process(Epoch.of_verdicts(self.epochs_count + 1, verdicts), by_agents_only=True)

    async def _look_again(self, task: Task) -> None:
        """Restore a stopped task, with nothing held against it."""
        self._doubts.pop(task.name, None)
        await self.ownership.doubt([task])

    async def _doubt(self, tasks: Iterable[Task], cause: str) -> None:
        """Restore tasks, which asks the cluster where they stand; one that never gets further stops."""
        doubtful, limit = list(tasks), self.settings.restore_attempts_max
        self._doubts.update(task.name for task in doubtful)
        for task in doubtful:
            if self._doubts[task.name] > limit:
                await self.ownership.stop(task, f"{limit} restores did not help: {cause}")
        await self.ownership.doubt([task for task in doubtful if self._doubts[task.name] <= limit])

    def _go_on_waiting(self) -> None:
        """On Kafka's thread: give a sign of life, and end the waiting if the worker is to end."""
        self.threads.is_alive()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.stopping.is_set():
            raise WorkerError("stopped while the cluster was away: what was open is settled by the cluster, and redone by others")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
