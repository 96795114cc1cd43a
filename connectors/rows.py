"""Records of a topic as rows: what can be read, where it must be, how it is worded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from connectors.reader import ReadRecord
from connectors.verdict import Problem
from schemas import codec, events
from schemas.partitioning import partition_of
from schemas.topics import Topic


class Place(NamedTuple):
    """Where a row must be: its key, and whose partition."""

    key: str
    owner: str


def by_order(row: Any) -> Place:
    """Give the place of a row of one order."""
    return Place(row.order_id, row.order_id)


def rows_of(
    topic: Topic, records: Iterable[ReadRecord], place_of: Callable[[Any], Place], problems: list[Problem]
) -> Iterator[tuple[ReadRecord, str, Any]]:
    """Give ``(record, key, row)`` of all that can be read; add to ``problems`` what cannot, and what is in a wrong place."""
    row_type = topic.values[0]
    for record in records:
        key, row = key_text(record.key), decoded(record.value)
        if not isinstance(row, row_type):
            problems.append(Problem("conflicting", topic.name, key, f"a {row_type.__name__}", str(row)))
            continue
        right = place_of(row)
        if key != right.key:
            problems.append(Problem("conflicting", topic.name, key, f"the key of its row, {right.key}", key))
        partition = partition_of(right.owner, topic.partitions)
        if record.partition != partition:
            where = f"partition {partition} of {right.owner}"
            problems.append(Problem("conflicting", topic.name, key, where, f"partition {record.partition}"))
        yield record, key, row


def decoded(value: bytes | None) -> events.Record | str:
    """Give the record, or the sentence that says why there is none."""
    try:
        return codec.decode(value)
    except codec.Undecodable as error:
        return str(error)


def key_text(key: bytes | None) -> str:
    """Give a key for people."""
    return "no key" if key is None else text_of(key)


def text_of(value: bytes | None) -> str:
    """Give bytes as text, whatever they are."""
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def fields_text(row: Mapping[str, Any]) -> str:
    """Give a row for people."""
    return ", ".join(f"{name} {value}" for name, value in row.items())


def said(row: msgspec.Struct) -> str:
    """Give a record for people."""
    return fields_text(msgspec.structs.asdict(row))
