"""Versions of the outputs: which there are, and which one readers are to read. The topic ``versions`` says it.

Whoever starts, switches or drops one does it in one transaction, under a transactional id of the deployment: a second hand
fences the first, and nobody sees half of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from connectors.cluster import Cluster
from connectors.reader import latest_per_key, list_topics, read_topic
from schemas.codec import Undecodable, decode, encode
from schemas.events import CurrentVersion, VersionStarted
from schemas.topics import LIVE, VERSIONS, Kind, Topic
from streams.effects import Output
from streams.errors import ClusterError, RefusedError, WorkerFencedError
from streams.marker import TopicPartition
from streams.settings import Settings
from streams.transaction import Committed, Transaction, TransactionalProducer
from streams.waiting import Waiting

CURRENT_KEY = "current"


@dataclass(frozen=True)
class Versions:
    """What there is beside the live version, and which one readers are to read."""

    started: Mapping[str, VersionStarted] = field(default_factory=dict)
    current: str = LIVE

    @property
    def names(self) -> list[str]:
        """Give all of them, the live one first."""
        return [LIVE, *sorted(self.started)]


ONLY_LIVE = Versions()
"""Of a deployment that never had another."""


def read_versions(cluster: Cluster, prefix: str) -> Versions:
    """Give the versions of a deployment; one that never had any needs no topic for it.

    Raises:
        ReadError: the cluster does not answer.
    """
    name = VERSIONS.named(prefix)
    if name not in list_topics(cluster):
        return ONLY_LIVE
    started, current = dict[str, VersionStarted](), LIVE
    for record in latest_per_key(read_topic(cluster, name)).values():
        with contextlib.suppress(Undecodable):  # what another hand wrote there says nothing
            note = decode(record.value)
            if isinstance(note, VersionStarted):
                started[note.version] = note
            elif isinstance(note, CurrentVersion):
                current = note.version
    return Versions(started, current)


def read_by(topic: Topic, version: str, versions: Versions) -> Topic:
    """Give the topic that a reader reads: of the version that was asked for, or else, of outputs, of the current one. Pure."""
    return topic.of(version or (versions.current if topic.kind is Kind.OUTPUT else LIVE))


def note(settings: Settings, key: str, value: VersionStarted | CurrentVersion | None) -> Output:
    """Give the record that says something of a version; None: it is gone. Pure."""
    return Output(VERSIONS.named(settings.prefix), key.encode(), None if value is None else encode(value), -1)


def commit(
    settings: Settings, record: Output, markers: Mapping[TopicPartition, Output], offsets: Mapping[TopicPartition, int]
) -> None:
    """Write what is said of a version, with the first markers and offsets of its tasks if it is new: all of it or nothing.

    Raises:
        RefusedError: another hand was at it at the same time.
        ClusterError: the cluster did not take it.
    """
    named = settings.versions_transactional_id
    # Kafka's own time-out, not a worker's: topics that were made a moment ago take their first records late, and nobody waits.
    config = {**settings.cluster.producer(), "client.id": named, "transactional.id": named}
    consumer = Consumer({**settings.cluster.consumer(), "group.id": settings.group_id, "log_level": 2})
    try:
        producer = TransactionalProducer(config, lambda _: None, Waiting(lambda: None))
        outcome = producer.commit(Transaction([record], markers, offsets, consumer.consumer_group_metadata()))
    except WorkerFencedError as error:
        raise RefusedError("another `tally reprocess` was at work at the same time; nothing was changed by this one") from error
    finally:
        consumer.close()
    if not isinstance(outcome, Committed):
        raise ClusterError(f"the cluster did not note it ({outcome.cause}): run the command again, it looks first")
