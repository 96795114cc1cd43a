"""F27: a real worker tells its tasks which inputs are idle; what they were told stands in their markers."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from connectors.cluster import Cluster
from schemas.codec import encode
from schemas.events import TaskMarker
from streams.local_broker import LocalBroker
from tests.support.chains import assert_unbroken, chains
from tests.support.ticking import ASKS
from tests.support.workers import Deployment, Worker, wait_for
from tests.unit.orders import placed

TICKING = {"TEST_TOPOLOGY": "tests.support.ticking:TICKING"}
TASK = 6
"""The partition of the order that is sent."""
OTHER = 0
BOTH = {"orders", "payments"}


def test_f27_a_quiet_input_is_told_idle_a_record_makes_it_active_at_once_and_a_restart_forgets_nothing(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    with Deployment(tmp_path, broker.cluster, topics, idle_after_ms=1_000, idle_tick_ms=500) as tally:
        worker = tally.start("w1", TICKING)
        wait_for("every task was told that all is idle, and that time goes on", lambda: all_idle(worker))
        send(broker.cluster, topics)
        wait_for(
            "the order is applied, and its input idle again", lambda: counter_of(worker, "applied") == 1 and all_idle(worker)
        )
        assert worker.stop() == 0
        ended = chains(broker.cluster, topics, "settlement-changelog")
        send(broker.cluster, topics)
        worker = tally.start("w2", TICKING)
        wait_for(
            "the order is applied, and its input idle again", lambda: counter_of(worker, "applied") == 2 and all_idle(worker)
        )
        assert worker.stop() == 0
        assert_unbroken(broker.cluster, topics)
        markers = chains(broker.cluster, topics, "settlement-changelog")

    first = markers[TASK][0]
    assert (first.counters["ticks"], idle(first), ends_of(first)) == (1, BOTH, [0, 0])
    assert [said.counters["asked"] for said in markers[TASK][: ASKS + 1]] == [*range(1, ASKS + 1), ASKS]
    woken = next(number for number, said in enumerate(markers[TASK]) if idle(said) == {"payments"})
    before, after = markers[TASK][woken - 1 : woken + 1]
    assert (after.counters["applied"], ends_of(after)) == (1, [1, 0]), "it was told by the record, and not before"
    assert after.counters["ticks"] - before.counters["ticks"] <= 1
    assert idle(markers[TASK][len(ended[TASK])]) == {"payments"}, "the first that it says is that it lags"
    told = markers[OTHER][len(ended[OTHER]) :]
    assert told[-1].counters["ticks"] > ended[OTHER][-1].counters["ticks"]
    assert all(idle(said) == BOTH for said in told), "a takeover woke an input up"


def send(cluster: Cluster, prefix: str) -> None:
    """Send an order in a transaction, as some producers do: behind it stands a marker that nobody is ever handed."""
    producer = Producer({**cluster.producer(), "transactional.id": f"{prefix}shop"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(f"{prefix}orders", encode(placed()), placed().order_id, TASK, timestamp=placed().occurred_at_ms)
    producer.commit_transaction(30)


def idle(marker: TaskMarker) -> set[str]:
    return {name for name in BOTH if marker.counters.get(f"idle|{name}", 0) == 1}


def ends_of(marker: TaskMarker) -> list[int]:
    return [position.next_offset for position in marker.positions]


def counter_of(worker: Worker, counter: str) -> int:
    page = worker.task_pages().get(f"settlement/{TASK}", {})
    return int(page.get("counters", {}).get(counter, 0))


def all_idle(worker: Worker) -> bool:
    pages = [page for name, page in worker.task_pages().items() if name.startswith("settlement/")]
    return len(pages) == 12 and all(
        page["counters"].get("ticks", 0) > 1 and all(page["counters"].get(f"idle|{name}") == 1 for name in BOTH) for page in pages
    )
