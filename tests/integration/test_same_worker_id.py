"""F4: two workers of one id on two hosts; the older is fenced, says so, and the newer goes on alone."""

from __future__ import annotations

from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for


def test_f04_of_two_workers_with_one_id_the_older_ends_with_4_and_a_sentence(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=600, seed=4, start_ms=1_795_000_000_000)
    half = len(whole.sent) // 2
    with Deployment(tmp_path, broker.bootstrap_servers, topics, epoch_records_max=20) as tally:
        older = tally.start("w1", home="one-host")
        wait_for("the older has every task", lambda: len(older.tasks()) == 24)
        publisher = Publisher(broker.bootstrap_servers, topics)
        publisher.send(whole.sent[:half])
        wait_for("the older commits", lambda: older.status().get("epochs_count", 0) >= 3)
        newer = tally.start("w1", home="another-host")
        wait_for("the newer has joined", newer.status)
        publisher.send(whole.sent[half:])
        publisher.close()
        assert older.process.wait(60) == 4, older.text[-3000:]
        assert f"tally: the transactional id {topics}tally-w1 has a newer owner" in older.text
        verdict = tally.finish(truth_of(whole))
        assert newer.process.returncode == 0
    assert verdict.exact, verdict.headline()
