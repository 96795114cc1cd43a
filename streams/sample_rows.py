"""Rows of every topic, made by the agents themselves of a small day that is always the same. ``docs/topics.md`` shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from agents.ports import Limits, Tick
from agents.testing import Emitted, Item, MemoryRuntime
from connectors.sources.generator import plan
from schemas import codec
from schemas.partitioning import partition_of
from schemas.topics import BY_NAME, CONTROL_TOTALS, DAY_MS, INPUTS, PARTITIONS, Topic
from streams.control_totals import control_totals
from streams.topology import TOPOLOGY, Stage

ORDERS = 1_000
SEED = 1
END_MS = 1_795_453_440_000
"""The latest event time of the day: 2026-11-23T17:04Z."""
EPOCH_RECORDS = 100
"""As many records at once, so that a window is told of several times."""
QUIET_MS = 2 * DAY_MS
"""After the last event, by the clock: all windows are over then, and nothing waits any longer."""


@cache
def sample_rows() -> Mapping[Topic, Sequence[Emitted]]:
    """Give everything that a day's events leave on each topic, in order; of dead letters and changelogs nothing."""
    sent = plan(ORDERS, SEED, END_MS, bad_ratio=0).sent
    rows: defaultdict[Topic, list[Emitted]] = defaultdict(list)
    for each in sent:
        key = each.key or b""
        rows[each.topic].append(Emitted(key, codec.decode(each.value), partition_of(key.decode(), PARTITIONS)))
    arriving: list[Item] = [(partition_of((each.key or b"").decode(), PARTITIONS), codec.decode(each.value)) for each in sent]
    for stage in TOPOLOGY:
        arrived = arriving if stage.reads == INPUTS else [(row.partition, row.value) for row in rows[stage.reads[0]]]
        for topic, written in _written(stage, arrived):
            rows[topic] += written
    return rows


def _written(stage: Stage, arrived: Sequence[Item]) -> Iterable[tuple[Topic, list[Emitted]]]:
    """Run a stage over what arrives, then over a time in which nothing does."""
    quiet = [
        Tick(partition, END_MS + QUIET_MS, frozenset(topic.name for topic in stage.reads)) for partition in range(PARTITIONS)
    ]
    epochs: list[Iterable[Item]] = [arrived[at : at + EPOCH_RECORDS] for at in range(0, len(arrived), EPOCH_RECORDS)]
    world = MemoryRuntime(Limits()).run(stage.declare, [*epochs, quiet])
    yield from ((BY_NAME[name], rows) for name, rows in world.rows.items())
    if CONTROL_TOTALS in stage.writes:
        names = {partition: f"{stage.name}/{partition}" for partition in sorted(world.counters)}
        totals = [
            Emitted(name.encode(), control_totals(name, world.epochs[partition], world.counters[partition]), partition)
            for partition, name in names.items()
        ]
        yield CONTROL_TOTALS, totals
