"""What a restore asks the cluster: committed offsets, ends of logs, who is who. Asked until it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from connectors.cluster import Cluster
from connectors.kafka_errors import passes
from streams import marker
from streams.store import StoreIdentity
from streams.waiting import Waiting

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

TIMEOUT_S = 2.0
"""Of one question; between two of them a worker that ends gives up, within its 10 s."""

T = TypeVar("T")


class Questions:
    """Asks about one consumer group's world.

    ``waiting`` is told of a cluster that does not answer; what it raises ends the waiting.
    """

    def __init__(self, cluster: Cluster, group_id: str, waiting: Waiting) -> None:
        self._cluster = cluster
        self._group_id = group_id
        self._waiting = waiting
        self._admin = AdminClient({**cluster.producer(), "log_level": 2})
        self._cluster_id = ""

    def identities(self, topics: Iterable[str]) -> dict[str, StoreIdentity]:
        """Give what a store of each changelog must belong to: the cluster, the group, and the topic by its id."""
        if not self._cluster_id:
            described = self._ask(lambda: self._admin.describe_cluster(request_timeout=TIMEOUT_S).result())
            self._cluster_id = described.cluster_id
        named = TopicCollection(list(topics))

        def ask() -> dict[str, StoreIdentity]:
            futures = self._admin.describe_topics(named, request_timeout=TIMEOUT_S)
            ids = {topic: str(future.result().topic_id) for topic, future in futures.items()}
            return {topic: StoreIdentity(self._cluster_id, self._group_id, topic, ids[topic]) for topic in ids}

        return self._ask(ask)

    def committed_offsets(self, inputs: list[marker.TopicPartition]) -> dict[marker.TopicPartition, int | None]:
        """Give the group's offsets, waiting for transactions of earlier owners that still hold some of them.

        A consumer asks that never joins: librdkafka 2.16's admin client crashes the process when the
        group's coordinator is moving or loading. Read committed makes the broker wait for stable offsets.
        """
        consumer = Consumer(
            {**self._cluster.consumer(), "log_level": 2, "group.id": self._group_id, "isolation.level": "read_committed"}
        )

        def ask() -> dict[marker.TopicPartition, int | None]:
            answer = consumer.committed([TopicPartition(*where) for where in inputs], timeout=TIMEOUT_S)
            problem = next((p.error for p in answer if p.error is not None), None)
            if problem is not None:
                raise KafkaException(problem)
            return {(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in answer}

        try:
            return self._ask(ask)
        finally:
            consumer.close()

    def list_offsets(
        self,
        partitions: Iterable[marker.TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[marker.TopicPartition, int]:
        """Give the first or the next offset of each partition."""
        asked = {TopicPartition(*where): spec for where in partitions}

        def ask() -> dict[marker.TopicPartition, int]:
            futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=TIMEOUT_S)
            return {(p.topic, p.partition): future.result().offset for p, future in futures.items()}

        return self._ask(ask)

    def _ask(self, question: Callable[[], T]) -> T:
        """Ask the cluster until it answers."""
        with self._waiting.patience() as wait:
            while True:
                try:
                    return question()
                except KafkaException as error:
                    reason: KafkaError = error.args[0]
                    if not passes(reason):
                        raise
                wait(f"the cluster: {reason.str()}")
                with suppress(KafkaException):
                    # The client would go on asking with the leader epochs from before a broker's restart, for minutes.
                    self._admin.list_topics(timeout=TIMEOUT_S)
