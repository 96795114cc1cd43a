"""F6, F7: the broker dies and comes back, or is not there at all; workers wait, nothing is lost, and SIGTERM still ends them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connectors.cluster import Cluster
from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from connectors.sources.sent import Sent
from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics
from streams.local_broker import LocalBroker, answers
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.workers import Deployment, Worker, free_port, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.own_broker("a broker that dies and comes back")]

START_MS = 1_795_000_000_000
PREFIX = "f6."
LAST = 200
"""Of the events: they come while the workers are frozen."""
REFUSED = "Connection refused"
"""What a client says while nobody listens at the broker's address."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of this test's own, with the topics."""
    # Kafka does not let a killed broker come back before its session with the controller has ended; its own 9 s only cost time.
    sessions = {"broker.session.timeout.ms": "6000", "broker.heartbeat.interval.ms": "500"}
    with LocalBroker(tmp_path / "mortal", heap_mb=384, extra_properties=sessions) as broker:
        apply_topics(admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=PREFIX)), TOPICS, PREFIX)
        yield broker


@pytest.mark.parametrize("transaction_timeout_ms", [60_000, 1_000], ids=["shorter", "longer"])
def test_f06_a_broker_that_is_away_shorter_or_longer_than_a_transaction_may_last_costs_time_and_no_worker(
    mortal: LocalBroker, tmp_path: Path, transaction_timeout_ms: int
) -> None:
    whole = plan(orders=4_000, seed=61, start_ms=START_MS)
    settings = {"epoch_records_max": 100, "transaction_timeout_ms": transaction_timeout_ms}
    with Deployment(tmp_path, mortal.cluster, PREFIX, **settings) as tally:
        workers = [tally.start("w1"), tally.start("w2")]
        wait_for("both have tasks", lambda: all(len(worker.tasks()) == TASKS // 2 for worker in workers))
        send(whole.sent[:-LAST], mortal)
        wait_for("both commit", lambda: all(worker.epochs_count() >= 5 for worker in workers))
        before = mortal.pid
        kill_under(workers, mortal, whole.sent[-LAST:])
        stood = {worker.worker_id: worker.epochs_count() for worker in workers}
        mortal.start()
        assert mortal.pid != before
        wait_for("both commit again", lambda: all(worker.epochs_count() > stood[worker.worker_id] for worker in workers))
        verdict = tally.finish(truth_of(whole))
        assert [worker.process.returncode for worker in tally.workers] == [0, 0], "somebody had to be started again"
    assert verdict.exact, verdict.headline()


def test_f06_f32_sigterm_ends_a_worker_at_work_whose_broker_is_gone_within_10_s(mortal: LocalBroker, tmp_path: Path) -> None:
    whole = plan(orders=2_000, seed=62, start_ms=START_MS)
    send(whole.sent[:-LAST], mortal)
    with Deployment(tmp_path, mortal.cluster, PREFIX, epoch_records_max=100) as tally:
        worker = tally.start("w1")
        wait_for("it commits", lambda: worker.epochs_count() >= 3)
        kill_under([worker], mortal, whole.sent[-LAST:])
        worker.signal(signal.SIGTERM)
        code = worker.process.wait(10)
        assert code in {0, 1}, worker.text[-3000:]
        worker.gives_up(code, "")
        mortal.start()
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f06_f32_sigterm_ends_an_idle_worker_whose_broker_is_gone_within_10_s(mortal: LocalBroker, tmp_path: Path) -> None:
    with Deployment(tmp_path, mortal.cluster, PREFIX) as tally:
        worker = tally.start("w1")
        wait_for("w1 has every task", lambda: len(worker.tasks()) == TASKS)
        mortal.kill()
        wait_for("it notices", lambda: REFUSED in worker.text)
        assert worker.stop(timeout_s=10) == 0, worker.text[-3000:]


def test_f07_a_worker_without_a_broker_waits_for_one_and_ends_on_sigterm_within_10_s(tmp_path: Path) -> None:
    with Deployment(tmp_path, Cluster(f"127.0.0.1:{free_port()}"), PREFIX) as tally:
        worker = tally.start("w1")
        wait_for("it waits", lambda: "waiting for the cluster" in worker.text)
        assert worker.stop(timeout_s=10) == 0, worker.text[-3000:]


def kill_under(workers: list[Worker], broker: LocalBroker, last: Sequence[Sent]) -> None:
    """Kill the broker while workers are frozen, thaw them, and wait until each has noticed.

    The ``last`` events come once they are frozen: on a busy machine a slow look can find all others done.
    """
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    send(last, broker)
    broker.kill()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    wait_for("every worker notices", lambda: all(REFUSED in worker.text for worker in workers))
    assert not answers(broker.cluster, timeout_s=0.5)


def send(records: Sequence[Sent], broker: LocalBroker) -> None:
    publisher = Publisher(broker.cluster, PREFIX)
    publisher.send(records)
    publisher.close()
