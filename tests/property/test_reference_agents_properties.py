"""What the agents write for a plan is what the judge calls exact: any interleaving, any cut into epochs, redone or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.customers import agent as customers
from agents.ports import Limits, Tick
from agents.revenue import agent as revenue
from agents.settlement import agent as settlement
from agents.testing import Emitted, Item, MemoryRuntime, MemoryWorld
from connectors.ground_truth import Truth, truth_of
from connectors.judge import Terms, Verdict, verdict_on
from connectors.reader import ReadRecord
from connectors.sources.generator import Plan, plan
from connectors.world import JUDGED, SHUFFLES, World
from schemas import codec
from schemas.events import InputPosition, TaskMarker
from schemas.partitioning import partition_of
from schemas.topics import (
    ALERTS,
    CUSTOMER_DELTAS,
    CUSTOMERS_CHANGELOG,
    ORDERS,
    PARTITIONS,
    PAYMENTS,
    REVENUE_BY_MERCHANT_1D,
    REVENUE_CHANGELOG,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    UNPAID_ORDERS,
    Topic,
)

START_MS = 1_795_000_000_000
MINUTE, DAY = 60_000, 86_400_000
TERMS = Terms(grace_ms=5 * MINUTE, unpaid_after_ms=20_000, alert_orders_max=2, alert_gross_minor_max=60_000)
LIMITS = Limits(
    grace_ms=TERMS.grace_ms, unpaid_after_ms=TERMS.unpaid_after_ms, alert_orders_max=TERMS.alert_orders_max,
    alert_gross_minor_max=TERMS.alert_gross_minor_max,
)  # fmt: skip
FULL_MINUTE_MS = START_MS // MINUTE * MINUTE
"""When the clock says one, a tick's watermark is the very time at which a window is final."""


def cut(items: list[Item], sizes: list[int]) -> Iterable[list[Item]]:
    """Give batches of the sizes, again and again, until nothing is left."""
    begin, turn = 0, 0
    while begin < len(items):
        yield items[begin : begin + sizes[turn % len(sizes)]]
        begin, turn = begin + sizes[turn % len(sizes)], turn + 1


def items_of(made: Plan, first: Topic | None) -> list[Item]:
    sent = sorted(made.sent, key=lambda each: each.topic is not first) if first else made.sent
    return [(partition_of((each.key or b"").decode(), PARTITIONS), codec.decode(each.value)) for each in sent]


def shuffled(world: MemoryWorld, topic: Topic) -> list[Item]:
    return [(emitted.partition, emitted.value) for emitted in world.rows[topic.name]]


def tally(made: Plan, first: Topic | None, sizes: list[int], now_ms: int | None, *, redone: bool) -> World:
    """Run all stages over a plan, then let the clock say ``now_ms`` while nothing comes, and give what is on the cluster."""
    batches = [*cut(items_of(made, first), sizes)]
    if now_ms is not None:
        batches.append([Tick(partition, now_ms, frozenset({"orders", "payments"})) for partition in range(PARTITIONS)])
    redo = range(0, len(batches), 2) if redone else ()
    settled = MemoryRuntime(LIMITS).run(settlement.declare, batches, redo=redo)
    worlds: dict[Topic, tuple[MemoryWorld, tuple[Topic, ...]]] = {SETTLEMENT_CHANGELOG: (settled, (ORDERS, PAYMENTS))}
    for declare, shuffle, changelog in (
        (revenue.declare, REVENUE_DELTAS, REVENUE_CHANGELOG), (customers.declare, CUSTOMER_DELTAS, CUSTOMERS_CHANGELOG),
    ):  # fmt: skip
        stage = [*cut(shuffled(settled, shuffle), sizes)]
        world = MemoryRuntime(LIMITS).run(declare, stage, redo=range(0, len(stage), 3) if redone else ())
        worlds[changelog] = (world, (shuffle,))
    return on_the_cluster(made, worlds)


def on_the_cluster(made: Plan, worlds: dict[Topic, tuple[MemoryWorld, tuple[Topic, ...]]]) -> World:
    """What a reader finds, when everything is consumed to its end."""
    records: dict[str, list[ReadRecord]] = {topic.name: [] for topic in (*JUDGED, *SHUFFLES)}
    ends: Counter[tuple[str, int]] = Counter((each.topic.name, partition_of_key(each.key)) for each in made.sent)
    for world, _ in worlds.values():
        for name, rows in world.rows.items():
            for emitted in rows:
                records[name].append(_record(name, ends[name, emitted.partition], emitted))
                ends[name, emitted.partition] += 1
    markers = {}
    for changelog, (world, inputs) in worlds.items():
        for partition, counters in world.counters.items():
            at = tuple(InputPosition(topic.name, partition, 0, ends[topic.name, partition]) for topic in inputs)
            markers[changelog.name, partition] = TaskMarker(1, 1, "w", at, dict(counters))
    return World("", records, dict(ends), dict(ends), markers, markers)


def partition_of_key(key: bytes | None) -> int:
    return partition_of((key or b"").decode(), PARTITIONS)


def _record(topic: str, offset: int, emitted: Emitted) -> ReadRecord:
    return ReadRecord(topic, emitted.partition, offset, 0, emitted.key, codec.encode(emitted.value))


def judged(
    first: Topic | None, sizes: list[int], minutes: int | None, *, seed: int = 3, orders: int = 120, redone: bool = False
) -> tuple[Verdict, World, Truth]:
    """Judge a plan; the clock says ``minutes`` after its last full minute when all is quiet, or nothing."""
    now_ms = None if minutes is None else FULL_MINUTE_MS + minutes * MINUTE
    made = plan(orders, seed, START_MS, bad_ratio=0, waiting_ratio=0.05, late_ratio=0.05)
    world, truth = tally(made, first, sizes, now_ms, redone=redone), truth_of(made)
    return verdict_on(world, truth, TERMS), world, truth


@pytest.mark.parametrize("first", [None, ORDERS, PAYMENTS])
@pytest.mark.parametrize("minutes", [None, 1, 12, 50, DAY // MINUTE + 1, 2 * DAY // MINUTE])
def test_what_the_agents_write_is_exact_at_any_time_and_interleaving(first: Topic | None, minutes: int | None) -> None:
    verdict, _, truth = judged(first, [100], minutes, orders=300)
    assert verdict.headline().startswith("EXACT"), verdict.headline()
    assert verdict.finals_count == 0
    assert verdict.topics[REVENUE_BY_MERCHANT_1D.name].expected_count > 0
    assert verdict.topics[ALERTS.name].expected_count > 0
    assert len(truth.late_ids) > 30
    assert verdict.topics[UNPAID_ORDERS.name].expected_count > 10


@settings(max_examples=15, deadline=None)
@given(
    first=st.sampled_from([None, ORDERS, PAYMENTS]),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
    redone=st.booleans(),
    minutes=st.one_of(st.none(), st.integers(0, 3_000)),
)
def test_what_the_agents_write_is_exact_however_it_is_cut(
    first: Topic | None, sizes: list[int], seed: int, redone: bool, minutes: int | None
) -> None:
    verdict, _, _ = judged(first, [size * 3 for size in sizes], minutes, seed=seed, orders=40, redone=redone)
    assert verdict.headline().startswith("EXACT"), verdict.headline()


def test_another_grace_than_the_workers_is_found_out() -> None:
    _, world, truth = judged(None, [100], None)
    for grace_ms in (2 * MINUTE, 9 * MINUTE):
        assert not verdict_on(world, truth, replace(TERMS, grace_ms=grace_ms)).exact
