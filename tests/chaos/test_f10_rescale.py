"""F10: workers come and go while events flow; every order is settled once."""

from __future__ import annotations

from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for


def test_f10_from_one_to_three_to_two_workers(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=6_000, seed=10, start_ms=1_795_000_000_000)
    third = len(whole.sent) // 3
    with Deployment(tmp_path, broker.bootstrap_servers, topics, epoch_records_max=300) as tally:
        first = tally.start("w1")
        wait_for("w1 has every task", lambda: len(first.tasks()) == 24)
        publisher = Publisher(broker.bootstrap_servers, topics)
        publisher.send(whole.sent[:third])
        tally.start("w2")
        tally.start("w3")
        wait_for("three workers share the tasks", lambda: all(len(worker.tasks()) == 8 for worker in tally.alive()))
        publisher.send(whole.sent[third : 2 * third], events_per_s=4_000)
        assert first.stop() == 0, first.text[-3000:]
        publisher.send(whole.sent[2 * third :])
        publisher.close()
        wait_for("two workers share the tasks", lambda: all(len(worker.tasks()) == 12 for worker in tally.alive()))
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f10_a_worker_without_tasks_idles_and_leaves_well(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        workers = [tally.start(f"w{number}") for number in range(1, 3)]
        wait_for("both share the tasks", lambda: all(len(worker.tasks()) == 12 for worker in workers))
        assert workers[1].stop() == 0
        wait_for("one has every task", lambda: len(workers[0].tasks()) == 24)
        assert workers[0].stop() == 0
