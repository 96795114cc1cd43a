"""F6, F7: the broker dies and comes back, or is not there at all; workers wait, nothing is lost, and SIGTERM still ends them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.workers import Deployment, wait_for

pytestmark = pytest.mark.kafka

START_MS = 1_795_000_000_000
PREFIX = "f6."
LONGER_THAN_A_TRANSACTION_S = 13.0
"""Its time-out is 10 s: when the broker is back it has ended what was open."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of this test's own, with the topics."""
    with LocalBroker(tmp_path / "mortal") as broker:
        apply_topics(admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=PREFIX)), TOPICS, PREFIX)
        yield broker


@pytest.mark.parametrize("down_s", [0.0, LONGER_THAN_A_TRANSACTION_S], ids=["at once", "after its transactions timed out"])
def test_f06_a_broker_that_is_killed_and_comes_back_costs_time_and_no_worker(
    mortal: LocalBroker, tmp_path: Path, down_s: float
) -> None:
    whole = plan(orders=4_000, seed=61, start_ms=START_MS)
    with Deployment(tmp_path, mortal.bootstrap_servers, PREFIX, epoch_records_max=100) as tally:
        workers = [tally.start("w1"), tally.start("w2")]
        wait_for("both have tasks", lambda: all(len(worker.tasks()) == 12 for worker in workers))
        publish(whole, mortal.bootstrap_servers, PREFIX)
        wait_for("both commit", lambda: all(worker.epochs_count() >= 5 for worker in workers))
        assert tally.lag() > 0, "there was nothing left to do"
        mortal.kill()
        died_s, before = time.monotonic(), {worker: worker.epochs_count() for worker in workers}
        wait_for("the outage lasts as long as it is to", lambda: time.monotonic() - died_s >= down_s)
        assert not any(worker.status().get("epochs_count", 0) > worker_epochs for worker, worker_epochs in before.items())
        mortal.start()
        verdict = tally.finish(truth_of(whole))
        assert [worker.process.returncode for worker in workers] == [0, 0]
    assert verdict.exact, verdict.headline()


def test_f32_sigterm_ends_a_worker_whose_broker_is_gone_within_10_s(mortal: LocalBroker, tmp_path: Path) -> None:
    whole = plan(orders=2_000, seed=62, start_ms=START_MS)
    publish(whole, mortal.bootstrap_servers, PREFIX)
    with Deployment(tmp_path, mortal.bootstrap_servers, PREFIX, epoch_records_max=100) as tally:
        worker = tally.start("w1")
        wait_for("it commits", lambda: worker.epochs_count() >= 3)
        mortal.kill()
        wait_for("it waits", lambda: "waits for the cluster" in worker.text or "waiting for the cluster" in worker.text)
        worker.process.terminate()
        code = worker.process.wait(10)
        assert code in {0, 1}, worker.text[-3000:]
        worker.gives_up(code, "")
        mortal.start()
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
