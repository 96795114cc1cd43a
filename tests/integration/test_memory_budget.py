"""A worker's memory stays within its budget and what it takes beside it, however large the backlog."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from connectors.sources.sent import Plan, Sent
from schemas import codec
from schemas.events import OrderLine, OrderPlaced
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000
BUDGET_MB = 64
BESIDE_MB = 150
LINE_BYTES = 40_000
LARGE_ORDERS = 500
"""Of half a megabyte each: four times the budget, in a backlog that is read as fast as it can be."""


def with_large_orders(whole: Plan) -> Plan:
    """Make some orders large: many lines of a long sku, with the sum that they had."""
    sent: list[Sent] = []
    left = LARGE_ORDERS
    for record in whole.sent:
        event = codec.decode(record.value) if left and record.value and record.value[4] == 1 and not is_bad(record) else None
        if isinstance(event, OrderPlaced):
            gifts = tuple(OrderLine(f"{number:0{LINE_BYTES}d}", 1, 0) for number in range(12))
            changed = msgspec.structs.replace(event, lines=(*event.lines, *gifts))
            sent.append(Sent(record.topic, record.key, codec.encode(changed), record.expected))
            left -= 1
        else:
            sent.append(record)
    return Plan(whole.seed, whole.start_ms, sent)


def is_bad(record: Sent) -> bool:
    return type(record.expected).__name__ != "Applied"


def test_i5_rss_stays_within_the_budget_and_150_mb_with_a_backlog_of_four_times_the_budget(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = with_large_orders(plan(orders=3_000, seed=61, start_ms=START_MS, duplicate_ratio=0, bad_ratio=0))
    assert sum(len(record.value or b"") for record in whole.sent) > 3.5 * BUDGET_MB * (1 << 20)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics, memory_mb=BUDGET_MB) as deployment:
        worker = deployment.start("w1")
        process, highest = psutil.Process(worker.process.pid), 0

        def done() -> bool:
            nonlocal highest
            highest = max(highest, process.memory_info().rss)
            return deployment.lag() == 0 and len(worker.tasks()) == 24

        wait_for("the backlog is processed", done)
        assert highest <= (BUDGET_MB + BESIDE_MB) << 20, f"{highest / (1 << 20):.0f} MB"
        verdict = deployment.finish(truth_of(whole))
        assert verdict.exact, verdict.headline()
