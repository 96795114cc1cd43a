"""What an agent is handed: the records of one epoch for its stage, over all its tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from confluent_kafka import Message

from agents.outcomes import Decision, Duplicate, Rejected
from agents.ports import Row
from schemas.codec import Undecodable, decode, encode
from schemas.events import Record
from schemas.topics import BY_NAME, Topic
from streams.dead_letters import Cause, dead_letter_headers
from streams.effects import Effects
from streams.messages import list_headers
from streams.tasks import Task
from streams.topology import Stage

S = TypeVar("S")


class EngineRow:
    """One decoded record: where it came from, and the event."""

    __slots__ = ("event", "message", "partition")

    def __init__(self, message: Message, partition: int, event: Any) -> None:
        self.message = message
        self.partition = partition
        self.event = event


@dataclass(frozen=True)
class RawColumns:
    """The batch as columns of what came over the wire, for agents that work on columns."""

    partitions: list[int]
    offsets: list[int]
    timestamps_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]


class EngineBatch:
    """Implements :class:`agents.ports.Batch`; decodes when first asked, once, however often it is redone."""

    def __init__(self, stage: Stage, prefix: str, messages: list[Message], tasks: dict[int, Task]) -> None:
        self.stage = stage
        self.messages = messages
        self.tasks = tasks
        self.finished: asyncio.Future[None] | None = None
        self._prefix = prefix
        self._topics = {topic.named(prefix): topic for topic in stage.reads}
        self._effects = Effects()
        self._decoded: tuple[list[EngineRow], list[tuple[Message, Undecodable]]] | None = None
        self._now_ms: Callable[[], int] = lambda: 0

    def begin(self, effects: Effects, now_ms: Callable[[], int]) -> None:
        """Start over: count the records and bury what cannot be read."""
        self._effects = effects
        self._now_ms = now_ms
        consumed = Counter(message.partition() for message in self.messages)
        for partition, count in consumed.items():
            self.count(partition or 0, "consumed", count)
        for message, error in self._decode_once()[1]:
            self._bury(message, Cause("undecodable", error.reason, str(error), error))

    @property
    def rows(self) -> Sequence[Row]:
        """What could be decoded, in order of arrival per partition."""
        return self._decode_once()[0]

    @cached_property
    def columns(self) -> RawColumns:
        """The same records as columns, undecoded."""
        messages = self.messages
        return RawColumns(
            partitions=[message.partition() or 0 for message in messages],
            offsets=[message.offset() or 0 for message in messages],
            timestamps_ms=[message.timestamp()[1] for message in messages],
            keys=[message.key() for message in messages],
            values=[message.value() for message in messages],
        )

    def attempt(
        self, row: Row, decide: Callable[[Any, Any], Decision[S] | Duplicate | Rejected], state: S | None
    ) -> Decision[S] | None:
        """Run ``decide`` and count the outcome; None: a duplicate or a dead letter."""
        try:
            outcome = decide(state, row.event)
        except Exception as error:  # noqa: BLE001 - I8: the record is buried with the reason, its neighbours go on
            cause = Cause("exception", type(error).__name__, f"decide raised {type(error).__name__}: {error}", error)
            self._bury(row.message, cause)  # type: ignore[attr-defined]
            return None
        if type(outcome) is Decision:
            self._effects.count(self.tasks[row.partition], "applied", 1)
            return outcome
        if isinstance(outcome, Rejected):
            self._bury(row.message, Cause("rule", outcome.reason, outcome.detail))  # type: ignore[attr-defined]
        else:
            self._effects.count(self.tasks[row.partition], "duplicates", 1)
        return None

    def emit(self, topic: Topic, key: bytes, value: Record, partition: int | None = None) -> None:
        """Write a record in this epoch's transaction."""
        self._effects.write(topic, topic.named(self._prefix), key, encode(value), -1 if partition is None else partition)

    def count(self, partition: int, name: str, amount: int) -> None:
        """Add to a running counter of the task."""
        self._effects.count(self.tasks[partition], name, amount)

    def only(self, tasks: Iterable[Task]) -> EngineBatch:
        """Give the same batch without the records of other tasks."""
        kept = {task.partition: task for task in tasks if task.stage is self.stage}
        messages = [message for message in self.messages if message.partition() in kept]
        return EngineBatch(self.stage, self._prefix, messages, kept)

    def _decode_once(self) -> tuple[list[EngineRow], list[tuple[Message, Undecodable]]]:
        if self._decoded is None:
            rows: list[EngineRow] = []
            dead: list[tuple[Message, Undecodable]] = []
            expected = {name: frozenset(topic.values) for name, topic in self._topics.items()}
            for message in self.messages:
                try:
                    event = decode(message.value())
                    if type(event) not in expected[message.topic()]:  # type: ignore[index]
                        _refuse_type(event, message)
                except Undecodable as error:
                    dead.append((message, error))
                else:
                    rows.append(EngineRow(message, message.partition(), event))  # type: ignore[arg-type]
            self._decoded = rows, dead
        return self._decoded

    def _bury(self, message: Message, cause: Cause) -> None:
        topic = self._topics[message.topic() or ""]
        if topic.dead_letters is None:
            raise PoisonedInternalTopicError(message, cause)
        partition, offset = message.partition() or 0, message.offset() or 0
        headers = dead_letter_headers(
            cause,
            topic=message.topic() or "",
            partition=partition,
            offset=offset,
            agent=self.stage.name,
            at_ms=self._now_ms(),
            original=list_headers(message),
        )
        dlq = BY_NAME[topic.dead_letters]
        self._effects.bury(dlq, dlq.named(self._prefix), message, headers)
        self._effects.count(self.tasks[partition], "dead", 1)
        self._effects.count(self.tasks[partition], f"dead|{cause.reason}", 1)


class PoisonedInternalTopicError(Exception):
    """A record of an internal topic cannot be processed: only a bug of ours can have written it, so the task stops."""

    def __init__(self, message: Message, cause: Cause) -> None:
        where = f"{message.topic()}/{message.partition()} at offset {message.offset()}"
        super().__init__(f"{where}: {cause.message}; {message.topic()} has no dead-letter topic")


def _refuse_type(event: object, message: Message) -> None:
    raise Undecodable("unexpected_type", f"{message.topic()} does not carry {type(event).__name__}")
