"""Sends a few records and tells where each one stands; for the many there is :mod:`connectors.sources.publish`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from connectors.cluster import Cluster

DELIVERY_TIMEOUT_MS = 30_000
"""librdkafka's own is 300 s; here a person waits, and sending the same events again changes nothing."""
IN_FLIGHT_RECORDS_MAX = 1_000
"""Records that wait for their answers at once."""


class Outgoing(NamedTuple):
    """One record to send, with its partition."""

    partition: int
    key: bytes
    value: bytes


class Delivery(NamedTuple):
    """What became of a record: its offset, or the error that kept it from being written (or from our knowing of it)."""

    offset: int | None
    error: str = ""


def deliver(cluster: Cluster, topic: str, records: Sequence[Outgoing]) -> list[Delivery]:
    """Send ``records`` in their order and give what became of each, when all have an answer.

    Each record is written once and in order per partition (idempotent producer, acks=all).
    """
    producer = Producer({
        **cluster.producer(),
        "client.id": "tally-send",
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
    })  # fmt: skip
    found: dict[int, Delivery] = {}
    for place, record in enumerate(records):
        while len(producer) >= IN_FLIGHT_RECORDS_MAX:
            producer.poll(0.1)
        producer.produce(topic, record.value, record.key, record.partition, on_delivery=partial(_note, found, place))
    producer.flush()  # ends by the delivery time-out
    return [found[place] for place in range(len(records))]


def _note(found: dict[int, Delivery], place: int, error: KafkaError | None, message: Message) -> None:
    found[place] = Delivery(message.offset()) if error is None else Delivery(None, error.str())
