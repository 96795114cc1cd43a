"""A topology whose settlement does nothing but heed ticks; what it was told stands in its counters, and so in every marker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.outcomes import Decision
from agents.ports import Batch, Runtime, Stream
from schemas.topics import ORDERS, PAYMENTS
from streams.topology import TOPOLOGY

ASKS = 5
"""Epochs that each task asks for one after the other, beginning with its first tick."""


def _keep(_: Any, event: Any) -> Decision[Any]:
    return Decision(event)


def _heed(batch: Batch) -> None:
    said: dict[tuple[int, str], int] = {}
    for tick in batch.ticks:
        batch.count(tick.partition, "ticks", 1)
        said |= {(tick.partition, topic.name): int(topic.name in tick.idle) for topic in (ORDERS, PAYMENTS)}
    for row in batch.rows:
        batch.attempt(row, _keep, None)
        said[row.partition, (ORDERS if type(row.event) in ORDERS.values else PAYMENTS).name] = 0
    for (partition, name), idle in said.items():
        batch.count(partition, f"idle|{name}", idle - batch.counter(partition, f"idle|{name}"))


def _ask(batch: Batch) -> None:
    ticked = {tick.partition for tick in batch.ticks}
    for partition in batch.partitions:
        asked = batch.counter(partition, "asked")
        if asked < ASKS and (asked or partition in ticked):
            batch.count(partition, "asked", 1)
            batch.again(partition)


def _declare(runtime: Runtime) -> None:
    @runtime.agent("settlement")
    async def ticking(stream: Stream) -> None:
        async for batch in stream:
            _heed(batch)
            _ask(batch)


TICKING = (replace(TOPOLOGY[0], declare=_declare), *TOPOLOGY[1:])
