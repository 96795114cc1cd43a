"""Topologies for tests: the real one with one thing wrong, or one thing more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from agents.ports import AgentFunction, Batch, Keys, Row, Runtime, Slot, Stream, Table, TableSpec
from agents.settlement import agent as settlement
from agents.settlement import settling
from agents.settlement.decide import decide
from agents.settlement.rows import order_key, status_row
from schemas.events import Event, PaymentCaptured, PaymentFailed
from schemas.partitioning import partition_of
from schemas.topics import ORDER_STATUS, PARTITIONS
from streams.topology import TOPOLOGY, Topology


class FailingTable:
    """A table that calls ``after_write`` when rows were written to it."""

    def __init__(self, table: Table[Any], after_write: Callable[[Mapping[Slot, Any]], None]) -> None:
        self._table = table
        self._after_write = after_write
        self.get_many = table.get_many
        self.get_columns = table.get_columns
        self.keys_below = table.keys_below

    def put_many(self, rows: Mapping[Slot, Any]) -> None:
        self._table.put_many(rows)
        self._after_write(rows)

    def put_same(self, keys: Keys, row: Any) -> None:
        self._table.put_same(keys, row)
        self._after_write({(partition, key): row for partition, some in keys.items() for key in some})

    def put_columns(self, keys: Keys, frame: Any) -> None:
        self._table.put_columns(keys, frame)
        self._after_write({(partition, key): None for partition, some in keys.items() for key in some})


class FailingRuntime:
    """The runtime, with failing tables."""

    def __init__(self, runtime: Runtime, after_write: Callable[[Mapping[Slot, Any]], None]) -> None:
        self._runtime = runtime
        self._after_write = after_write
        self.limits = runtime.limits

    def table(self, spec: TableSpec[Any]) -> Any:
        return FailingTable(self._runtime.table(spec), self._after_write)

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        return self._runtime.agent(name)


class SteppedBatch:
    """A batch that emits the row of ``order-status`` after each event, not only after the last one of an epoch."""

    def __init__(self, batch: Batch) -> None:
        self.rows, self.ticks, self.partitions = batch.rows, batch.ticks, batch.partitions
        self.columns, self.rows_at, self.tally, self.emit_columns = None, batch.rows_at, batch.tally, batch.emit_columns
        self.epoch, self.again = batch.epoch, batch.again
        self.emit = batch.emit
        self.count = batch.count
        self.counter = batch.counter
        self._attempt = batch.attempt

    def attempt(self, row: Row, decide: Callable[..., Any], state: Any, *facts: Any) -> Any:
        decision = self._attempt(row, decide, state, *facts)
        if decision is not None and decision.state.placed is not None:
            key = order_key(row.event)
            self.emit(ORDER_STATUS, key, status_row(key, decision.state, decision.state.placed))
        return decision


class SteppedRuntime:
    """The runtime, with stepped batches."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.table = runtime.table
        self.limits = runtime.limits

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        def declare(function: AgentFunction) -> AgentFunction:
            async def stepped(stream: Stream) -> None:
                await function(SteppedBatch(batch) async for batch in stream)

            return self._runtime.agent(name)(stepped)

        return declare


def _with_settlement(declare: Callable[[Runtime], None], **changes: Any) -> Topology:
    return (replace(TOPOLOGY[0], declare=declare, **changes), *TOPOLOGY[1:])


def _declare_raising_once(runtime: Runtime) -> None:
    written = 0

    def after_write(rows: Mapping[Slot, Any]) -> None:
        nonlocal written
        before, written = written, written + len(rows)
        if before <= 1_000 < written:
            raise RuntimeError("raised once, after writing to a table")

    settlement.declare(FailingRuntime(runtime, after_write))


def _declare_raising_for_partition_3(runtime: Runtime) -> None:
    def after_write(rows: Mapping[Slot, Any]) -> None:
        if any(partition == 3 for partition, _ in rows):
            raise RuntimeError("cannot work on partition 3")

    settlement.declare(FailingRuntime(runtime, after_write))


def decide_raises_for(event: Event) -> bool:
    """Every event of some orders, and of some others one kind that nothing else depends on."""
    return event.order_id.endswith("7") or (isinstance(event, PaymentFailed) and event.order_id.endswith("3"))


def _declare_decide_raises(runtime: Runtime) -> None:
    def fragile(state: Any, event: Any, *facts: Any) -> Any:
        if decide_raises_for(event):
            raise ZeroDivisionError("decide was made to fail")
        return decide(state, event, *facts)

    settling.decide = fragile  # type: ignore[attr-defined, assignment]
    settlement.declare(runtime)


def _declare_wrong_for_partition_7(runtime: Runtime) -> None:
    def wrong(state: Any, event: Any, *facts: Any) -> Any:
        if partition_of(event.order_id, PARTITIONS) == 7:
            raise ZeroDivisionError("a wrong deployment")
        return decide(state, event, *facts)

    settling.decide = wrong  # type: ignore[attr-defined, assignment]
    settlement.declare(runtime)


def _declare_off_by_one(runtime: Runtime) -> None:
    def off_by_one(state: Any, event: Any, *facts: Any) -> Any:
        if isinstance(event, PaymentCaptured) and event.order_id.endswith("77"):
            event = msgspec.structs.replace(event, amount_minor=event.amount_minor + 1)
        return decide(state, event, *facts)

    settling.decide = off_by_one  # type: ignore[attr-defined, assignment]
    settlement.declare(runtime)


def _declare_with_timer(runtime: Any) -> None:
    settlement.declare(runtime)
    settings = runtime.app.engine.settings
    beats = runtime.app.topic(f"{settings.prefix}beats", value_serializer="raw")

    @runtime.app.timer(0.2)  # type: ignore[untyped-decorator]
    async def beat() -> None:
        await beats.send(value=f"{settings.worker_id} {time.time_ns() // 1_000_000}".encode())


# Where ``decide`` is another one, every event is told to it, none is booked in columns.
RAISING_ONCE = _with_settlement(_declare_raising_once)
RAISING_FOR_PARTITION_3 = _with_settlement(_declare_raising_for_partition_3)
DECIDE_RAISES = _with_settlement(_declare_decide_raises, columns_from=0)
WRONG_FOR_PARTITION_7 = _with_settlement(_declare_wrong_for_partition_7, columns_from=0)
OFF_BY_ONE = _with_settlement(_declare_off_by_one, columns_from=0)
REVENUE_ONLY = TOPOLOGY[1:]
WITH_TIMER = _with_settlement(_declare_with_timer)
EVERY_STEP = _with_settlement(lambda runtime: settlement.declare(SteppedRuntime(runtime)))
