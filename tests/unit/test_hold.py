"""Held tasks: which records wait, how often the trouble is looked at, and how the task goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from schemas.codec import encode
from schemas.wire import FIXED, SchemaId, UnreadableSchema, Wire, WriterSchema, prefix_of
from streams import marker
from streams.admission import Admission
from streams.epoch import Epoch
from streams.errors import RegistryAwayError, RegistryRefusedError
from streams.group import GroupConsumer, Polled
from streams.hold import Holds
from streams.lookups import Lookups
from streams.messages import runs_of
from streams.ownership import Ownership
from streams.registry import Registry
from streams.registry_client import RegistryClient
from streams.restore import Restorer
from streams.tasks import Task, TaskState
from streams.threads import Threads
from streams.topology import TOPOLOGY
from streams.waiting import Waiting
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task
from tests.unit.orders import placed

NOW_MS = 1_795_000_000_000
ORDERS, PAYMENTS = f"{PREFIX}orders", f"{PREFIX}payments"
NEW_ID = 900
OURS = FIXED.readers[1]


class Group:
    """Notes what is paused and started; ``ready`` is what a start answers."""

    def __init__(self) -> None:
        self.paused: list[marker.TopicPartition] = []
        self.started: list[dict[marker.TopicPartition, int]] = []
        self.ready = True

    def pause(self, partitions: Iterable[marker.TopicPartition]) -> None:
        self.paused += partitions

    def start(self, offsets: dict[marker.TopicPartition, int]) -> bool:
        if self.ready:
            self.started.append(dict(offsets))
        return self.ready

    def partition_counts(self, topics: Iterable[str], _: Any) -> dict[str, int]:
        return dict.fromkeys(topics, 12)


class Answers:
    """A registry client that says what the test wants, and an error while it is away."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.schemas: dict[SchemaId, WriterSchema | UnreadableSchema | None] = {}
        self.asked: list[SchemaId] = []

    def schema_of(self, schema_id: SchemaId) -> WriterSchema | UnreadableSchema | None:
        self.asked.append(schema_id)
        if self.away is not None:
            raise self.away
        return self.schemas.get(schema_id)

    def id_of(self, subject: str, text: str, *, register: bool) -> int | None:
        if self.away is not None:
            raise self.away
        return 100 + len(subject) if register else None


async def announce(_: set[marker.TopicPartition]) -> None:
    """Nobody listens."""


