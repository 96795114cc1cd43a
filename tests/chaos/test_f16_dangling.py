"""F16: somebody's open transaction on a changelog holds a restore back; it ends with that transaction, and exactly."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from confluent_kafka import Producer

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for


def test_f16_a_dangling_transaction_during_restore(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=1_500, seed=16, start_ms=1_795_000_000_000)
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        publish(whole, broker.bootstrap_servers, topics)
        worker = tally.start("w1")
        wait_for("all is committed", lambda: tally.committed("orders") + tally.committed("payments") == len(whole.sent))
        assert worker.stop() == 0
        shutil.rmtree(tmp_path / "home" / "state")
        dangling = Producer(
            {
                "bootstrap.servers": broker.bootstrap_servers,
                "transactional.id": f"{topics}dangling",
                "transaction.timeout.ms": 5_000,
            }
        )
        dangling.init_transactions(10)
        dangling.begin_transaction()
        dangling.produce(f"{topics}settlement-changelog", b"\x01never", b"order_state/never-committed", 5)
        dangling.flush(10)
        began = time.monotonic()
        again = tally.start("w1")
        wait_for("every task is restored", lambda: len(again.tasks()) == 24)
        held_s = time.monotonic() - began
        verdict = tally.finish(truth_of(whole))
        assert "restored 24 tasks" in again.text
    assert held_s > 3, "the transaction did not hold the restore back"
    assert verdict.exact, verdict.headline()
