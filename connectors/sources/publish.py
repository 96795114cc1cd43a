"""Sends a plan to the input topics: every record once, in order per key, to the partition Java would choose."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from connectors.cluster import Cluster
from connectors.sources.sent import Plan, Sent
from schemas.wire import FIXED, Wire, in_ids_of

QUEUE_RECORDS_MAX = 200_000
"""Records in librdkafka's queue; with our 150-byte records some 60 MB. Above it sending waits."""
DELIVERY_TIMEOUT_MS = 120_000
"""librdkafka's own default is 300 s; a broker away for two minutes is an answer."""
CHUNK_RECORDS = 100
"""Between two looks at the clock, the callbacks and ``should_stop``."""


class PublishError(Exception):
    """Records that did not reach the broker; sending the same plan again would repeat the others."""


class Publisher:
    """One idempotent producer. Use :meth:`send` as often as needed, then :meth:`close`.

    What was planned with the catalogue's schema ids is sent with those of ``wire``.
    """

    def __init__(self, cluster: Cluster, prefix: str, wire: Wire = FIXED) -> None:
        self._prefix = prefix
        self._wire = wire
        self._failed: list[str] = []
        self._sent: Counter[str] = Counter()
        self._producer = Producer({
            **cluster.producer(),
            "client.id": "tally-generate",
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",  # librdkafka's own default is CRC32, which co-partitions with nobody
            "linger.ms": 20,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
            "delivery.report.only.error": True,
            "on_delivery": self._on_failure,
        })  # fmt: skip

    def _on_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error.str()}")

    def send(
        self,
        records: Iterable[Sent],
        events_per_s: float | None = None,
        progress: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Send ``records`` in their order and give how many were sent; they may still be on their way.

        Args:
            records: a plan's records, or a slice of them.
            events_per_s: the pace; None for as fast as it goes.
            progress: called now and then with the number sent by this call.
            should_stop: asked now and then; when true the rest is not sent.

        Raises:
            PublishError: when the broker refused records.
        """
        producer, prefix, counts = self._producer, self._prefix, self._sent
        began, done = time.monotonic(), 0
        for sent in records:
            if done % CHUNK_RECORDS == 0 and done:
                if progress is not None:
                    progress(done)
                if should_stop():
                    break
                producer.poll(0.0)  # serves the failure callbacks
                while events_per_s and (left_s := began + done / events_per_s - time.monotonic()) > 0:
                    producer.poll(left_s)  # comes back early with every callback
                self._raise_failures()
            self._produce(producer, sent.topic.named(prefix), sent)
            counts[sent.topic.name] += 1
            done += 1
        if progress is not None:
            progress(done)
        return done

    def _produce(self, producer: Producer, topic: str, sent: Sent) -> None:
        value = in_ids_of(self._wire, sent.value) if self._wire.by_registry else sent.value
        while True:
            try:
                producer.produce(topic, value, sent.key, -1 if sent.partition is None else sent.partition)
            except BufferError:
                producer.poll(0.1)
                self._raise_failures()
            else:
                return

    def _raise_failures(self) -> None:
        if self._failed:
            count = len(self._failed)
            raise PublishError(f"{count:,} records were not delivered, the first to {self._failed[0]}; is the broker up?")

    def close(self) -> dict[str, int]:
        """Wait until all is delivered and give the counts per topic (names without the prefix).

        Raises:
            PublishError: when records were refused or are still on their way after the delivery time-out.
        """
        left = self._producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)
        self._raise_failures()
        if left:
            raise PublishError(
                f"{left:,} records are still on their way after {DELIVERY_TIMEOUT_MS // 1000} s; is the broker up?"
            )
        return dict(self._sent)


def publish(plan: Plan, cluster: Cluster, prefix: str, **pace: Any) -> dict[str, int]:
    """Send a whole plan; ``pace`` is what :meth:`Publisher.send` takes. Gives the counts per topic.

    Raises:
        PublishError: when the broker refused records or did not answer.
    """
    publisher = Publisher(cluster, prefix)
    publisher.send(plan.sent, **pace)
    return publisher.close()
