"""Ticks, epochs and the asking for another epoch are the same in memory and in the engine, for the same agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NamedTuple, cast

import pytest

from agents.ports import AgentFunction, Limits, Runtime, Stream, Table, TableSpec, Tick
from agents.testing import Item, MemoryRuntime
from schemas.codec import decode
from schemas.events import TaskMarker
from streams.app import _batches
from streams.barrier import Barrier
from streams.batch import EngineBatch
from streams.effects import Effects
from streams.epoch import Epoch, Prepared
from streams.messages import runs_of
from streams.tasks import Task, Tasks
from streams.topology import TOPOLOGY
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task
from tests.unit.orders import placed

PARTITIONS = 4
IDLE = frozenset({"payments"})
NOW_MS = 1_795_000_000_000

Script = Sequence[Sequence[Item]]
Declare = Callable[[Runtime], None]


class Seen(NamedTuple):
    """What an agent found in a batch."""

    partitions: list[int]
    ticks: list[Tick]
    rows: list[int]
    epochs: dict[int, int]


def noting(seen: list[Seen], wanted: dict[int, int]) -> Declare:
    """Give an agent that notes its batches, and asks ``wanted`` times for another epoch of a task."""

    def declare(runtime: Runtime) -> None:
        @runtime.agent("settlement")
        async def agent(stream: Stream) -> None:
            async for batch in stream:
                epochs = {partition: batch.epoch(partition) for partition in batch.partitions}
                seen.append(Seen(list(batch.partitions), list(batch.ticks), [row.partition for row in batch.rows], epochs))
                for tick in batch.ticks:
                    batch.count(tick.partition, "ticks", 1)
                for partition in batch.partitions:
                    if batch.counter(partition, "asked") < wanted.get(partition, 0):
                        batch.count(partition, "asked", 1)
                        batch.again(partition)

    return declare


def in_memory(declare: Declare, script: Script, redo: Collection[int] = ()) -> dict[int, dict[str, int]]:
    """Run the agent in memory; give the counters of each task that has any."""
    world = MemoryRuntime().run(declare, script, redo=redo)
    return {partition: dict(+counter) for partition, counter in world.counters.items()}


class InEngine:
    """The engine's epochs, batches and barrier, with every task of the settlement stage and without Kafka and stores."""

    limits = Limits()

    def __init__(self) -> None:
        self.tasks = Tasks(TOPOLOGY, PREFIX)
        self.owned = [running_task(self.tasks, SETTLEMENT, partition, (0, 0)) for partition in range(PARTITIONS)]
        self.barrier = Barrier(lambda: NOW_MS)
        self.batches: asyncio.Queue[EngineBatch] = asyncio.Queue()
        self.barrier.deliver_batch = self.batches.put
        self.function: AgentFunction | None = None

    def table(self, spec: TableSpec[Any]) -> Table[Any]:
        raise NotImplementedError(spec)

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        def declared(function: AgentFunction) -> AgentFunction:
            self.function = function
            return function

        return declared

    async def run(self, script: Script, redo: Collection[int]) -> None:
        async def stream() -> AsyncIterator[EngineBatch]:
            while True:
                yield await self.batches.get()

        assert self.function is not None
        agent = asyncio.ensure_future(self.function(_batches(stream())))
        for number, items in enumerate(script):
            again = await self.commit(self.epoch(items), redone=number in redo)
            while again:
                epoch = self.epoch([]).joined({}, again, PREFIX)
                again = await self.commit(epoch, redone=number in redo)
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)

    def epoch(self, items: Sequence[Item]) -> Epoch:
        next_offsets = [task.next_offsets[f"{PREFIX}orders", task.partition] for task in self.owned]
        messages = []
        for item in items:
            if not isinstance(item, Tick):
                messages.append(message("orders", next_offsets[item[0]], item[1], partition=item[0]))
                next_offsets[item[0]] += 1
        ticks = {self.owned[item.partition]: item for item in items if isinstance(item, Tick)}
        return Epoch.collect(1, runs_of(messages), self.tasks, PREFIX).joined(ticks, [], PREFIX)

    async def commit(self, epoch: Epoch, *, redone: bool) -> set[Task]:
        for _ in range(1 + redone):
            effects = Effects()
            await self.barrier.decide(epoch, effects)
            self.barrier.lift()
            epoch = epoch.only(self.tasks.running())
        before = {task: dict(task.next_offsets) for task in self.owned}
        prepared = Prepared(epoch, effects, {"settlement": []}, "w1", [], [])
        for task in epoch.tasks:
            prepared.settle(task)
            assert cast("TaskMarker", decode(prepared.markers[task])).epoch == task.epoch
            moved = sum(task.next_offsets.values()) - sum(before[task].values())
            assert moved == sum(row.partition() == task.partition for row in epoch.stages["settlement"].messages)
        return effects.again


