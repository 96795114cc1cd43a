"""The engine: poll, decide, commit, apply; one epoch after the other, everything of an epoch or nothing of it.

It runs on the event loop. Kafka's client is called on one thread of its own, stores are restored
on another (``threads.py``); agents run on the loop between the two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Message

from agents.ports import TableSpec
from streams.batch import EngineBatch
from streams.effects import Effects, Output
from streams.epoch import Epoch, Prepared
from streams.errors import TallyError, WorkerError
from streams.group import GroupConsumer
from streams.kill_points import KillPoint
from streams.ownership import Announce, Ownership
from streams.restore import Restorer
from streams.settings import Settings
from streams.store import StoreResources
from streams.tables import EngineTable
from streams.tasks import Task
from streams.threads import Threads
from streams.topology import Topology
from streams.transaction import Aborted, Committed, TransactionalProducer, Unknown

log = logging.getLogger(__name__)

ABORTS_MAX = 10
"""Aborts of one epoch in a row; then its tasks are restored instead, which asks the cluster where they stand."""
BACK_OFF_S = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
"""Between two attempts at an aborted epoch. The first abort is mostly somebody joining the group: no wait."""


class Send(NamedTuple):
    """A record that Faust sends: by a timer, a view, or an agent on a topic of its own."""

    output: Output
    done: asyncio.Future[None]
    by_agent: bool


class AgentFailedError(Exception):
    """An agent raised while it worked on the epoch."""


class Engine:
    """Everything a worker does between Kafka and its agents.

    ``deliver_batch`` and ``deliver_plain`` hand records to the agents; ``announce`` tells Faust
    which partitions are owned. All three are the transport's.
    """

    def __init__(self, settings: Settings, topology: Topology, client: Mapping[str, Any], kill_point: KillPoint) -> None:
        self.settings = settings
        self.threads = Threads()
        self.ownership = Ownership(topology, settings.prefix, self.threads)
        self.tasks = self.ownership.tasks
        self.tables: dict[str, list[EngineTable[Any]]] = {
            stage.name: [EngineTable(spec, self.ownership.running[stage.name]) for spec in stage.keeps] for stage in topology
        }
        self.deliver_batch: Callable[[EngineBatch], Awaitable[None]]
        self.deliver_plain: Callable[[list[tuple[Task, Message]]], Awaitable[None]]
        self.announce: Announce
        self.sends: list[Send] = []
        self.epochs_count = 0
        self.aborts: Counter[str] = Counter()
        self.stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._running = False
        self._client = dict(client)
        self._kill_point = kill_point
        self._subscribed: frozenset[str] = frozenset()
        self._group: GroupConsumer
        self._producer: TransactionalProducer
        self._epoch: Epoch | None = None
        self._records_in_epoch = 0

    # What agents and Faust ask of it.

    def table(self, spec: TableSpec[Any]) -> EngineTable[Any]:
        """Give the table that a stage of the topology declares."""
        for tables in self.tables.values():
            for table in tables:
                if table.spec is spec:
                    return table
        raise KeyError(f"no stage of streams/topology.py keeps the table {spec.name}")

    def send(self, output: Output, *, by_agent: bool) -> asyncio.Future[None]:
        """Put a record into the next transaction; the future is done when that has committed.

        What an agent sends belongs to the epoch that it works on and is forgotten when that is redone.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sends.append(Send(output, future, by_agent))
        return future

    def agent_failed(self, stage_name: str | None, error: BaseException) -> None:
        """Note that an agent raised; the epoch that it worked on is redone."""
        epoch = self._epoch
        if epoch is None:
            return
        batch = epoch.batches.get(stage_name or "")
        for each in [batch] if batch else epoch.batches.values():
            if each.finished is not None and not each.finished.done():
                failure = AgentFailedError(f"agent {stage_name}: {type(error).__name__}: {error}")
                failure.__cause__ = error
                each.finished.set_exception(failure)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group; called again when Faust adds a topic."""
        wanted = frozenset(topics)
        if wanted != self._subscribed:
            self._subscribed = wanted
            await self.threads.on_kafka(lambda: self._group.subscribe(wanted))

    # Its life.

    async def start(self) -> None:
        """Connect; refuse topics that do not belong together; fence a predecessor with the same id."""
        await self.threads.on_kafka(self._connect)

    def _connect(self) -> None:
        settings = self.settings
        resources = StoreResources(settings.block_cache_bytes, settings.write_buffer_bytes)
        self._group = GroupConsumer(settings, self._client)
        self.ownership.connect(self._group, Restorer(settings, self._client, resources, _now_ms), self._go_on_waiting)
        config = {
            **self._client,
            "client.id": settings.transactional_id,
            "transactional.id": settings.transactional_id,
            "transaction.timeout.ms": settings.transaction_timeout_ms,
        }
        self._producer = TransactionalProducer(config, self._reach, self._go_on_waiting)

    async def run(self) -> None:
        """Run epochs until :meth:`drain`."""
        self._running = True
        try:
            while not self.stopping.is_set():
                await self._turn()
        finally:
            self._stopped.set()

    async def drain(self) -> None:
        """Finish the epoch that runs, begin no other, leave the group, close the stores."""
        self.stopping.set()
        if self._running:
            await self._stopped.wait()
            await self.ownership.release()
        self.threads.shutdown()

    async def _turn(self) -> None:
        settings = self.settings
        wait_s = 0.001 if self.sends else settings.epoch_wait_ms / 1000
        polled = await self.threads.on_kafka(lambda: self._group.poll(settings.epoch_records_max, wait_s))
        await self.ownership.follow(polled, self.announce)
        if polled.changes:
            await self._synchronise()
        epoch = Epoch.collect(self.epochs_count + 1, polled.messages, self.tasks, settings.prefix)
        if epoch.records_count:
            self._kill_point.reach("after_poll", self.epochs_count, epoch.records_count)
        if epoch.records_count or (self.sends and self.tasks.running()):
            await self._process(epoch)
        else:
            await asyncio.sleep(0)

    async def _synchronise(self) -> None:
        """Agree with the group on who this worker is and what it owns."""
        await self.ownership.follow(await self.threads.on_kafka(self._group.synchronise), self.announce)
        await self.ownership.resume_running()

    # One epoch.

    async def _process(self, epoch: Epoch) -> None:
        """Carry an epoch to its commit: redo it after an abort, task by task after repeated failures of an agent."""
        failures = aborts = 0
        while True:
            running = self.tasks.running()
            epoch = epoch.only(running)
            if not epoch.records_count and not (self.sends and running):
                return  # I9: what is to be sent waits until this worker owns something that fences it
            try:
                outcome = await self._attempt(epoch)
            except TallyError:
                raise  # not this epoch's fault: the worker itself cannot go on
            except Exception as error:  # noqa: BLE001 - I8: whatever it was, the epoch is redone, a bounded number of times
                failures += 1
                log.warning("epoch %d is redone (%d of %d): %s", epoch.number, failures, self.settings.redo_attempts_max, error)
                if failures >= self.settings.redo_attempts_max:
                    await self._isolate(epoch, error)
                    return
                continue
            if isinstance(outcome, Committed):
                return
            self.aborts[outcome.cause.split(":", 1)[0]] += 1
            aborts += 1
            if isinstance(outcome, Unknown):
                return
            if aborts >= ABORTS_MAX:
                await self.ownership.doubt(epoch.tasks)
                return
            log.info("epoch %d was aborted and is redone: %s", epoch.number, outcome.cause)
            await asyncio.sleep(BACK_OFF_S[min(aborts, len(BACK_OFF_S)) - 1])
            await self._synchronise()

    async def _attempt(self, epoch: Epoch) -> Committed | Aborted | Unknown:
        """Decide and commit once; whatever fails, nothing of the attempt stays behind."""
        self._epoch = epoch
        sends: list[Send] = []
        outcome: Committed | Aborted | Unknown | None = None
        try:
            await self._decide(epoch)
            sends, self.sends = self.sends, []
            prepared = Prepared(
                epoch, self.tables, self.settings.worker_id, [send.output for send in sends], self.tasks.running()
            )
            outcome = await self.threads.on_kafka(lambda: self._commit(prepared))
        finally:
            self._epoch = None
            for tables in self.tables.values():
                for table in tables:
                    table.forget()
            if not isinstance(outcome, Committed):
                self._take_back(sends)
        if isinstance(outcome, Committed):
            for send in sends:
                if not send.done.done():
                    send.done.set_result(None)
            await self._settle(prepared, outcome)
        elif isinstance(outcome, Unknown):
            await self.ownership.doubt(prepared.positions)
        return outcome

    async def _decide(self, epoch: Epoch) -> None:
        """Hand the records to the agents and wait until every one is done with its batch."""
        epoch.effects = Effects()
        loop = asyncio.get_running_loop()
        waiting: list[Awaitable[None]] = []
        for batch in epoch.batches.values():
            batch.begin(epoch.effects, _now_ms)
            if batch.rows:
                batch.finished = loop.create_future()
                await self.deliver_batch(batch)
                waiting.append(batch.finished)
        if epoch.plain:
            waiting.append(self.deliver_plain(epoch.plain))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _commit(self, prepared: Prepared) -> Committed | Aborted | Unknown:
        self._records_in_epoch = prepared.records_count
        outcome = self._producer.commit(prepared.transaction(self._group.metadata))
        if isinstance(outcome, Committed):
            self._reach("before_apply")
            self.epochs_count += 1
        return outcome

    async def _settle(self, prepared: Prepared, committed: Committed) -> None:
        """Bring stores and memory to where the committed epoch is; a store that cannot follow is restored."""
        for task in prepared.positions:
            prepared.settle(task)
        try:
            await self.threads.on_kafka(lambda: _apply(prepared, committed))
        except Exception as error:  # noqa: BLE001 - it is committed: whatever the store says, it must never be redone
            log.warning("a store could not follow its changelog and is restored: %s", error)
            await self.ownership.doubt(prepared.changes)

    async def _isolate(self, epoch: Epoch, error: Exception) -> None:
        """Find the task that an agent cannot work on: each alone; the one that still fails stops, the others go on."""
        if len(epoch.tasks) <= 1:
            for task in epoch.tasks:
                await self.ownership.stop(task, f"{error} (after {self.settings.redo_attempts_max} attempts)")
            return
        for task in epoch.tasks:
            await self._process(epoch.only([task]))

    def _take_back(self, sends: list[Send]) -> None:
        """Keep what timers and views sent for the next transaction; agents will send theirs again."""
        waiting, self.sends = self.sends, []
        for send in sends + waiting:
            if send.by_agent:
                send.done.cancel()
            else:
                self.sends.append(send)

    def _reach(self, place: str) -> None:
        self._kill_point.reach(place, self.epochs_count, self._records_in_epoch)

    def _go_on_waiting(self) -> None:
        if self.stopping.is_set():
            raise WorkerError("stopped while the cluster was away: what was open is settled by the cluster, and redone by others")

    def snapshot(self) -> dict[str, Any]:
        """Give what the worker's status page shows: its tasks with their counters, epochs, aborts by cause."""
        tasks = [
            {
                "task": task.name,
                "state": task.state,
                "reason": task.reason,
                "epoch": task.epoch,
                "restored_records": task.restored_records,
                "next_offsets": {f"{topic}/{partition}": at for (topic, partition), at in task.next_offsets.items()},
                "counters": task.counters,
            }
            for task in list(self.tasks)
        ]
        return {
            "worker": self.settings.worker_id,
            "epochs_count": self.epochs_count,
            "aborts": dict(self.aborts),
            "tasks": tasks,
        }


def _apply(prepared: Prepared, committed: Committed) -> None:
    now_ms = _now_ms()
    for task, changes in prepared.changes.items():
        assert task.changelog is not None  # noqa: S101 - stateful
        assert task.store is not None  # noqa: S101 - running
        assert task.identity is not None  # noqa: S101 - restored
        offset = committed.marker_offsets[task.changelog] + 1
        task.store.apply(changes, prepared.stands_for(task, task.identity, offset, now_ms))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
