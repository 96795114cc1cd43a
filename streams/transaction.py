"""The only place that knows Kafka transactions: one producer, one transaction per epoch, open for milliseconds."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.topics import TOPICS
from streams import marker
from streams.effects import Output, Outputs
from streams.errors import MissingRightsError, WorkerError, WorkerFencedError
from streams.logs import client_log
from streams.settings import Settings
from streams.waiting import Waiting

log = logging.getLogger(__name__)

INDEFINITE_AFTER_S = 60.0
"""How long one step is tried again, unless the settings say otherwise, before its outcome counts as unknown."""
ATTEMPT_S = 2.0
"""Of one blocking call; between two of them the deadline is looked at, and whether the worker is to end, within its 10 s."""
DEFAULT_TIMEOUT_MS = 60_000
"""Kafka's own, of a transaction."""


FULL_WAIT_S = 0.005
"""Between two tries at a queue that is full; a broker takes a megabyte in about that time."""


@dataclass(frozen=True)
class Transaction:
    """Everything one epoch commits. ``markers`` are last in their changelog partitions; their offsets come back."""

    records: Sequence[Output | Outputs]
    markers: Mapping[marker.TopicPartition, Output]
    offsets: Mapping[marker.TopicPartition, int]
    group_metadata: Any


@dataclass(frozen=True)
class Committed:
    """It happened. ``marker_offsets`` are where the markers stand in the changelogs."""

    marker_offsets: dict[marker.TopicPartition, int]


@dataclass(frozen=True)
class Aborted:
    """It did not happen, and the producer can go on. ``refused`` says what the cluster will refuse again, if it is that."""

    cause: str
    refused: str = ""


@dataclass(frozen=True)
class Unknown:
    """Nobody knows: the producer was replaced, and the committed offsets and changelogs must be asked."""

    cause: str


Outcome = Committed | Aborted | Unknown


class TransactionRefusedError(Exception):
    """The cluster refuses what an epoch writes, and will again: a topic is gone, or a right is missing."""


def enqueue(producer: Producer, output: Output, **options: Any) -> None:
    """Hand a record to the client, with its headers and its time; wait while the client's queue is full."""
    if output.headers is not None:
        options["headers"] = output.headers
    if output.timestamp_ms:
        options["timestamp"] = output.timestamp_ms
    while True:
        try:
            producer.produce(output.topic, output.value, output.key, output.partition, **options)
        except BufferError:
            producer.poll(FULL_WAIT_S)  # let the client send some of it
        else:
            return


def enqueue_many(producer: Producer, outputs: Outputs) -> None:
    """Hand over many records by the shortest way: of an epoch's records these are nearly all."""
    produce, topic, partition = producer.produce, outputs.topic, outputs.partition
    for key, value in zip(outputs.keys, outputs.values, strict=True):
        try:
            produce(topic, value, key, partition)
        except BufferError:
            enqueue(producer, Output(topic, key, value, partition))


