"""What a restore asks the cluster: committed offsets, ends of logs, who is who. Asked until it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]
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

LOOK_S = 0.5
"""Of the question whether a group may be seen: without the right it has no answer, only a refusal in another place."""
_TOLD_ELSEWHERE = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART}

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

    def allowed_operations(self, topics: Iterable[str]) -> dict[str, frozenset[str] | None]:
        """Give the operations that the cluster allows on each topic, in Kafka's words; None where it does not tell."""
        named = TopicCollection(sorted(topics))

        def ask() -> dict[str, frozenset[str] | None]:
            futures = self._admin.describe_topics(named, include_authorized_operations=True, request_timeout=TIMEOUT_S)
            return {topic: _operations(future) for topic, future in futures.items()}

        return self._ask(ask)

    def may_see_group(self) -> bool:
        """Tell whether the cluster answers questions about the group at all."""
        consumer = Consumer({**self._cluster.consumer(), "group.id": self._group_id, "log_level": 0})

        def ask() -> bool:
            try:
                consumer.committed([TopicPartition(self._group_id, 0)], timeout=LOOK_S)  # of whichever topic
            except KafkaException as error:
                # librdkafka asks again and again who coordinates the group; that it is refused comes with the records.
                refused = consumer.poll(LOOK_S)
                answers = [error.args[0], refused.error() if refused is not None else None]
                codes = {answer.code() for answer in answers if answer is not None}
                if KafkaError.GROUP_AUTHORIZATION_FAILED in codes:
                    return False
                if not codes & _TOLD_ELSEWHERE:
                    raise
            return True

        try:
            return self._ask(ask)
        finally:
            consumer.close()

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


def _operations(future: Future[TopicDescription]) -> frozenset[str] | None:
    try:
        allowed = future.result().authorized_operations
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return frozenset()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None  # that it is missing is told by those who need its partitions
        raise
    return frozenset(operation.name.title().replace("_", "") for operation in allowed) if allowed else None
