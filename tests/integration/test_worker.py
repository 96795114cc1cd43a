"""Workers beside the happy road: Faust's own command line, the classic group protocol, SIGTERM under load."""

from __future__ import annotations

import time
from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_faust_runs_the_worker_too(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=800, seed=41, start_ms=START_MS)
    publish(whole, broker.bootstrap_servers, topics)
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        worker = tally.start("w1", arguments=["-m", "faust", "-A", "streams.faust_entry", "worker", "--loglevel", "info"])
        verdict = tally.finish(truth_of(whole))
        assert "ƒaµS†" in worker.text
    assert verdict.exact, verdict.headline()


def test_the_classic_protocol_survives_a_kill(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=3_000, seed=42, start_ms=START_MS)
    with Deployment(tmp_path, broker.bootstrap_servers, topics, group_protocol="classic", epoch_records_max=300) as tally:
        first, second = tally.start("w1"), tally.start("w2")
        wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == 12)
        publish(whole, broker.bootstrap_servers, topics)
        wait_for("w2 commits", lambda: second.status().get("epochs_count", 0) >= 5)
        second.kill()
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f32_sigterm_under_load_commits_leaves_and_exits_0_in_10_s(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=4_000, seed=43, start_ms=START_MS)
    with Deployment(tmp_path, broker.bootstrap_servers, topics, epoch_records_max=500) as tally:
        worker = tally.start("w1")
        wait_for("w1 has every task", lambda: len(worker.tasks()) == 24)
        publish(whole, broker.bootstrap_servers, topics)
        wait_for("some is committed", lambda: tally.committed("orders") > 0)
        assert tally.committed("orders") + tally.committed("payments") < len(whole.sent), "there was no load any more"
        worker.signal(15)
        worker.signal(15)
        assert worker.stop(timeout_s=10) == 0, worker.text[-3000:]
        began = time.monotonic()
        successor = tally.start("w2")
        wait_for("another worker has every task", lambda: len(successor.tasks()) == 24)
        assert time.monotonic() - began < 6, "the group waited for a session to end: the worker had not left"
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
