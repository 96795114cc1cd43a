"""A worker ends when it cannot go on, and when it is told to; and an idle one keeps its positions from falling behind."""

from __future__ import annotations

from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.reader import end_offsets, read_group_offsets
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.chains import assert_unbroken
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_a_timer_that_raises_ends_the_worker_instead_of_leaving_it_half_alive(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=300, seed=71, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.troubled:RAISING_TIMER"})
        worker.gives_up(1, "ZeroDivisionError: a timer of somebody's")
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f32_sigterm_ends_a_worker_whose_agent_never_comes_back_and_its_epoch_is_redone(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=300, seed=72, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.troubled:ABSENT_AGENT"})
        wait_for("it has every task", lambda: len(worker.tasks()) == TASKS)
        publish(whole, broker.cluster, topics)
        wait_for("its agent is away", lambda: "the agent is away with a batch" in worker.text)
        assert worker.epochs_count() == 0, "its page is answered meanwhile"
        assert worker.stop(timeout_s=10) == 0, worker.text[-3000:]
        assert "is given up" in worker.text
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_i3_an_idle_workers_positions_pass_the_markers_of_transactions_so_that_retention_cannot_part_them(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=300, seed=73, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    deltas = f"{topics}revenue-deltas"
    with Deployment(tmp_path, broker.cluster, topics, idle_commit_ms=500) as tally:
        tally.start("w1")
        tally.wait_consumed("orders", "payments")
        tally.wait_consumed("revenue-deltas")

        def behind() -> dict[int, int]:
            committed = read_group_offsets(broker.cluster, tally.group_id)
            ends = end_offsets(broker.cluster, deltas)
            return {partition: end - committed.get((deltas, partition), 0) for partition, end in ends.items()}

        wait_for("every position is behind the last marker", lambda: not any(behind().values()))
        verdict = tally.finish(truth_of(whole))
        assert_unbroken(broker.cluster, topics)
    assert verdict.exact, verdict.headline()
