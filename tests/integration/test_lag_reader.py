"""How far behind a position is, on real partitions with markers of transactions, look after look by one reader."""

from __future__ import annotations

from confluent_kafka import Producer

from connectors.reader import end_offsets
from schemas.topics import REVENUE_DELTAS
from streams.lag import Lag, LagReader
from streams.local_broker import LocalBroker
from tests.support.waiting import wait_for


def test_a_position_before_nothing_but_markers_is_at_the_end_also_after_it_was_behind(broker: LocalBroker, topics: str) -> None:
    place = (REVENUE_DELTAS.named(topics), 3)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{topics}lag"})
    producer.init_transactions(30)
    reader = LagReader(broker.cluster, f"{topics}tally")

    assert reader.read({place: None}) == {place: Lag(0)}
    producer.begin_transaction()
    for number in range(2):
        producer.produce(place[0], b"delta", str(number).encode(), partition=place[1])
    producer.flush(30)
    hidden = reader.read({place: None})[place]
    assert (hidden.records, hidden.since_ms) == (2, None), "the transaction is open: when its records came cannot be read"
    producer.commit_transaction(30)

    wait_for("the marker stands", lambda: end_offsets(broker.cluster, place[0])[place[1]] == 3)
    behind = reader.read({place: 0})[place]
    assert (behind.records, behind.since_ms is None) == (3, False), "two records and a marker"
    assert reader.read({place: 1})[place].records == 2
    assert reader.read({place: 2}) == {place: Lag(0)}
    assert reader.read({place: 2}) == {place: Lag(0)}
    reader.close()
