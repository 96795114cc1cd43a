"""The engine over real stores and the real agents, with Kafka's clients told what to say: what an attempt leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from agents.ports import AgentFunction, Limits
from schemas.codec import decode
from schemas.events import MerchantRevenue
from schemas.topics import REVENUE_BY_MERCHANT_1M
from streams import marker
from streams.app import _batches
from streams.back_off import BackOff
from streams.batch import EngineBatch
from streams.effects import Output
from streams.engine import ABORTS_MAX, Engine
from streams.epoch import Epoch
from streams.errors import ClusterError
from streams.group import Polled
from streams.kill_points import KillPoint
from streams.messages import runs_of
from streams.put_offs import PutOffs
from streams.restore import Restored
from streams.room import Room
from streams.settings import Settings
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tasks import Task, TaskState
from streams.topology import TOPOLOGY, Stage
from streams.transaction import Aborted, Committed, Outcome, Transaction, Unknown
from streams.waiting import Waiting
from tests.support.full_disk import full_disk
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, REVENUE, SETTLEMENT, message, running_task
from tests.unit.orders import deltas, placed

MINUTE_MS = 1_795_000_020_000
DELTA = deltas()
JUNK = b"?" * 10_000


class Group:
    """A consumer with nothing to read; notes from where tasks are started."""

    metadata = object()

    def __init__(self) -> None:
        self.started: list[dict[marker.TopicPartition, int]] = []
        self.room = Room(1 << 30, 8_000)

    def start(self, offsets: dict[marker.TopicPartition, int]) -> bool:
        self.started.append(dict(offsets))
        return True

    def partition_counts(self, topics: Iterable[str], _: Any) -> dict[str, int]:
        return {topic: 12 for topic in topics if "nobody" not in topic}

    def pause(self, _: Any) -> None: ...

    def close(self) -> None: ...

    def resume(self, _: Any) -> None: ...

    def synchronise(self) -> Polled:
        return Polled()


class Cluster:
    """Takes transactions, and answers as the test says: with these outcomes first, then always with a commit."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.judge: Callable[[Transaction], Outcome | None] = lambda _: None
        self.committed: list[Transaction] = []
        self.attempts_count = 0
        self.returns = threading.Event()
        self.returns.set()
        self.successor: Cluster | None = None
        self.age_s = 0.0

    def abandon(self) -> Cluster:
        self.successor = Cluster()
        return self.successor

    def commit(self, transaction: Transaction, meanwhile: Callable[[], str] = lambda: "") -> Outcome:
        self.attempts_count += 1
        if why_not := meanwhile():
            return Aborted(why_not)
        self.returns.wait(30)
        said = self.outcomes.pop(0) if self.outcomes else self.judge(transaction)
        if said is not None:
            return said
        self.committed.append(transaction)
        return Committed({where: len(self.committed) for where in transaction.markers})

    def sent(self) -> list[str]:
        return [record.topic.removeprefix(PREFIX) for transaction in self.committed for record in each_of(transaction.records)]