class TransactionalProducer:
    """Commits epochs. A second process with the same transactional id fences this one.

    ``make_client`` and ``now_s`` are Kafka's client and the clock of the deadlines; tests give others.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        reach: Callable[[str], None],
        waiting: Waiting,
        *,
        indefinite_after_s: float = INDEFINITE_AFTER_S,
        make_client: Callable[[dict[str, Any]], Producer] = Producer,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = {
            **config,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # librdkafka's own default disagrees with every other client
            "linger.ms": 5,
            **client_log(),
            # Right after a commit the coordinator answers the next transaction with "concurrent": ask again soon, not in 100 ms.
            "retry.backoff.ms": 5,
            "retry.backoff.max.ms": 100,
            # The client's own limit is below what the topics take; sizes are checked per topic before (effects.py).
            "message.max.bytes": max(topic.max_message_bytes for topic in TOPICS),
        }
        self._reach = reach
        self._waiting = waiting
        self._indefinite_after_s = indefinite_after_s
        self._make_client = make_client
        self._now_s = now_s
        self._abandoned = False
        self._began_s: float | None = None
        self._timeout_s = self._config.get("transaction.timeout.ms", DEFAULT_TIMEOUT_MS) / 1000
        self._producer = self._new_producer()

    @classmethod
    def of(cls, settings: Settings, reach: Callable[[str], None], waiting: Waiting) -> Self:
        """Give the producer of a worker."""
        config = {
            **settings.cluster.producer(),
            **settings.budget.producer_config(),
            "client.id": settings.transactional_id,
            "transactional.id": settings.transactional_id,
            "transaction.timeout.ms": settings.transaction_timeout_ms,
        }
        return cls(config, reach, waiting, indefinite_after_s=settings.commit_timeout_ms / 1000)

    def abandon(self) -> TransactionalProducer:
        """Give this one up in the middle of its call, which may never return; give its successor, which settles what it left.

        On another thread than the call. What the call still does is fenced, or stands in the changelog already: nobody knows.
        """
        self._abandoned = True
        return TransactionalProducer(
            self._config,
            self._reach,
            self._waiting,
            indefinite_after_s=self._indefinite_after_s,
            make_client=self._make_client,
            now_s=self._now_s,
        )

    def commit(self, transaction: Transaction, meanwhile: Callable[[], str] = lambda: "") -> Committed | Aborted | Unknown:
        """Write everything in one transaction; do something else ``meanwhile``, as the client sends it.

        What ``meanwhile`` gives is why the transaction must be aborted now, or nothing.

        Raises:
            WorkerFencedError: another worker uses the same transactional id.
        """
        self._began_s = self._now_s()
        try:
            return self._commit(transaction, self._began_s, meanwhile)
        finally:
            self._began_s = None

    @property
    def age_s(self) -> float:
        """How long the transaction that is under way has been open; 0 if there is none."""
        began_s = self._began_s
        return 0.0 if began_s is None else self._now_s() - began_s

    def _commit(self, transaction: Transaction, began_s: float, meanwhile: Callable[[], str]) -> Outcome:
        placed: dict[marker.TopicPartition, int] = {}
        asked = False
        try:
            self._producer.begin_transaction()
            self._reach("before_produce")
            unfinished = self._produce(transaction, placed)
            if why_not := meanwhile():
                return self._recover(_lost(why_not), began_s, asked=False)
            self._reach("before_offsets")
            offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in transaction.offsets.items()]
            self._producer.send_offsets_to_transaction(offsets, transaction.group_metadata, ATTEMPT_S)
            if unfinished is not None:
                raise unfinished
            with contextlib.suppress(SystemError):  # a fatal error within a delivery report; the commit says which
                self._producer.flush(ATTEMPT_S)  # what is still on its way the commit waits for; what was refused it reports
            self._reach("before_commit")
            asked = True
            self._retry(lambda: self._producer.commit_transaction(ATTEMPT_S))
        except KafkaException as error:
            return self._recover(error, began_s, asked=asked)
        return Committed(placed)

    def _produce(self, transaction: Transaction, placed: dict[marker.TopicPartition, int]) -> KafkaException | None:
        """Hand every record to the client; give the error with which it took no more.

        That error says only that the client will not go on, not why. The next transactional call says why.
        """

        def on_marker(error: KafkaError | None, message: Message) -> None:
            if error is None:
                placed[message.topic() or "", message.partition() or 0] = message.offset() or 0

        try:
            for record in transaction.records:
                if isinstance(record, Outputs):
                    enqueue_many(self._producer, record)
                else:
                    enqueue(self._producer, record)
            for output in transaction.markers.values():
                enqueue(self._producer, output, on_delivery=on_marker)
        except KafkaException as error:
            if error.args[0].code() not in {KafkaError._FATAL, KafkaError._STATE}:  # noqa: SLF001 - the client's own codes
                raise
            return error
        return None

    def _retry(self, step: Callable[[], Any]) -> None:
        """Run a step again while its error says that this is right, for a bounded time."""
        deadline = self._now_s() + self._indefinite_after_s
        with self._waiting.patience() as wait:
            while True:
                try:
                    step()
                except KafkaException as error:
                    reason: KafkaError = error.args[0]
                    if not reason.retriable() or self._now_s() > deadline:
                        raise
                    wait(f"the cluster to commit: {reason.str()}")
                else:
                    return

    def _recover(self, error: KafkaException, began_s: float, *, asked: bool) -> Aborted | Unknown:
        """Make the producer ready for the next transaction; only a commit that was ``asked`` for may have happened.

        Nothing but the commit is tried again: after a broker's death librdkafka 2.16 never returned from a second
        send_offsets_to_transaction. A new producer settles whatever the old one left.
        """
        reason: KafkaError = error.args[0]
        if self._abandoned:
            return Unknown("a successor has taken over")
        if reason.txn_requires_abort():
            asked = False  # the client says so only while the commit has not gone out, or was refused
            try:
                self._producer.abort_transaction(ATTEMPT_S)
            except KafkaException as abort_error:
                reason = abort_error.args[0]
            else:
                cause = f"{reason.name()}: {reason.str()}"
                return Aborted(cause, cause if reason.code() in _REFUSALS else "")
        if self._now_s() - began_s < self._timeout_s:
            self._raise_if_fenced(reason)
        # Past the time-out it is the cluster that ended the transaction, and nobody need have taken over.
        known = "nobody knows whether the transaction happened" if asked else "the transaction failed before its commit"
        log.warning("%s (%s); the producer is replaced", known, reason.str())
        self._producer = self._new_producer()
        cause = f"{reason.name()}: {reason.str()}"
        return Unknown(cause) if asked else Aborted(cause)

    def _new_producer(self) -> Producer:
        """Make a producer whose predecessor's transaction is settled; wait as long as the cluster is away."""
        producer = self._make_client(dict(self._config))
        with self._waiting.patience() as wait:
            while True:
                try:
                    producer.init_transactions(ATTEMPT_S)
                except KafkaException as error:
                    reason: KafkaError = error.args[0]
                    self._raise_if_fenced(reason)
                    named = self._config["transactional.id"]
                    if reason.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                        raise MissingRightsError([f"Write on transactional id {named}"]) from error
                    if not reason.retriable():
                        raise WorkerError(f"the cluster has no producer for {named}: {reason.str()}") from error
                    wait(f"the cluster's transaction coordinator: {reason.str()}")
                else:
                    return producer

    def _raise_if_fenced(self, reason: KafkaError) -> None:
        if reason.code() in _FENCED:
            raise WorkerFencedError(
                f"the transactional id {self._config['transactional.id']} has a newer owner: another worker took it over. "
                "This one wrote nothing after it and stops. Give every worker its own --id, or start this one again"
            )


def _lost(why: str) -> KafkaException:
    """Give what the cluster would say if it knew that this worker has lost what it writes."""
    return KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, why, txn_requires_abort=True))


_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}  # noqa: SLF001

_REFUSALS = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_REQUIRED_ACKS,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
}
"""Aborts for which the same records will be aborted again: somebody must change something."""
