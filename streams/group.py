"""The worker's membership in the consumer group: one consumer, every call on it from one thread.

Ownership changes only inside :meth:`GroupConsumer.poll`; the callbacks do bounded work and note
what happened, the engine acts on it when the poll has returned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka_errors import passes
from streams import marker
from streams.budget import fetch_config
from streams.errors import WorkerError
from streams.logs import client_log
from streams.messages import Run, runs_of
from streams.room import EPOCHS_IN_MEMORY, RECORD_BYTES, Room
from streams.settings import Settings
from streams.taking import take
from streams.waiting import Waiting

log = logging.getLogger(__name__)

CHANGES_WAIT_S = 0.1
"""How long the client's queue is looked through for changes of ownership; they are put there before a new epoch begins."""
QUEUED_CHANGES_MAX = 1_000
"""Looks at the client's queue; there are a few changes and errors in it at most."""
METADATA_WAIT_S = 2.0
"""How long one question for metadata waits; while the cluster is away it is asked again and again."""


@dataclass
class Polled:
    """What one poll gave: records, and changes of ownership in the order in which they happened.

    ``behind``: the records fill at least half of the room, so there are likely more to come.
    """

    messages: list[Message] = field(default_factory=list)
    changes: list[tuple[str, list[marker.TopicPartition]]] = field(default_factory=list)
    lost_positions: dict[marker.TopicPartition, str] = field(default_factory=dict)
    behind: bool = False

    @cached_property
    def runs(self) -> list[Run]:
        """The records by partition, as they came."""
        return runs_of(self.messages)


