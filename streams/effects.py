"""What an epoch wants to write. Thrown away whole when the epoch is redone, committed whole otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

from confluent_kafka import Message

from schemas.topics import Topic
from streams.dead_letters import Headers, cut_to_fit, headers_bytes
from streams.tasks import Task

RECORD_OVERHEAD_BYTES = 200
"""Of one record in its own batch: 61 bytes of batch header, varints, and slack for compression that does not help."""

HEADER_OVERHEAD_BYTES = 10
"""Of one header: two lengths as varints of at most five bytes."""
AGAIN = "again"
"""The counter in which a task keeps that its agent asked for another epoch, until it has had it: 1, else none."""
MAX_SEND_BYTES = 1_048_588
"""Of what Faust sends on topics that we do not declare: Kafka's own default."""


class Output(NamedTuple):
    """One record to produce; ``partition`` -1 lets murmur2 of the key decide; ``timestamp_ms`` 0 is now."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    headers: Headers | None = None
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outputs:
    """Records of one topic, a value for each key, and nothing that is made for each of them alone."""

    topic: str
    keys: Sequence[bytes]
    values: Collection[bytes | None]
    partition: int = -1


class RecordTooLargeError(Exception):
    """A record above its topic's limit; Kafka would abort the whole transaction for it, so it is never produced."""


class Effects:
    """Outputs, counters, dead records and tasks that want another epoch, of one attempt; table rows are pending in the tables.

    ``in_columns`` counts by stage the records that were decided in columns.
    """

    def __init__(self) -> None:
        self.outputs: list[Output | Outputs] = []
        self.counters: dict[Task, Counter[str]] = {}
        self.dead: dict[Task, list[Message]] = {}
        self.again: set[Task] = set()
        self.in_columns: Counter[str] = Counter()

    def write(self, topic: Topic, name: str, key: bytes, value: bytes, partition: int) -> None:
        """Add an output record.

        Raises:
            RecordTooLargeError: it is larger than its topic takes.
        """
        check_size(topic, len(key) + len(value))
        self.outputs.append(Output(name, key, value, partition))

    def write_many(self, topic: Topic, name: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Add output records whose keys decide where they go.

        Raises:
            RecordTooLargeError: one is larger than its topic takes.
        """
        check_size(topic, max(map(add, map(len, keys), map(len, values)), default=0))
        self.outputs.append(Outputs(name, keys, values))

    def bury(self, task: Task, topic: Topic, name: str, message: Message, headers: Headers) -> None:
        """Add a dead letter of a task: key, value and timestamp as they came, cut if the topic takes no record of that size."""
        limit_bytes = topic.max_message_bytes - RECORD_OVERHEAD_BYTES - HEADER_OVERHEAD_BYTES * len(headers)
        key, value, headers = cut_to_fit(message.key(), message.value(), headers, limit_bytes)
        timestamp_ms = max(message.timestamp()[1], 0)
        self.dead.setdefault(task, []).append(message)
        self.outputs.append(Output(name, key, value, -1, headers, timestamp_ms))

    def count(self, task: Task, name: str, amount: int) -> None:
        """Add to one of the task's running counters."""
        counter = self.counters.get(task)
        if counter is None:
            counter = self.counters[task] = Counter()
        counter[name] += amount


def check_send(output: Output) -> int:
    """Give the size in bytes; refuse what the client or the broker would refuse: in a transaction it costs everybody's epoch.

    Raises:
        RecordTooLargeError: it is larger than a topic takes by default.
        TypeError: key, value or a header are not bytes.
    """
    headers = output.headers or []
    for name, part in [("key", output.key), ("value", output.value), *((f"header {name}", value) for name, value in headers)]:
        if not isinstance(part, bytes | None):
            raise TypeError(f"the {name} sent to {output.topic} is {type(part).__name__}, not bytes: give its topic a serializer")
    size = len(output.key or b"") + len(output.value or b"") + headers_bytes(headers) + HEADER_OVERHEAD_BYTES * len(headers)
    if size + RECORD_OVERHEAD_BYTES > MAX_SEND_BYTES:
        raise RecordTooLargeError(f"a record of {size} bytes is too large for {output.topic}: it takes {MAX_SEND_BYTES}")
    return size


def check_size(topic: Topic, size_bytes: int) -> None:
    """Refuse what the broker would refuse.

    Raises:
        RecordTooLargeError: with the numbers.
    """
    if size_bytes + RECORD_OVERHEAD_BYTES > topic.max_message_bytes:
        raise RecordTooLargeError(
            f"a record of {size_bytes} bytes does not fit {topic.name}, which takes {topic.max_message_bytes}: "
            "nothing was written; raise the topic's max.message.bytes and max_message_bytes in schemas/topics.py"
        )
