"""Agents and runtimes that do one thing wrong, which an audit has to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from agents.ports import AgentFunction, Batch, Row, Runtime, Stream
from agents.settlement import agent as settlement
from schemas.events import Record
from schemas.topics import Topic
from streams.topology import TOPOLOGY

Count = Callable[[int, str, int], int]
"""Partition, counter and amount as the agent enters it; what is entered instead."""


def honest(partition: int, name: str, amount: int) -> int:
    return amount


def everything(_: Topic) -> bool:
    return True


def as_they_are(rows: Sequence[Row]) -> Sequence[Row]:
    return rows


class WrongBatch:
    """A batch that enters, writes and hands over what it is told to."""

    def __init__(
        self,
        batch: Batch,
        enter: Count = honest,
        writes: Callable[[Topic], bool] = everything,
        rows: Callable[[Sequence[Row]], Sequence[Row]] = as_they_are,
    ) -> None:
        self._batch, self._enter, self._writes = batch, enter, writes
        self.rows, self.ticks, self.partitions = rows(batch.rows), batch.ticks, batch.partitions
        self.columns, self.rows_at, self.tally, self.emit_columns = None, batch.rows_at, batch.tally, batch.emit_columns
        self.epoch, self.again, self.attempt, self.counter = batch.epoch, batch.again, batch.attempt, batch.counter

    def count(self, partition: int, name: str, amount: int) -> None:
        self._batch.count(partition, name, self._enter(partition, name, amount))

    def emit(self, topic: Topic, key: bytes, value: Record, partition: int | None = None) -> None:
        if self._writes(topic):
            self._batch.emit(topic, key, value, partition)


class WrongRuntime:
    """A runtime with wrong batches."""

    def __init__(self, runtime: Runtime, **wrong: Any) -> None:
        self._runtime = runtime
        self._wrong = wrong
        self.table = runtime.table
        self.limits = runtime.limits

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        def declare(function: AgentFunction) -> AgentFunction:
            async def wrong(stream: Stream) -> None:
                await function(WrongBatch(batch, **self._wrong) async for batch in stream)

            return self._runtime.agent(name)(wrong)

        return declare


def _declare_losing_an_entry(runtime: Runtime) -> None:
    lost: Counter[int] = Counter()

    def enter(partition: int, name: str, amount: int) -> int:
        if partition == 7 and name == "booked|EUR|gross_minor" and not lost[partition]:
            lost[partition] += 1
            return amount - 1
        return amount

    settlement.declare(WrongRuntime(runtime, enter=enter))


BOOKS_LOSE_AN_ENTRY = (replace(TOPOLOGY[0], declare=_declare_losing_an_entry), *TOPOLOGY[1:])
"""One minor unit, once, in the books of settlement/7."""
