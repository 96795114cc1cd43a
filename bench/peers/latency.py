"""From the append of an order on the input to the row that a read_committed consumer has of it.

Counted are orders whose `OrderPlaced` is surely applied: the first row of such an order is the answer to that record, or to
it and what came with it. The append time is the broker's (`message.timestamp.type=LogAppendTime` on our inputs), the other end is
this machine's clock when the consumer gives the row: the same clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from connectors.cluster import Cluster
from connectors.reader import READER_GROUP, ReadRecord, read_topic
from connectors.sources.generator import APPLIED, Sent
from schemas import codec, events
from schemas.topics import ORDER_STATUS, ORDERS

WARM_UP_S = 10.0
"""Of the paced load, which does not count: virtual machines compile, caches fill."""
MEASURED_S = 20.0
POLL_S = 0.2
DRAIN_RECORDS = 10_000
"""Taken at once of what the client has; they came together, so they get one time."""


class Arrivals:
    """When the first row of each order was there, milliseconds since 1970; noted by a thread."""

    def __init__(self, cluster: Cluster, topic_name: str) -> None:
        self._consumer = Consumer({
            **cluster.consumer(),
            "client.id": "tally-bench",
            "group.id": READER_GROUP,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        })  # fmt: skip
        self._consumer.assign([TopicPartition(topic_name, at, OFFSET_BEGINNING) for at in range(ORDER_STATUS.partitions)])
        self._ended = Event()
        self._thread = Thread(target=self._note, name="arrivals")
        self.first_ms: dict[bytes, float] = {}

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """End the reading."""
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def _note(self) -> None:
        while not self._ended.is_set():
            # Waiting for many at once would let the first of them wait for the last.
            first = self._consumer.poll(POLL_S)
            if first is None:
                continue
            at_ms = time.time() * 1e3
            for message in (first, *self._consumer.consume(DRAIN_RECORDS, 0)):
                key = message.key()
                if message.error() is None and isinstance(key, bytes):
                    self.first_ms.setdefault(key, at_ms)


@contextmanager
def arriving(cluster: Cluster, prefix: str) -> Iterator[Arrivals]:
    """Note the first row of each order while the block runs."""
    arrivals = Arrivals(cluster, ORDER_STATUS.named(prefix))
    arrivals.start()
    try:
        yield arrivals
    finally:
        arrivals.close()


@dataclass(frozen=True)
class Latencies:
    """Of the orders that count; ``missing_count`` of them never had a row."""

    orders_count: int
    missing_count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def placements(sent: Iterable[Sent]) -> frozenset[bytes]:
    """Give the values of the records that place an order and are surely applied. Pure."""
    wanted = (each.value for each in sent if each.topic is ORDERS and each.expected == APPLIED and each.value is not None)
    return frozenset(value for value in wanted if isinstance(codec.decode(value), events.OrderPlaced))


def appended(records: Iterable[ReadRecord], wanted: frozenset[bytes]) -> dict[bytes, int]:
    """Give when each of the ``wanted`` values first came, by the order that it places, out of the topic of orders. Pure."""
    placed_ms: dict[bytes, int] = {}
    for record in records:
        if record.value in wanted and record.key is not None:
            placed_ms.setdefault(record.key, record.timestamp_ms)
    return placed_ms


def latencies(placed_ms: Mapping[bytes, int], first_ms: Mapping[bytes, float], warm_up_ms: float) -> Latencies | None:
    """Give what those placed after the warm-up took; None when there are none. Pure."""
    begin_ms = min(placed_ms.values(), default=0) + warm_up_ms
    counting = {key: at_ms for key, at_ms in placed_ms.items() if at_ms >= begin_ms}
    took_ms = sorted(first_ms[key] - at_ms for key, at_ms in counting.items() if key in first_ms)
    if not took_ms:
        return None
    missing_count = len(counting) - len(took_ms)
    return Latencies(len(took_ms), missing_count, rank(took_ms, 0.5), rank(took_ms, 0.99), took_ms[-1])


def rank(ascending: Sequence[float], share: float) -> float:
    """Give the least value that ``share`` of all do not exceed: the nearest rank, which was really measured. Pure."""
    return ascending[max(math.ceil(share * len(ascending)), 1) - 1]


def read_latencies(cluster: Cluster, prefix: str, paced: Iterable[Sent], first_ms: Mapping[bytes, float]) -> Latencies | None:
    """Read when the orders of what was ``paced`` came, and give what they took; raises as :func:`read_topic` does."""
    placed_ms = appended(read_topic(cluster, ORDERS.named(prefix)), placements(paced))
    return latencies(placed_ms, first_ms, WARM_UP_S * 1e3)
