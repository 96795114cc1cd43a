"""What the records of one epoch hold: read one by one, or all at once in columns. Which of them can be decided, and which cannot.

What columns do not clearly take is read again alone, as every record is without them. So what is accepted, and the reason of
what is not, never depends on the size of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from agents.ports import Columns
from schemas.codec import Undecodable, decode
from schemas.topics import Topic
from schemas.wire import FIXED
from streams.admission import Admission
from streams.dead_letters import Cause
from streams.messages import id_header

if TYPE_CHECKING:
    from streams.column_arrivals import Sorted


class EngineRow:
    """One decoded record: where it came from, and the event."""

    __slots__ = ("event", "message", "partition")

    def __init__(self, message: Message, partition: int, event: Any) -> None:
        self.message = message
        self.partition = partition
        self.event = event


@dataclass(frozen=True)
class Arrived:
    """``dead`` cannot be decided. The others are ``rows``, in order of arrival per partition, or stand in ``columns``."""

    dead: list[tuple[Message, Cause]] = field(default_factory=list)
    rows: list[EngineRow] = field(default_factory=list)
    columns: Columns | None = None


class Reader:
    """Reads the records of one stage's inputs, which are ``topics`` by full name."""

    def __init__(self, topics: Mapping[str, Topic], admission: Admission | None) -> None:
        self._topics = topics
        self._admission = admission
        self._wire = admission.wire if admission else FIXED
        self._expected = {name: frozenset(topic.values) for name, topic in topics.items()}

    def read(self, message: Message) -> EngineRow | Cause:
        """Give the record, or why it cannot be decided."""
        wire, topic = self._wire, message.topic() or ""
        try:
            event = decode(message.value(), wire, id_header(message) if wire.by_registry else None)
            if type(event) not in self._expected[topic]:
                _refuse_type(topic, event)
        except Undecodable as error:
            # The reason says all; where our reader noticed says nothing, and a trace is dear.
            return Cause("undecodable", error.reason, str(error), Undecodable.__qualname__)
        refused = self._admission and self._admission.refusal(self._topics[topic], message, event)
        if refused:
            return Cause("envelope", refused.reason, refused.detail)
        return EngineRow(message, message.partition() or 0, event)

    def one_by_one(self, messages: Sequence[Message]) -> Arrived:
        """Read all of them alone."""
        arrived = Arrived()
        for message in messages:
            found = self.read(message)
            if isinstance(found, Cause):
                arrived.dead.append((message, found))
            else:
                arrived.rows.append(found)
        return arrived

    def columns_of(self, messages: Sequence[Message]) -> Sorted:
        """Give what can be had at once, on any thread."""
        from streams.column_arrivals import frames_of  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has

        headers = {}
        if self._wire.by_registry:
            headers = {at: header for at, message in enumerate(messages) if (header := id_header(message)) is not None}
        return frames_of(messages, headers, self._topics, self._admission)

    def in_columns(self, messages: Sequence[Message], found: Sorted | None = None) -> Arrived:
        """Read them at once, unless that is ``found`` already; what is not clearly good is read alone."""
        frames, doubtful = found or self.columns_of(messages)
        arrived = Arrived(columns=Columns(frames, others := {}))
        for at in doubtful:
            row = self.read(messages[at])
            if isinstance(row, Cause):
                arrived.dead.append((messages[at], row))
            else:
                others[at] = row
        return arrived


def _refuse_type(topic: str, event: object) -> None:
    raise Undecodable("unexpected_type", f"{topic} does not carry {type(event).__name__}")