def in_engine(declare: Declare, script: Script, redo: Collection[int] = ()) -> dict[int, dict[str, int]]:
    """Run the agent over the engine's batches; give the counters of each task that has any."""
    engine = InEngine()

    async def run() -> None:
        declare(engine)
        await engine.run(script, redo)

    asyncio.run(run())
    return {task.partition: task.counters for task in engine.owned if task.counters}


Run = Callable[..., dict[int, dict[str, int]]]
both = pytest.mark.parametrize("run", [in_memory, in_engine])


def tick(partition: int) -> Tick:
    return Tick(partition, NOW_MS, IDLE)


@both
def test_a_batch_has_its_rows_its_ticks_and_every_task_of_either(run: Run) -> None:
    seen: list[Seen] = []
    counters = run(noting(seen, {}), [[(2, placed()), tick(3), (2, placed("b")), tick(0)], [tick(2)], [(0, placed())]])
    assert seen == [
        Seen([0, 2, 3], [tick(0), tick(3)], [2, 2], {0: 1, 2: 1, 3: 1}),
        Seen([2], [tick(2)], [], {2: 2}),
        Seen([0], [], [0], {0: 2}),
    ]
    assert counters == {0: {"ticks": 1, "consumed": 1}, 2: {"consumed": 2, "ticks": 1}, 3: {"ticks": 1}}


@both
def test_a_task_that_asks_again_gets_one_more_epoch_each_time_and_the_others_none(run: Run) -> None:
    seen: list[Seen] = []
    run(noting(seen, {1: 3, 2: 1}), [[(1, placed()), (2, placed()), tick(3)], [tick(1)]])
    assert [(batch.partitions, batch.ticks, batch.rows) for batch in seen[1:4]] == [
        ([1, 2], [], []),
        ([1], [], []),
        ([1], [], []),
    ]
    assert [batch.epochs.get(1) for batch in seen] == [1, 2, 3, 4, 5]
    assert seen[-1] == Seen([1], [tick(1)], [], {1: 5})


@both
def test_an_epoch_that_is_redone_has_the_same_number_and_what_it_asked_for_first_is_forgotten(run: Run) -> None:
    seen: list[Seen] = []
    counters = run(noting(seen, {1: 1}), [[tick(0)], [(1, placed()), tick(1)], [tick(1)]], redo={1})
    assert [batch.epochs for batch in seen] == [{0: 1}, {1: 1}, {1: 1}, {1: 2}, {1: 2}, {1: 3}]
    assert seen[1] == seen[2]
    assert counters == {0: {"ticks": 1}, 1: {"consumed": 1, "ticks": 2, "asked": 1}}


@both
def test_a_task_that_is_not_of_the_batch_has_no_epoch_in_it_and_cannot_ask_for_one(run: Run) -> None:
    refused: list[str] = []

    def curious(runtime: Runtime) -> None:
        @runtime.agent("settlement")
        async def agent(stream: Stream) -> None:
            async for batch in stream:
                for ask in (batch.epoch, batch.again):
                    with pytest.raises(KeyError):
                        ask(3)
                    refused.append(ask.__name__)

    run(curious, [[tick(1)]])
    assert refused == ["epoch", "again"]


def test_in_memory_an_agent_that_always_asks_for_one_more_epoch_is_found_out() -> None:
    with pytest.raises(RuntimeError, match="batch 1 drew 10,000 epochs after it: its agent always asks for one more"):
        in_memory(noting([], {0: 1 << 30}), [[], [tick(0)]])


def test_a_batch_that_has_only_what_cannot_be_read_is_no_agents_business_and_with_a_tick_it_is() -> None:
    engine, seen = InEngine(), list[Seen]()
    noting(seen, {})(engine)
    script: Script = [[(1, b"junk")], [(1, b"junk"), tick(1)]]
    asyncio.run(engine.run(script, ()))
    assert seen == [Seen([1], [tick(1)], [], {1: 2})]
    assert (engine.owned[1].epoch, engine.owned[1].counters["dead"]) == (2, 2)
