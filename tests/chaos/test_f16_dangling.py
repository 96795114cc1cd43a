"""F16: somebody's open transaction on a changelog holds one restore back; it ends with that transaction, and exactly."""

from __future__ import annotations

import shutil
from pathlib import Path

from confluent_kafka import Producer

from connectors.ground_truth import truth_of
from connectors.reader import read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.local_broker import LocalBroker
from streams.store import Store, StoreResources
from streams.topology import TOPOLOGY
from tests.support.chains import changelog_counts
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

NEVER = b"never-committed"


def test_f16_a_dangling_transaction_holds_its_own_task_in_restoring_and_leaves_nothing(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=1_500, seed=16, start_ms=1_795_000_000_000)
    cut = len(whole.sent) * 2 // 3
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        publisher = Publisher(broker.cluster, topics)
        publisher.send(whole.sent[:cut])
        worker = tally.start("w1")
        wait_for("two thirds are committed", lambda: tally.committed("orders") + tally.committed("payments") == cut)
        tally.wait_consumed("revenue-deltas", "customer-deltas")
        assert worker.stop() == 0
        shutil.rmtree(tmp_path / "home" / "state")
        records = changelog_counts(broker.cluster, topics)
        dangling = begin_and_leave_open(broker, topics)
        again = tally.start("w1")
        wait_for("all that is committed is read", lambda: +records == {task: n for task, n in again.restored().items() if n})
        publisher.send(whole.sent[cut:])
        publisher.close()
        others = [f"settlement/{number}" for number in range(12) if number != 5]
        wait_for("the other tasks consume what came after the restart", lambda: tally.lag(others) == 0)
        assert again.tasks("restoring") == ["settlement/5"]
        assert tally.lag(["settlement/5"]) > 0, "nothing was there for it to do"
        dangling.abort_transaction(10)  # raises if the broker had ended it by itself
        wait_for("every task runs", lambda: len(again.tasks()) == TASKS)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
    uncommitted = read_topic(broker.cluster, f"{topics}settlement-changelog", committed_only=False)
    assert b"order_state/" + NEVER in {record.key for record in uncommitted if record.partition == 5}
    store = Store(
        tally.state_of("w1") / "settlement" / "5", [spec.name for spec in TOPOLOGY[0].keeps], StoreResources(1 << 20, 1 << 20)
    )
    committed = next(key for key in keys_of(broker, topics, partition=5))
    never, known = store.get_many("order_state", [NEVER, committed])
    store.close()
    assert known is not None
    assert never is None, "what was never committed is in the store"


def begin_and_leave_open(broker: LocalBroker, topics: str) -> Producer:
    """Write a row into the changelog of settlement/5 in a transaction that the broker ends in ten minutes at the earliest."""
    producer = Producer(
        {
            **broker.cluster.producer(),
            "transactional.id": f"{topics}dangling",
            "transaction.timeout.ms": 600_000,
        }
    )
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(f"{topics}settlement-changelog", b"\x01never", b"order_state/" + NEVER, 5)
    assert producer.flush(10) == 0
    return producer


def keys_of(broker: LocalBroker, topics: str, partition: int) -> set[bytes]:
    """Give the orders in a committed changelog."""
    found = (record for record in read_topic(broker.cluster, f"{topics}settlement-changelog"))
    keys = {record.key for record in found if record.partition == partition and record.key}
    return {key.removeprefix(b"order_state/") for key in keys if key.startswith(b"order_state/")}