class GroupConsumer:
    """The consumer of a worker. Not thread-safe on purpose: metadata asked from another thread during a revoke deadlocks."""

    def __init__(self, settings: Settings, record_bytes: int = RECORD_BYTES) -> None:
        self._incremental = settings.group_protocol == "consumer"
        protocol = (
            {"group.protocol": "consumer", "group.remote.assignor": "range"}
            if self._incremental
            else {"partition.assignment.strategy": "range", "session.timeout.ms": settings.session_timeout_ms}
        )
        budget = settings.budget
        self.room = Room(budget.epoch_bytes // EPOCHS_IN_MEMORY, settings.epoch_records_max, record_bytes)
        self._consumer = Consumer(
            {
                **settings.cluster.consumer(),
                **fetch_config(budget.consumer_bytes),
                **protocol,
                "group.id": settings.group_id,
                "client.id": settings.client_id,
                **client_log(),
                "enable.auto.commit": False,
                "auto.offset.reset": "error",  # a position that is gone is said, never guessed
                "isolation.level": "read_committed",
                "check.crcs": True,
                "max.poll.interval.ms": settings.max_poll_interval_ms,
                "fetch.wait.max.ms": settings.epoch_wait_ms,
            }
        )
        self._polled = Polled()
        self._owned: set[marker.TopicPartition] = set()
        self.metadata: Any = None
        self.member_id = ""

    def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        self._consumer.subscribe(sorted(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self, wait_s: float) -> Polled:
        """Give the records of owned partitions that an epoch has room for, and every change of ownership since the last call."""
        messages = take(self._consumer, self.room, wait_s, stop=lambda: bool(self._polled.changes))
        if not self.member_id:
            self.member_id = self._consumer.memberid() or ""
        polled, self._polled = self._polled, Polled()
        polled.behind = self.room.is_half_full(len(messages), sum(map(len, messages)))
        for message in messages:
            if message.error() is None:
                polled.messages.append(message)
            else:
                self._note_error(message, polled)
        return polled

    def synchronise(self) -> Polled:
        """Take the group metadata, then serve every change of ownership from before it; what was fetched is fetched again.

        Only this metadata may go into a transaction. The broker checks the member's epoch and not who
        owns what: a worker that was frozen may be a member again, with a new epoch, before it is told
        that it lost everything; metadata taken at that moment would let it commit what is no longer its own.
        """
        metadata = self._consumer.consumer_group_metadata()
        for _ in range(QUEUED_CHANGES_MAX):
            self._consumer.pause([TopicPartition(*where) for where in self._owned])
            messages = self._consumer.consume(1, CHANGES_WAIT_S)
            if not messages:
                break  # the queue is empty, so no change is left in it
            for message in messages:
                if message.error() is None:
                    self._leave(message)
                else:
                    self._note_error(message, self._polled)
        else:
            raise WorkerError(f"the client's queue did not become empty in {QUEUED_CHANGES_MAX} looks: the worker starts anew")
        polled, self._polled = self._polled, Polled()
        self.metadata, self.member_id = metadata, self._consumer.memberid() or ""
        return polled

    def _leave(self, message: Message) -> None:
        """Have a record read again that came although its partition was paused: nobody took it."""
        self._consumer.seek(TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0))

    def positions(self, partitions: Iterable[marker.TopicPartition]) -> dict[marker.TopicPartition, int]:
        """Give where reading goes on, for owned partitions of which something was read since they were started."""
        asked = [TopicPartition(*where) for where in partitions if where in self._owned]
        return {(p.topic, p.partition): p.offset for p in self._consumer.position(asked) if p.offset >= 0}

    def ends(self, partitions: Iterable[marker.TopicPartition]) -> dict[marker.TopicPartition, int]:
        """Give the high watermarks of owned partitions, as far as fetches have told them; the cluster is not asked."""
        asked = [where for where in partitions if where in self._owned]
        known = {where: self._consumer.get_watermark_offsets(TopicPartition(*where), cached=True) for where in asked}
        return {where: marks[1] for where, marks in known.items() if marks is not None and marks[1] >= 0}

    def start(self, offsets: Mapping[marker.TopicPartition, int]) -> bool:
        """Read these partitions from these offsets on; False: the client is not ready for it yet, ask again."""
        try:
            for (topic, partition), offset in offsets.items():
                self._consumer.seek(TopicPartition(topic, partition, offset))
        except KafkaException as error:
            if error.args[0].code() in {KafkaError._STATE, KafkaError._PREV_IN_PROGRESS}:  # noqa: SLF001 - the client's own codes
                return False
            raise
        self._consumer.resume([TopicPartition(*where) for where in offsets])
        return True

    def resume(self, partitions: Iterable[marker.TopicPartition]) -> None:
        """Go on fetching partitions that are still owned."""
        self._consumer.resume([TopicPartition(*where) for where in partitions if where in self._owned])

    def pause(self, partitions: Iterable[marker.TopicPartition]) -> None:
        """Stop fetching partitions that are still owned."""
        self._consumer.pause([TopicPartition(*where) for where in partitions if where in self._owned])

    def partition_counts(self, topics: Iterable[str], waiting: Waiting) -> dict[str, int]:
        """Give the number of partitions of each topic that exists; wait as long as the cluster is away."""
        with waiting.patience() as wait:
            while True:
                try:
                    known = self._consumer.list_topics(timeout=METADATA_WAIT_S).topics
                    break
                except KafkaException as error:
                    if not passes(error.args[0]):
                        raise
                    wait(f"the cluster: {error.args[0].str()}")
        return {topic: len(known[topic].partitions) for topic in topics if topic in known}

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Nothing is read before its task is restored; the real position comes with start(). Until then an
        # absolute offset: a logical one is looked up, and its answer could come after start() and move the position.
        held = [TopicPartition(p.topic, p.partition, 0) for p in partitions]
        if self._incremental:
            consumer.incremental_assign(held)
        else:
            consumer.assign(held)
        consumer.pause(held)
        self._note("assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()
        self._note("revoked", partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning(
            "lost %d partitions: the group went on without this worker; what it had not committed is redone", len(partitions)
        )
        self._on_revoke(consumer, partitions)

    def _note(self, what: str, partitions: list[TopicPartition]) -> None:
        where = [(p.topic, p.partition) for p in partitions]
        (self._owned.update if what == "assigned" else self._owned.difference_update)(where)
        self._polled.changes.append((what, where))

    def _note_error(self, message: Message, polled: Polled) -> None:
        error = message.error()
        assert error is not None  # noqa: S101 - asked by the caller
        topic, partition = message.topic(), message.partition()
        if error.code() in _DAMAGED and topic:
            polled.lost_positions[topic, partition or 0] = error.str()
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001
            log.warning("an epoch took longer than max.poll.interval.ms: %s", error.str())
        elif error.fatal() or not (passes(error) or error.code() in _MENDED):
            raise WorkerError(f"the consumer cannot go on: {error.str()} ({error.name()}, {topic}/{partition})")
        else:
            log.warning("the consumer waits for the cluster: %s", error.str())


_DAMAGED = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._BAD_MSG,  # noqa: SLF001
}
"""The next record of a partition is not there, or is damaged: its task stops, the others go on."""

_MENDED = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_MEMBER_ID}
"""Errors of a consumer that the client mends by itself: it looks for the topic again, and joins again."""
