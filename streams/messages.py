"""Small readings of the client's messages."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from confluent_kafka import Message

from schemas.wire import ID_HEADER
from streams.marker import TopicPartition

Run = tuple[TopicPartition, list[Message]]
"""Records of one partition that stand side by side in a poll; the client gives hundreds of one partition, then of the next."""


def runs_of(messages: Iterable[Message]) -> list[Run]:
    """Give records by the partition that they are of, in their order."""
    by_partition = groupby(messages, key=lambda message: (message.topic(), message.partition()))
    return [(where, list(run)) for where, run in by_partition]


def list_headers(message: Message) -> list[tuple[str, bytes | None]]:
    """Give a record's headers in their order, names may repeat; the client's stub knows them only roughly."""
    headers: list[tuple[str, bytes | None]] = message.headers() or []  # type: ignore[assignment]
    return headers


def id_header(message: Message) -> bytes | None:
    """Give the header that has the value's schema id, if there is one."""
    if message.headers() is None:
        return None
    return next((value for name, value in list_headers(message) if name == ID_HEADER), None)
