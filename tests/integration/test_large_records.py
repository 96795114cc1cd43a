"""F20: the largest record that an input takes becomes a dead letter, and holds nobody back."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from connectors.reader import read_topic
from schemas.codec import encode
from schemas.events import OrderLine, OrderPlaced
from schemas.partitioning import partition_of
from schemas.topics import MAX_INPUT_BYTES
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment

GARBAGE = b"\x07" * (MAX_INPUT_BYTES - 500)
RIGHT = partition_of("o-1", 12)
ORDER = OrderPlaced("e-1", "o-1", 1_795_000_000_000, "shop", "c-1", "m-1", "EUR", 100, (OrderLine("sku", 1, 100),))


def test_f20_the_largest_unreadable_record_is_buried_and_its_neighbours_go_on(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    producer = Producer({**broker.cluster.producer(), "message.max.bytes": 2 * MAX_INPUT_BYTES})
    producer.produce(f"{topics}orders", GARBAGE, b"o-1", RIGHT)
    producer.produce(f"{topics}orders", encode(ORDER), b"o-1", RIGHT)
    assert producer.flush(30) == 0
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        tally.wait_consumed("orders")
        assert worker.tasks("stopped") == []
        assert worker.stop() == 0
    (buried,) = read_topic(broker.cluster, f"{topics}orders.dlq")
    assert buried.value == GARBAGE
    assert dict(buried.headers)["__tally.errors.reason"] == b"no_magic_byte"
    (row,) = read_topic(broker.cluster, f"{topics}order-status")
    assert row.key == b"o-1"
