"""Workers beside the happy road: Faust's own command line, the classic group protocol, SIGTERM under load, an unnoticed end."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.cluster import Cluster
from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.killing import kill_at_work
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_faust_runs_the_worker_too(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=800, seed=41, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1", arguments=["-m", "faust", "-A", "streams.faust_entry", "worker", "--loglevel", "info"])
        verdict = tally.finish(truth_of(whole))
        assert "ƒaµS†" in worker.text
    assert verdict.exact, verdict.headline()


def test_the_classic_protocol_survives_a_kill(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=3_000, seed=42, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, group_protocol="classic", epoch_records_max=300) as tally:
        first, second = tally.start("w1"), tally.start("w2")
        wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)
        with tally.sending(whole.sent, events_per_s=500):
            killed = kill_at_work(tally, [second])
        assert len(killed.tasks) == 6
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f32_sigterm_under_load_commits_leaves_the_group_closes_the_stores_and_exits_0_in_10_s(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=4_000, seed=43, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=500) as tally:
        worker = tally.start("w1")
        wait_for("w1 has every task", lambda: len(worker.tasks()) == TASKS)
        publish(whole, broker.cluster, topics)
        wait_for("some is committed", lambda: tally.committed("orders") > 0)
        worker.signal(15)
        worker.signal(15)
        assert worker.stop(timeout_s=10) == 0, worker.text[-3000:]
        assert tally.members() == [], "it had not left the group"
        assert tally.lag() > 0, "there was no load any more"
        again = tally.start("w1")
        wait_for("w1 has every task again", lambda: len(again.tasks()) == TASKS)
        # What a store had not written to disk would be read from its changelog again.
        assert [name for name, records in again.restored().items() if records] == [], "a store was not closed"
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_a_worker_that_ends_by_itself_fails_the_run_that_it_was_started_in(tmp_path: Path) -> None:
    tally = Deployment(tmp_path, Cluster("127.0.0.1:1"), "t.")
    worker = tally.start("w1", arguments=["-c", "raise SystemExit(3)"])
    wait_for("it ends", lambda: not worker.alive)
    with pytest.raises(AssertionError, match=r"w1 \(pid \d+\) ended by itself with 3"):
        tally.__exit__(None, None, None)