class NoRestorer:
    """Never done, unless it is told a verdict: a task that is in doubt stays so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.verdict: Callable[[Task], Restored] | None = None

    def restore(self, tasks: list[Task]) -> list[Restored]:
        self.asked += [task.name for task in tasks]
        return [self.verdict(task) for task in tasks] if self.verdict else []


class World:
    """An engine with the tasks ``settlement/0``, ``settlement/1`` and ``revenue/5``, and the agents of the topology."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(Settings(prefix=PREFIX, worker_id="w1"), TOPOLOGY, KillPoint(), back_off=BackOff(0.0, 0.0))
        self.cluster, self.restorer = Cluster(), NoRestorer()
        self.group = Group()
        self.engine.ownership.connect(self.group, self.restorer, Waiting(lambda: None))  # type: ignore[arg-type]
        self.engine.connect(Group(), self.cluster)  # type: ignore[arg-type]
        self.engine.barrier.deliver_batch = self._deliver
        self.engine.announce = self._announce
        self._resources = StoreResources(1 << 20, 1 << 20)
        self._folder = folder
        self._queues: dict[str, asyncio.Queue[EngineBatch]] = {stage.name: asyncio.Queue() for stage in TOPOLOGY}
        self.zero = self._task(SETTLEMENT, 0, (100, 50))
        self.one = self._task(SETTLEMENT, 1, (7, 8))
        self.five = self._task(REVENUE, 5, (3,))
        self._agents: list[asyncio.Task[None]] = []
        self.limits = Limits()
        for stage in TOPOLOGY:
            stage.declare(self)

    def _task(self, stage: Stage, partition: int, offsets: tuple[int, ...]) -> Task:
        task = running_task(self.engine.tasks, stage, partition, offsets)
        task.store = self.open_store(task)
        task.identity = StoreIdentity("cluster", "group", stage.changelog.name, "topic-id")
        self.engine.ownership.running[stage.name][partition] = task
        return task

    def open_store(self, task: Task) -> Store:
        assert task.stage is not None
        return Store(self._folder / task.name, [spec.name for spec in task.stage.keeps], self._resources)

    def table(self, spec: Any) -> Any:
        return self.engine.table(spec)

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        async def stream() -> AsyncIterator[EngineBatch]:
            while True:
                yield await self._queues[name].get()

        def declare(function: AgentFunction) -> AgentFunction:
            self._agents.append(asyncio.ensure_future(function(_batches(stream()))))
            return function

        return declare

    async def _deliver(self, batch: EngineBatch) -> None:
        self._queues[batch.stage.name].put_nowait(batch)

    async def _announce(self, _: set[marker.TopicPartition]) -> None: ...

    async def process(self, *messages: Message) -> None:
        await self.engine.process(Epoch.collect(1, runs_of(messages), self.engine.tasks, PREFIX))

    def rows(self) -> list[MerchantRevenue]:
        """Every row of the minute totals that was committed."""
        records = [record for transaction in self.cluster.committed for record in each_of(transaction.records)]
        rows = [decode(record.value) for record in records if record.topic == REVENUE_BY_MERCHANT_1M.named(PREFIX)]
        return cast("list[MerchantRevenue]", rows)

    async def close(self) -> None:
        for agent in self._agents:
            agent.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)
        self.engine.threads.shutdown()
        for task in (self.zero, self.one, self.five):
            if task.store is not None:
                task.store.close()


