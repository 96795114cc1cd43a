"""Messages and tasks made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Message

from schemas.codec import encode
from schemas.events import Record
from streams.tasks import Task, Tasks, TaskState
from streams.topology import TOPOLOGY, Stage

PREFIX = "t."
SETTLEMENT: Stage = TOPOLOGY[0]
REVENUE: Stage = TOPOLOGY[1]


@dataclass(frozen=True)
class _Message:
    """What the engine asks of a ``confluent_kafka.Message``."""

    _topic: str
    _partition: int
    _offset: int
    _value: bytes | None
    _key: bytes | None
    _timestamp_ms: int
    _headers: list[tuple[str, bytes | None]] | None

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 2, self._timestamp_ms

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers


def message(
    topic: str,
    offset: int,
    value: Record | bytes | None,
    *,
    partition: int = 0,
    key: bytes | None = b"o-1",
    timestamp_ms: int = 1_795_000_000_000,
    headers: list[tuple[str, bytes | None]] | None = None,
) -> Message:
    """Give a consumed message; ``topic`` is the declared name."""
    data = value if value is None or isinstance(value, bytes) else encode(value)
    made: Any = _Message(PREFIX + topic, partition, offset, data, key, timestamp_ms, headers)
    return cast("Message", made)


def running_task(tasks: Tasks, stage: Stage, partition: int, next_offsets: tuple[int, ...]) -> Task:
    """Own every input of one task and let it run from ``next_offsets`` (one per topic that the stage reads)."""
    inputs = [(topic.named(PREFIX), partition) for topic in stage.reads]
    (task,) = tasks.assign(inputs)
    task.state = TaskState.RUNNING
    task.next_offsets = dict(zip(inputs, next_offsets, strict=True))
    return task
