"""Where a letter goes when it is sent back, under which key, with which headers. Pure.

A letter goes back to the input it came from, **under the key it had**, to the partition that murmur2 gives that key. If its
value is an event, the event has the last word, because only so it can be accepted: its key is its order_id, and its topic the
one that carries its type. So ``key_missing``, ``key_mismatch``, ``misrouted`` and ``unexpected_type`` are mended by sending.

It keeps the headers that it had and the count of its deaths. What the families said about its death stays in the inbox: a
second death writes its own, and Kafka Connect would leave the first one's standing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from schemas.codec import PREFIXES, Undecodable, encode
from schemas.documents import EVENT_TYPES
from schemas.events import Event, Record
from schemas.partitioning import partition_of_bytes
from schemas.topics import BY_NAME, INPUTS, TOPICS, Kind, Topic
from schemas.wire import FIXED, ID_HEADER, Wire
from streams.document_files import input_of
from streams.errors import RefusedError
from streams.inbox.letters import ATTEMPT, DeadLetter, Headers

_NOT_FOR_PRODUCERS = tuple(topic.name for topic in TOPICS if topic.kind is not Kind.INPUT)
"""How names of topics end that only a worker writes, of this deployment or another; no header may send a letter there."""


@dataclass(frozen=True)
class Outgoing:
    """A record to send. ``partition`` -1 is any; ``remarks`` say in words what is other than it was."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Routes:
    """The topics of the cluster: ``partition_counts`` by full name, ``prefix`` before the deployment's.

    ``wire`` has the schema ids to write, where a registry gives them.
    """

    prefix: str
    partition_counts: Mapping[str, int]
    wire: Wire = FIXED

    def back(self, letter: DeadLetter) -> Outgoing:
        """Give the letter as it is sent back unchanged.

        Raises:
            RefusedError: nobody knows where it came from, it is not there any more, or it is no topic for letters.
        """
        record, event, home = letter.record, letter.event, self._home(letter)
        if letter.cut:
            raise RefusedError(f"{letter.address} was cut when it was buried: {letter.cut}")
        if isinstance(event, EVENT_TYPES) and self._declared(home) in INPUTS:
            sent = self.event(letter, event)
            return replace(sent, value=record.value, headers=_headers(letter))  # the very bytes, whoever wrote them
        partition = -1
        if record.key is not None:
            partition = partition_of_bytes(record.key, self.partition_counts[home])
        elif letter.source.partition is not None and letter.source.partition < self.partition_counts[home]:
            partition = letter.source.partition
        return Outgoing(home, partition, record.key, record.value, _headers(letter))

    def event(self, letter: DeadLetter, event: Event) -> Outgoing:
        """Give an event that is sent in the letter's place; raises as :meth:`back`."""
        home, key = self._home(letter), event.order_id.encode()
        declared = self._declared(home)
        remarks = []
        if declared is None or type(event) not in declared.values:
            topic = input_of(event)
            remarks.append(f"to {topic.name}, which carries {type(event).__name__}")
            home = topic.named(self.prefix)
            self._check(home, letter)
        if letter.record.key != key:
            had = "no key" if letter.record.key is None else letter.record.key.decode("utf-8", "backslashreplace")
            remarks.append(f"under the key {event.order_id}, its order_id, in place of {had}")
        partition = partition_of_bytes(key, self.partition_counts[home])
        if home == letter.source.topic and letter.source.partition not in {None, partition}:
            remarks.append(f"to partition {partition} in place of {letter.source.partition}")
        prefixes = self.wire.prefixes.get(home.removeprefix(self.prefix), PREFIXES)
        headers = tuple(header for header in _headers(letter) if header[0] != ID_HEADER)  # the id stands in the value
        return Outgoing(home, partition, key, encode(event, prefixes), headers, tuple(remarks))

    def _home(self, letter: DeadLetter) -> str:
        """Give the topic the letter came from: as its headers say, else the input whose dead letters stand there."""
        topic = letter.source.topic or next(
            (topic.named(self.prefix) for topic in INPUTS if topic.dead_letters == letter.address.topic), None
        )
        if topic is None:
            raise RefusedError(f"{letter.address} cannot be sent back: no header says which topic it came from")
        self._check(topic, letter)
        return topic

    def _check(self, topic: str, letter: DeadLetter) -> None:
        if topic.startswith("__") or topic.endswith(_NOT_FOR_PRODUCERS):
            raise RefusedError(f"{letter.address} cannot be sent back: {topic} is not for producers to write")
        if topic not in self.partition_counts:
            raise RefusedError(f"{letter.address} cannot be sent back: the cluster has no topic {topic}")

    def _declared(self, topic: str) -> Topic | None:
        return BY_NAME.get(topic.removeprefix(self.prefix)) if topic.startswith(self.prefix) else None


def event_of(letter: DeadLetter) -> Event | None:
    """Give the letter's event; None when it is not readable, or a record that no input carries."""
    found: Record | Undecodable = letter.event
    return found if isinstance(found, EVENT_TYPES) else None


def _headers(letter: DeadLetter) -> Headers:
    return (*letter.headers, (ATTEMPT, str(letter.attempt).encode()))
