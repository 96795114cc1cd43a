"""F4: two workers of one id on two hosts; the older is fenced, says so, and the newer goes on alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for


@pytest.mark.parametrize(
    ("orders", "epoch_records_max"),
    [
        pytest.param(600, 20, id="small epochs"),
        pytest.param(15_000, 8_000, id="epochs that are still handed over when it is fenced"),
    ],
)
def test_f04_of_two_workers_with_one_id_the_older_ends_with_4_and_a_sentence(
    orders: int, epoch_records_max: int, broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=orders, seed=4, start_ms=1_795_000_000_000)
    first = len(whole.sent) // 10
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=epoch_records_max) as tally:
        older = tally.start("w1", home="one-host")
        wait_for("the older has every task", lambda: len(older.tasks()) == TASKS)
        publisher = Publisher(broker.cluster, topics)
        publisher.send(whole.sent[:first])
        wait_for("the older commits", lambda: older.epochs_count() >= 1)
        newer = tally.start("w1", home="another-host")
        wait_for("the newer has joined", newer.status)
        publisher.send(whole.sent[first:])
        publisher.close()
        older.gives_up(4, f"tally: the transactional id {topics}tally-w1 has a newer owner")
        verdict = tally.finish(truth_of(whole))
        assert newer.process.returncode == 0
    assert verdict.exact, verdict.headline()
