"""The engine: poll, decide, commit, apply; one epoch after the other, everything of an epoch or nothing of it.

It runs on the event loop. Kafka's client is called on one thread of its own, stores are restored
on another (``threads.py``); agents run on the loop between the two.
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
from streams.back_off import ABORTED, BackOff
from streams.barrier import Barrier
from streams.committer import Committer
from streams.disk import Disk
from streams.effects import Effects
from streams.epoch import Epoch, Prepared
from streams.errors import TallyError, WorkerError
from streams.group import GroupConsumer
from streams.hold import Holds
from streams.judgement import Judgement
from streams.kill_points import KillPoint
from streams.logs import in_its_epoch
from streams.lookups import Lookups
from streams.meter import Meter
from streams.ownership import Announce, Ownership
from streams.pauses import Crossed, Failed, Pauses, judged, paused
from streams.preflight import check_rights
from streams.registry import connect
from streams.restore import Restorer
from streams.sends import Send, Sends
from streams.settings import Settings
from streams.store import StoreResources
from streams.tables import EngineTable
from streams.tasks import Task
from streams.threads import Threads
from streams.ticker import Ticker
from streams.topology import Topology
from streams.transaction import Aborted, Committed, Outcome, TransactionalProducer, TransactionRefusedError, Unknown
from streams.waiting import Waiting

log = logging.getLogger(__name__)

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
        self._admission = Admission(settings.future_max_ms, self.ownership.partition_counts, self._lookups.wire)
        self._ticker = Ticker(settings, self.ownership, self.threads, self._admission, _now_ms)
        self.tables: dict[str, list[EngineTable[Any]]] = {
            stage.name: [EngineTable(spec, self.ownership.running[stage.name], self.barrier.holds) for spec in stage.keeps]
            for stage in topology
        }
        self.announce: Announce
        self.sends = Sends(settings.budget.producer_bytes)
        self.meter = Meter()
        self.stopping = asyncio.Event()
        self._kill_point = kill_point
        self._back_off = back_off
        self.waits = Waiting(self._go_on_waiting), Waiting(self._stop_if_asked)
        self._subscribed: frozenset[str] = frozenset()
        self._group: GroupConsumer
        self.committer = Committer(self.threads, kill_point, _now_ms)
        self.pauses = Pauses(self.tasks, self._decree, self._look_again)
        self._run: asyncio.Task[None] | None = None
        self._known: dict[str, int] = {}
        self._doubts: Counter[str] = Counter()

    @property
    def epochs_count(self) -> int:
        """Epochs that it has committed."""
        return self.committer.epochs_count

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
        group = GroupConsumer(settings)
        self.ownership.connect(group, restorer, self.waits[0])
        self.connect(group, TransactionalProducer.of(settings, self.committer.reach, self.waits[0]))

    def connect(self, group: GroupConsumer, producer: TransactionalProducer) -> None:
        """Take the clients it works with."""
        self._group = group
        self._ticker.connect(group)
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
        settings = self.settings
        wait_s = 0.001 if self._ticker.is_asked or self._sends_may_go() else settings.epoch_wait_ms / 1000
        await self.ownership.look_at_disk()
        polled = await self.threads.on_kafka(lambda: self._group.poll(wait_s))
        await self.ownership.follow(polled, self.announce)
        if polled.changes:
            await self._synchronise()
        await self.pauses.serve()
        await self.holds.release()
        epoch = Epoch.collect(self.epochs_count + 1, polled.messages, self.tasks, settings.prefix, self._admission)
        epoch, cut = (await self._lookups.keep_back(epoch)).up_to_probes()
        if epoch.records_count:
            self._kill_point.reach("after_poll", self.epochs_count, epoch.records_count)
        epoch = await self._ticker.complete(epoch, polled.messages)
        if epoch.tasks or self._sends_may_go():
            await self._process(epoch)
            await self.ownership.read_again(cut)
        else:
            await asyncio.sleep(0)

    async def _synchronise(self) -> None:
        """Agree with the group on who this worker is and what it owns."""
        await self.ownership.follow(await self.threads.on_kafka(self._group.synchronise), self.announce)
        await self.ownership.resume_running()

    # One epoch.

    @in_its_epoch
    async def _process(self, epoch: Epoch, *, by_agents_only: bool = False) -> None:
        """Carry an epoch to its commit. An abort is redone; repeated failures are narrowed down.

        First without what timers and pages sent, then task by task: what still fails alone stops alone.
        """
        failures = aborts = 0
        while not self.stopping.is_set():
            epoch = epoch.only(self.tasks.committable() if epoch.verdicts else self.tasks.running())
            if not epoch.tasks and (by_agents_only or not self._sends_may_go()):
                return
            outcome = await self._try(epoch, by_agents_only=by_agents_only)
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

    async def _try(self, epoch: Epoch, *, by_agents_only: bool) -> Outcome | Failed | Crossed:
        """Attempt it once; what is not the worker's own end is one more failure of the same records (I8)."""
        try:
            outcome = await self._attempt(epoch, by_agents_only=by_agents_only)
        except TallyError:
            raise
        except Exception as error:  # noqa: BLE001 - I8: whatever it was, the epoch is redone, a bounded number of times
            return Failed(error)
        self.meter.attempted(outcome)
        if isinstance(outcome, Aborted) and outcome.refused:
            return Failed(TransactionRefusedError(outcome.refused))
        return outcome

    async def _attempt(self, epoch: Epoch, *, by_agents_only: bool) -> Outcome | Crossed:
        """Decide and commit once; whatever fails, nothing of the attempt stays behind."""
        began_s, effects = time.monotonic(), Effects()
        sends: list[Send] = []
        outcome: Outcome | None = None
        try:
            await self.barrier.decide(epoch, effects)
            judgements = judged(epoch, effects, self.settings.dead_records_max)
            if isinstance(judgements, Crossed):
                return judgements
            sends = await self._take_sends(by_agents_only=by_agents_only)
            outputs = [send.output for send in sends]
            prepared = Prepared(epoch, effects, self.tables, self.settings.worker_id, outputs, self.tasks.running(), judgements)
            outcome = await self.committer.commit(prepared)
        finally:
            self.barrier.lift()
            for tables in self.tables.values():
                for table in tables:
                    table.forget()
            self.sends.answer(sends, outcome)
        if isinstance(outcome, Committed):
            await self._settle(prepared, outcome)
            self.meter.committed(effects.counters, effects.in_columns, time.monotonic() - began_s)
        elif isinstance(outcome, Unknown):
            await self._doubt(prepared.positions, outcome.cause)
        return outcome

    async def _take_sends(self, *, by_agents_only: bool) -> list[Send]:
        unknown = self.sends.topics() - self._known.keys()
        if unknown:
            self._known |= await self.threads.on_kafka(lambda: self._group.partition_counts(unknown, self.waits[0]))
        return self.sends.take(self._known, by_agents_only=by_agents_only)

    async def _settle(self, prepared: Prepared, committed: Committed) -> None:
        """Bring stores and memory to where the committed epoch is; a store that cannot follow is restored."""
        for task in prepared.positions:
            prepared.settle(task)
            self._doubts.pop(task.name, None)
        await self.ownership.recover(await self.committer.apply(prepared, committed))
        await self.ownership.heed(prepared.positions)

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
            await self._process(epoch.only([task]), by_agents_only=True)

    async def _decree(self, verdicts: Mapping[Task, Judgement]) -> None:
        """Commit how tasks stand from now on: a marker with their unchanged positions, which every later owner heeds."""
        await self._process(Epoch.of_verdicts(self.epochs_count + 1, verdicts), by_agents_only=True)

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
