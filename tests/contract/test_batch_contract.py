"""The runtime in memory says what the engine says: the same agent over the same events, once in each."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from agents.outcomes import Decision
from agents.ports import AgentFunction, Limits, Runtime, Stream, Table, TableSpec
from agents.settlement.agent import declare
from agents.settlement.column_batch import KINDS
from agents.testing import MemoryRuntime, MemoryWorld
from schemas.codec import encode
from schemas.events import Event, OrderCancelled, OrderPlaced
from schemas.topics import ORDER_STATUS
from streams.batch import EngineBatch, StageRecords
from streams.effects import Effects
from streams.store import Store, StoreResources
from streams.tables import EngineTable
from streams.tasks import Tasks
from streams.topology import TOPOLOGY
from tests.property.histories import ANY_HISTORIES
from tests.support.columns import NEEDS_EXTENSION
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task
from tests.unit.orders import placed


class EngineRuntime:
    """The engine's table and batch in one epoch, over a real RocksDB, without Kafka."""

    def __init__(self, folder: Path) -> None:
        self.task = running_task(Tasks(TOPOLOGY, PREFIX), SETTLEMENT, 0, (0, 0))
        self.task.store = Store(folder, [spec.name for spec in SETTLEMENT.keeps], StoreResources(1 << 20, 1 << 20))
        self.effects = Effects()
        self.tables: dict[str, EngineTable[Any]] = {}
        self.function: AgentFunction | None = None
        self.limits = Limits()

    def table(self, spec: TableSpec[Any]) -> Table[Any]:
        self.tables[spec.name] = EngineTable(spec, {0: self.task})
        return self.tables[spec.name]

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        def declared(function: AgentFunction) -> AgentFunction:
            self.function = function
            return function

        return declared

    def run(self, events: list[Event], columns_from: int = 0) -> None:
        declare(self)
        messages = [
            message("orders" if isinstance(event, OrderPlaced | OrderCancelled) else "payments", offset, event)
            for offset, event in enumerate(events)
        ]
        batch = EngineBatch(
            StageRecords(replace(SETTLEMENT, columns_from=columns_from), PREFIX, messages, {0: self.task}),
            self.effects,
            lambda: 0,
        )

        async def stream() -> AsyncIterator[EngineBatch]:
            yield batch

        assert self.function is not None
        with pytest.raises(StopIteration):
            self.function(stream()).send(None)

    def close(self) -> None:
        assert self.task.store is not None
        self.task.store.close()


def said_by_engine(engine: EngineRuntime) -> dict[str, Any]:
    outputs: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
    reasons = []
    for output in each_of(engine.effects.outputs):
        name = output.topic.removeprefix(PREFIX)
        if name.endswith(".dlq"):
            reasons.append((dict(output.headers or [])["__tally.errors.reason"] or b"").decode())
        else:
            outputs.setdefault(name, []).append((output.key, output.value))
    changes = [(partition, rows) for table in engine.tables.values() for partition, rows in table.changes.items()]
    rows = {(partition, key): value for partition, some in changes for key, value in some.items()}
    return {
        "outputs": outputs,
        "reasons": reasons,
        "counters": +engine.effects.counters.get(engine.task, Counter()),
        "slots": {slot for slot, value in rows.items() if value is not None},
    }


def said_in_memory(world: MemoryWorld) -> dict[str, Any]:
    outputs = {
        name: [(emitted.key, encode(emitted.value)) for emitted in emitted_rows]
        for name, emitted_rows in world.rows.items()
        if emitted_rows
    }
    slots = {slot for rows in world.tables.values() for slot in rows}
    return {
        "outputs": outputs,
        "reasons": [letter.reason for letter in world.dead_letters],
        "counters": +world.counters[0],
        "slots": slots,
    }


@settings(max_examples=40)
@given(ANY_HISTORIES)
def test_the_same_agent_over_the_same_events_says_the_same_in_memory_and_in_the_engine(history: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = EngineRuntime(Path(folder) / "store")
        engine.run(history)
        world = MemoryRuntime().run(declare, [[(0, event) for event in history]])
        assert said_in_memory(world) == said_by_engine(engine)
        engine.close()


@NEEDS_EXTENSION
@settings(max_examples=40, deadline=None)
@given(ANY_HISTORIES)
def test_it_says_the_same_in_columns_where_the_extension_is_built(history: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = EngineRuntime(Path(folder) / "store")
        engine.run(history, columns_from=1)
        world = MemoryRuntime(reads=KINDS).run(declare, [[(0, event) for event in history]])
        assert said_in_memory(world) == said_by_engine(engine)
        engine.close()


def test_the_partition_of_a_row_is_murmur2_of_its_key_unless_the_agent_says_otherwise() -> None:
    def twice(runtime: Runtime) -> None:
        @runtime.agent("twice")
        async def agent(stream: Stream) -> None:
            async for batch in stream:
                batch.emit(ORDER_STATUS, b"21", placed())
                batch.emit(ORDER_STATUS, b"21", placed(), 11)

    rows = MemoryRuntime().run(twice, [[(0, placed())]]).rows[ORDER_STATUS.name]
    assert [emitted.partition for emitted in rows] == [(-973932308 & 0x7FFFFFFF) % 12, 11]


def test_a_batch_that_is_redone_leaves_nothing_of_the_first_time() -> None:
    times: list[int] = []

    def counting(runtime: Runtime) -> None:
        @runtime.agent("counting")
        async def agent(stream: Stream) -> None:
            async for batch in stream:
                times.append(len(batch.rows))
                batch.count(0, "seen", 1)
                for row in batch.rows:
                    batch.attempt(row, lambda _, __: Decision(None), None)

    world = MemoryRuntime().run(counting, [[(0, placed())], [(0, placed()), (0, placed())]], redo={1})
    assert times == [1, 2, 2]
    assert world.counters == {0: Counter(consumed=3, applied=3, seen=2)}


def test_the_runtime_goes_on_from_run_to_run() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, placed())]])
    world = runtime.run(declare, [[(0, placed())]])
    assert world.totals["applied"] == world.totals["duplicates"] == 1


def test_what_an_agent_must_not_do_is_refused_with_a_sentence() -> None:
    class Never:
        def __await__(self) -> Any:
            yield self

    def waits(runtime: Runtime) -> None:
        @runtime.agent("waits")
        async def agent(stream: Stream) -> None:
            async for _ in stream:
                await Never()

    def leaves(runtime: Runtime) -> None:
        @runtime.agent("leaves")
        async def agent(stream: Stream) -> None:
            async for _ in stream:
                return

    with pytest.raises(RuntimeError, match="may await only its stream"):
        MemoryRuntime().run(waits, [[]])
    with pytest.raises(RuntimeError, match="ended after 0 of 2 batches"):
        MemoryRuntime().run(leaves, [[], []])
    with pytest.raises(ValueError, match="one agent at a time"):
        MemoryRuntime().run(lambda _: None, [[]])


def test_an_agent_that_raises_is_heard() -> None:
    def raises(runtime: Runtime) -> None:
        @runtime.agent("raises")
        async def agent(stream: Stream) -> None:
            async for batch in stream:
                batch.count(0, "lost", 1)
                raise ZeroDivisionError

    runtime = MemoryRuntime()
    with pytest.raises(ZeroDivisionError):
        runtime.run(raises, [[]])
    assert not runtime.world.counters