def in_world(folder: Path, script: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(folder)
        try:
            await script(world)
        finally:
            await world.close()

    asyncio.run(run())


def delta(offset: int = 3) -> Message:
    return message("revenue-deltas", offset, DELTA, partition=5)


def order(partition: int, offset: int) -> Message:
    return message("orders", offset, placed(f"e-{partition}", order_id=f"o-{partition}"), partition=partition)


def test_i1_a_stage_beside_one_that_cannot_begin_is_booked_exactly_once(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        poisoned = message("revenue-deltas", 4, b"junk", partition=5)
        await world.process(order(0, 100), delta(), poisoned)
        assert world.five.state is TaskState.PAUSED
        assert "has no dead-letter topic" in world.five.reason
        assert world.five.next_offsets == {(f"{PREFIX}revenue-deltas", 5): 3}
        assert world.zero.counters == {"consumed": 1, "applied": 1, **_money(world.zero)}
        assert world.cluster.sent().count("order-status") == 1
        assert world.cluster.sent().count("revenue-deltas") == 1

    in_world(tmp_path, script)


def _money(task: Task) -> dict[str, int]:
    return {name: amount for name, amount in task.counters.items() if "|" in name}


def test_i1_an_epoch_that_is_aborted_again_and_again_is_booked_once(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.outcomes = [Aborted("ILLEGAL_GENERATION: somebody joined")] * 3
        await world.process(delta())
        assert [(row.orders_count, row.gross_minor, row.revision) for row in world.rows()] == [(1, 100, 1)]
        assert world.cluster.attempts_count == 4
        assert world.engine.meter.aborts == {"ILLEGAL_GENERATION": 3}

    in_world(tmp_path, script)


def test_i8_what_the_cluster_refuses_again_and_again_stops_the_task_alone(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        def refuses_partition_1(transaction: Transaction) -> Outcome | None:
            refused = any(partition == 1 for _, partition in transaction.markers)
            return Aborted("TOPIC_AUTHORIZATION_FAILED: no", "TOPIC_AUTHORIZATION_FAILED: no") if refused else None

        world.cluster.judge = refuses_partition_1
        await world.process(order(0, 100), order(1, 7))
        assert (world.zero.state, world.one.state) == (TaskState.RUNNING, TaskState.STOPPED)
        assert "TOPIC_AUTHORIZATION_FAILED: no (tried 3 times)" in world.one.reason
        assert world.zero.counters["applied"] == 1
        assert world.one.next_offsets[f"{PREFIX}orders", 1] == 7

    in_world(tmp_path, script)


def test_i8_a_task_that_restores_do_not_help_stops(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        limit = world.engine.settings.restore_attempts_max
        for _ in range(limit):
            await world.engine._doubt([world.zero], "nobody knows")
            world.zero = world.engine.tasks.by_input[f"{PREFIX}orders", 0]
            assert world.zero.state is TaskState.RESTORING
        await world.engine._doubt([world.zero], "nobody knows")
        assert (world.zero.state, world.zero.reason) == (TaskState.STOPPED, f"{limit} restores did not help: nobody knows")

    in_world(tmp_path, script)


def test_f06_a_producer_whose_client_does_not_return_is_left_behind_and_its_tasks_are_restored(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.engine.threads.call_timeout_s = 0.05
        world.cluster.returns.clear()
        await world.process(order(0, 100))
        assert world.cluster.successor is not None
        assert world.engine.meter.aborts == {"STUCK": 1}
        renewed = world.engine.tasks.by_input[f"{PREFIX}orders", 0]
        assert (renewed is world.zero, renewed.state) == (False, TaskState.RESTORING), "nobody knows what it did"
        await world.process(order(1, 7))
        world.cluster.returns.set()
        assert [record.topic for record in world.cluster.successor.committed[0].records].count(f"{PREFIX}order-status") == 1
        assert world.engine.threads.stuck, "the process must not wait for the thread that was left behind"

    in_world(tmp_path, script)


def test_f14_a_store_that_finds_no_room_is_restored_later_and_its_epoch_is_never_redone(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.engine.ownership._put_offs = PutOffs(BackOff(0.0, 0.0))
        broken = world.zero.store
        assert broken is not None
        with full_disk(), suppress(Exception):
            broken.apply({}, StandsFor(cast("StoreIdentity", world.zero.identity), 1, 0, None))
            broken.flush()  # from here on RocksDB takes no write of this store
        await world.process(order(0, 100), order(1, 7))
        assert len(world.cluster.committed) == world.cluster.attempts_count == 1
        renewed = world.engine.tasks.by_input[f"{PREFIX}orders", 0]
        assert renewed is not world.zero
        assert renewed.state is TaskState.RESTORING
        assert renewed.reason.startswith("the disk has no room for its store: IO error: ")
        assert renewed.retry_at_ms is not None
        assert (world.one.state, world.one.counters["applied"]) == (TaskState.RUNNING, 1), "the others go on"
        assert world.restorer.asked == [], "it waits first"
        await world.process(order(0, 101), order(1, 8))
        assert world.one.counters["consumed"] == 2
        assert len(world.cluster.committed) == 2
        assert all(partition == 1 for _, partition in world.cluster.committed[1].markers), "and it does not run meanwhile"

        world.restorer.verdict = lambda task: Restored(task, marker.Resume(dict(world.zero.next_offsets)))
        deadline = asyncio.get_running_loop().time() + 10
        while len(world.engine.tasks.running()) < 3:
            assert asyncio.get_running_loop().time() < deadline
            await world.engine.ownership.follow(Polled(), world.engine.announce)
            await asyncio.sleep(0)
        assert world.restorer.asked == ["settlement/0"]
        assert world.group.started == [{(f"{PREFIX}orders", 0): 101, (f"{PREFIX}payments", 0): 50}]
        assert renewed.reason == ""
        renewed.store = world.open_store(world.zero)  # the broken one was let go
        assert renewed.store.stands_for is None, "it is behind its changelog, and not ahead"
        renewed.store.close()

    in_world(tmp_path, script)


def test_a_store_that_cannot_follow_for_another_reason_is_restored_at_once(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        assert world.zero.store is not None
        world.zero.store._handles.clear()  # it can be read, and takes nothing
        await world.process(order(0, 100), order(1, 7))
        renewed = world.engine.tasks.by_input[f"{PREFIX}orders", 0]
        assert (renewed is world.zero, renewed.state, renewed.reason) == (False, TaskState.RESTORING, "")
        await asyncio.wrap_future(world.engine.threads._stores.submit(lambda: None))
        assert world.restorer.asked == ["settlement/0"]
        assert (world.one.state, world.cluster.attempts_count) == (TaskState.RUNNING, 1)

    in_world(tmp_path, script)


@pytest.mark.parametrize(("timeout_ms", "given_up"), [(600_000, False), (0, True)])
def test_a_worker_that_ends_gives_its_epoch_the_time_that_is_set_and_no_more(
    tmp_path: Path, timeout_ms: int, *, given_up: bool
) -> None:
    async def epoch() -> None:
        for _ in range(1_000):
            await asyncio.sleep(0)

    async def script(world: World) -> None:
        world.engine.settings = world.engine.settings.model_copy(update={"drain_timeout_ms": timeout_ms})
        world.engine._run = asyncio.ensure_future(epoch())
        await world.engine.drain()
        assert world.engine._run.cancelled() is given_up
        assert world.engine.ownership.left, "the group is left either way"

    in_world(tmp_path, script)


def test_an_epoch_without_end_of_aborts_is_restored_instead(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.judge = lambda _: Aborted("CONCURRENT_TRANSACTIONS: still")
        await world.process(order(0, 100))
        assert world.cluster.attempts_count == ABORTS_MAX
        assert world.engine.tasks.by_input[f"{PREFIX}orders", 0] is not world.zero
        assert world.five.state is TaskState.RUNNING

    in_world(tmp_path, script)


def test_what_a_page_sent_goes_with_the_next_transaction_and_a_poisoned_one_fails_alone(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        sends = world.engine.sends
        good = sends.put(Output("t.reply", b"k", b"fine"), by_agent=False)
        nowhere = sends.put(Output("t.nobody", b"k", b"v"), by_agent=False)
        await world.process(order(0, 100))
        assert good.result() is None
        with pytest.raises(ClusterError, match=r"nothing can be sent to t\.nobody: it does not exist"):
            nowhere.result()

        poison = sends.put(Output("t.reply", b"k", b"poison"), by_agent=False)

        def refuses_poison(transaction: Transaction) -> Outcome | None:
            refused = any(record.value == b"poison" for record in each_of(transaction.records))
            return Aborted("MSG_SIZE_TOO_LARGE: no", "MSG_SIZE_TOO_LARGE: no") if refused else None

        world.cluster.judge = refuses_poison
        await world.process(order(1, 7))
        with pytest.raises(ClusterError, match="was in every attempt of an epoch that failed"):
            poison.result()
        assert (world.one.state, world.one.counters["applied"]) == (TaskState.RUNNING, 1)

    in_world(tmp_path, script)


def test_whoever_sent_into_a_transaction_of_which_nobody_knows_is_told_so(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.outcomes = [Unknown("_TIMED_OUT: no answer")]
        sent = world.engine.sends.put(Output("t.reply", b"k", b"v"), by_agent=False)
        await world.process(order(0, 100))
        with pytest.raises(ClusterError, match=r"nobody knows whether the record for t\.reply was sent: _TIMED_OUT"):
            sent.result()
        assert len(world.engine.sends) == 0, "it may be there already: it is not sent again"

    in_world(tmp_path, script)


def test_a_table_is_not_written_outside_an_epoch(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        with pytest.raises(RuntimeError, match="revenue_by_merchant_1m is written outside an epoch"):
            world.engine.table(TOPOLOGY[1].keeps[1]).put_many({(5, b"k"): None})

    in_world(tmp_path, script)
