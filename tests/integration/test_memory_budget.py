"""A worker's memory stays within its budget and what it takes beside it, however large the backlog."""

from __future__ import annotations

from pathlib import Path

import psutil

from connectors.ground_truth import truth_of
from connectors.reader import end_offsets
from connectors.sources.generator import plan
from connectors.sources.large import with_large_orders
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000
BUDGET_MB = 64
BESIDE_MB = 150
"""Python, Faust and the client before the first record, and what allocators keep: measured 174 MB with a budget of 64."""


def test_i5_rss_stays_within_the_budget_and_150_mb_with_a_backlog_of_four_times_the_budget(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    small = plan(orders=3_000, seed=61, start_ms=START_MS, duplicate_ratio=0, bad_ratio=0)
    whole = with_large_orders(small, orders=500, order_bytes=480_000)
    assert sum(len(record.value or b"") for record in whole.sent) > 3.5 * BUDGET_MB * (1 << 20)
    publish(whole, broker.cluster, topics)
    there = sum(sum(end_offsets(broker.cluster, f"{topics}{name}").values()) for name in ("orders", "payments"))
    assert there == len(whole.sent), "what is missing below was lost before a worker began"
    with Deployment(tmp_path, broker.cluster, topics, memory_mb=BUDGET_MB) as deployment:
        worker = deployment.start("w1")
        process, highest = psutil.Process(worker.process.pid), 0

        def done() -> bool:
            nonlocal highest
            highest = max(highest, process.memory_info().rss)
            return deployment.lag() == 0 and len(worker.tasks()) == TASKS

        wait_for("the backlog is processed", done)
        assert highest <= (BUDGET_MB + BESIDE_MB) << 20, f"{highest / (1 << 20):.0f} MB"
        verdict = deployment.finish(truth_of(whole))
        assert verdict.exact, verdict.headline()