class World:
    """Two running settlement tasks, their holds and lookups; time passes when :meth:`pass_time` says so."""

    def __init__(self) -> None:
        self.threads = Threads(30.0)
        self.ownership = Ownership(TOPOLOGY, PREFIX, self.threads)
        self.group, self.client = Group(), Answers()
        self.ownership.connect(cast("GroupConsumer", self.group), cast("Restorer", None), Waiting(lambda: None))
        self.zero, self.one = (running_task(self.ownership.tasks, SETTLEMENT, n, (100, 50)) for n in (0, 1))
        self.ownership.running["settlement"].update({0: self.zero, 1: self.one})
        self.slept_s: list[float] = []
        self._wakes: list[asyncio.Event] = []
        self.holds = Holds(self.ownership, lambda: NOW_MS, self._sleep)
        self.registry = Registry(cast("RegistryClient", self.client))
        self.lookups = Lookups(self.registry, TOPOLOGY, PREFIX, self.holds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self._wakes.append(asyncio.Event())
        await self._wakes[-1].wait()

    async def pass_time(self, slept: int) -> None:
        """Wait until that many pauses were begun, all told, and end them."""
        await self.until(lambda: len(self.slept_s) >= slept)
        for wake in self._wakes:
            wake.set()

    async def until(self, true: Callable[[], object]) -> None:
        deadline = asyncio.get_running_loop().time() + 10
        while not true():
            assert asyncio.get_running_loop().time() < deadline
            await self.ownership.follow(Polled(), announce)
            await self.holds.release()
            await asyncio.sleep(0.001)

    async def turn(self, *values: tuple[int, int, bytes]) -> Epoch:
        """Give the epoch of records of ``orders`` (partition, offset, value), as the engine would process it."""
        messages = [message("orders", offset, value, partition=partition) for partition, offset, value in values]
        return await self.lookups.keep_back(Epoch.collect(1, runs_of(messages), self.ownership.tasks, PREFIX))

    def close(self) -> None:
        self.holds.close()
        self.lookups.close()
        self.threads.shutdown()


def in_world(script: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World()
        try:
            await script(world)
        finally:
            world.close()

    asyncio.run(run())


KNOWN = encode(placed())
UNKNOWN = prefix_of(NEW_ID) + KNOWN[5:]
GOOD = (0, 100, KNOWN)


def new(partition: int, offset: int = 101) -> tuple[int, int, bytes]:
    return partition, offset, UNKNOWN


async def nothing_in_the_way() -> str:
    return ""


def test_a_new_id_holds_its_task_and_nothing_of_it_is_processed_while_the_other_goes_on() -> None:
    async def script(world: World) -> None:
        world.registry.note(1, OURS)
        world.client.away = RegistryAwayError("the registry is away")
        epoch = await world.turn(GOOD, new(0), (1, 100, KNOWN))
        assert epoch.tasks == [world.one]
        assert epoch.positions() == {world.one: {(ORDERS, 1): (100, 101), (PAYMENTS, 1): (50, 50)}}
        assert (world.zero.state, world.one.state) == (TaskState.HELD, TaskState.RUNNING)
        assert world.group.paused == [(ORDERS, 0), (PAYMENTS, 0)]
        assert world.ownership.running["settlement"] == {1: world.one}
        await world.until(lambda: world.slept_s)
        assert world.zero.reason == f"schema id {NEW_ID} cannot be looked up: the registry is away"
        assert world.zero.retry_at_ms == NOW_MS + round(world.slept_s[0] * 1000)
        assert (await world.turn((0, 102, KNOWN))).tasks == [], "what was fetched before the pause is not processed either"

    in_world(script)


def test_it_goes_on_by_itself_from_the_first_record_that_it_had_not_processed() -> None:
    async def script(world: World) -> None:
        world.registry.note(1, OURS)
        world.client.away = RegistryAwayError("the registry is away")
        await world.turn(GOOD, new(0))
        await world.pass_time(1)
        await world.pass_time(2)
        await world.until(lambda: len(world.slept_s) == 3)
        assert world.zero.state is TaskState.HELD
        world.client.away = None
        world.client.schemas[NEW_ID] = OURS
        await world.pass_time(3)
        await world.until(lambda: world.zero.state is TaskState.RUNNING)
        assert world.group.started == [{(ORDERS, 0): 100, (PAYMENTS, 0): 50}]
        assert world.ownership.running["settlement"] == {0: world.zero, 1: world.one}
        assert (world.zero.reason, world.zero.retry_at_ms) == ("", None)
        epoch = await world.turn(GOOD, new(0))
        assert (epoch.tasks, epoch.records_count) == ([world.zero], 2)
        assert world.client.asked == [NEW_ID] * 4

    in_world(script)


def test_an_id_that_the_registry_does_not_know_lets_its_task_go_on_to_a_dead_letter() -> None:
    async def script(world: World) -> None:
        world.registry.note(1, OURS)
        await world.turn(GOOD, new(0))
        await world.until(lambda: world.zero.state is TaskState.RUNNING)
        admission = Admission(2**62, wire=world.lookups.wire)
        messages = [message("orders", offset, value) for offset, value in ((100, KNOWN), (101, UNKNOWN))]
        epoch = await world.lookups.keep_back(Epoch.collect(1, runs_of(messages), world.ownership.tasks, PREFIX, admission))
        dead = epoch.stages["settlement"].arrived.dead
        assert [cause.reason for at, cause in dead if at.offset() == 101] == ["unknown_schema_id"]
        assert world.slept_s == [], "an answer is an answer: nothing is tried again"

    in_world(script)


def test_tasks_that_wait_for_the_same_id_ask_once() -> None:
    async def script(world: World) -> None:
        world.client.schemas[NEW_ID] = OURS
        epoch = await world.turn(new(0), new(0, 102), new(1))
        assert epoch.tasks == []
        await world.until(lambda: len(world.ownership.tasks.running()) == 2)
        assert world.client.asked == [NEW_ID]

    in_world(script)


def test_a_task_that_is_revoked_while_it_is_held_is_let_alone() -> None:
    async def script(world: World) -> None:
        world.client.away = RegistryAwayError("away")
        await world.turn(new(0))
        await world.until(lambda: world.slept_s)
        await world.ownership.follow(Polled(changes=[("revoked", [(ORDERS, 0)])]), announce)
        world.client.away = None
        await world.holds.release()
        assert world.holds._tries == {}
        assert world.group.started == []
        assert len(world.client.asked) == 1

    in_world(script)


def test_a_task_that_stops_while_it_is_held_stays_stopped() -> None:
    async def script(world: World) -> None:
        await world.holds.hold(world.zero, "the disk is full", nothing_in_the_way)
        await world.ownership.stop(world.zero, "its position is gone")
        await world.until(lambda: not world.holds._tries)
        assert (world.zero.state, world.zero.reason) == (TaskState.STOPPED, "its position is gone")
        assert world.group.started == []

    in_world(script)


def test_a_client_that_is_not_ready_is_asked_again() -> None:
    async def script(world: World) -> None:
        world.group.ready = False
        await world.holds.hold(world.zero, "the disk is full", nothing_in_the_way)
        await world.until(lambda: world.zero.state is TaskState.RESTORING)
        await world.ownership.follow(Polled(), announce)
        assert world.group.started == []
        world.group.ready = True
        await world.until(lambda: world.zero.state is TaskState.RUNNING)

    in_world(script)


def test_an_operator_s_pause_wins_over_a_hold() -> None:
    async def script(world: World) -> None:
        gate = asyncio.Event()

        async def waits() -> str:
            await gate.wait()
            return ""

        await world.holds.hold(world.zero, "the disk is full", waits)
        world.zero.judgement = replace(world.zero.judgement, paused="by an operator: look at it")
        await world.ownership.heed([world.zero])
        gate.set()
        await world.until(lambda: not world.holds._tries)
        await world.ownership.follow(Polled(), announce)
        assert (world.zero.state, world.zero.reason) == (TaskState.PAUSED, "by an operator: look at it")
        assert world.group.started == []

    in_world(script)


def test_i8_a_retry_that_raises_stops_its_task_with_both_sentences() -> None:
    async def broken() -> str:
        raise ZeroDivisionError("1/0")

    async def script(world: World) -> None:
        await world.holds.hold(world.zero, "the disk is full", broken)
        await world.until(lambda: world.zero.state is TaskState.STOPPED)
        assert world.zero.reason == "the disk is full; looking for its end failed: ZeroDivisionError('1/0')"
        assert world.one.state is TaskState.RUNNING

    in_world(script)


def test_without_a_registry_an_epoch_is_not_even_looked_at() -> None:
    async def script(world: World) -> None:
        lookups = Lookups(None, TOPOLOGY, PREFIX, world.holds)
        epoch = Epoch.collect(1, runs_of([message("orders", 100, UNKNOWN)]), world.ownership.tasks, PREFIX)
        assert await lookups.keep_back(epoch) is epoch
        assert lookups.wire is FIXED
        await lookups.begin(lambda: None)

    in_world(script)


def test_a_worker_waits_for_a_registry_that_is_away_and_ends_for_one_that_refuses() -> None:
    async def script(world: World) -> None:
        world.client.away = RegistryAwayError("away")
        beginning = asyncio.ensure_future(world.lookups.begin(lambda: None))
        await world.pass_time(1)
        await world.until(lambda: len(world.slept_s) == 2)
        assert not beginning.done()
        world.client.away = None
        await world.pass_time(2)
        await beginning
        assert set(world.lookups.wire.prefixes) == {topic.name for stage in TOPOLOGY for topic in stage.writes}
        world.client.away = RegistryRefusedError("no right")
        with pytest.raises(RegistryRefusedError):
            await world.lookups.begin(lambda: None)

    in_world(script)


def test_a_task_of_another_stage_is_not_touched_by_an_id_of_this_one() -> None:
    async def script(world: World) -> None:
        revenue: Task = running_task(world.ownership.tasks, TOPOLOGY[1], 0, (3,))
        records = [message("orders", 100, UNKNOWN), message("revenue-deltas", 3, b"junk")]
        epoch = await world.lookups.keep_back(Epoch.collect(1, runs_of(records), world.ownership.tasks, PREFIX))
        assert epoch.tasks == [revenue]
        assert Wire({}).origin == "catalogue"

    in_world(script)
