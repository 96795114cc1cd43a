"""Records in columns: those that are good beyond doubt, by record type; which ones are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from confluent_kafka import Message
from msgspec import Struct
from polars import col

from schemas.columns import as_records, empty_records, fixed
from schemas.extension import extension
from schemas.topics import Kind, Topic
from streams.admission import Admission

Sorted = tuple[Mapping[type[Struct], pl.DataFrame], list[int]]
"""Columns by record type of what is clearly good, and the places of all else, ascending."""


def frames_of(
    messages: Sequence[Message], headers: Mapping[int, bytes], topics: Mapping[str, Topic], admission: Admission | None
) -> Sorted:
    """Give the columns of ``agents.ports.Columns`` of all good records, and the places of all others.

    Args:
        messages: of the inputs of one stage.
        headers: by place, the schema ids that stand in headers.
        topics: the inputs, by full name.
        admission: what schema ids mean, and which envelopes are admitted.
    """
    arrived = pl.DataFrame(
        {
            "topic": [message.topic() for message in messages],
            "partition": pl.Series([message.partition() for message in messages], dtype=pl.Int32),
            "key": pl.Series([message.key() for message in messages], dtype=pl.Binary),
            "appended_at_ms": [message.timestamp()[1] for message in messages],
        }
    ).with_row_index("at")
    arrived = arrived.with_columns(col("at").cast(pl.Int64))
    polled = (admission.columns if admission else fixed()).decode([message.value() for message in messages], headers)
    doubtful = {*polled.unserved, *(refusal.index for refusal in polled.refused)}
    frames = {}
    for kind in {kind for topic in topics.values() for kind in topic.values} | polled.frames.keys():
        decoded = polled.frames.get(kind)
        if decoded is None:
            frames[kind] = empty_records(kind).hstack(arrived[:0].select("at", "partition"))
            continue
        found = as_records(kind, decoded.frame).hstack(arrived[decoded.indexes])
        good = pl.concat([_good(part, kind, topics[name], name, admission) for (name,), part in found.group_by("topic")])
        doubtful |= set(found["at"]) - set(good["at"])
        frames[kind] = good.sort("at").drop("topic", "key", "appended_at_ms")
    return frames, sorted(doubtful)


def _good(part: pl.DataFrame, kind: type[Struct], topic: Topic, name: str, admission: Admission | None) -> pl.DataFrame:
    """Give the records of one topic that its stage may decide: of a type that it carries, and in a right envelope."""
    if kind not in topic.values:
        return part[:0]
    if admission is None or topic.kind is not Kind.INPUT:
        return part
    keys = part[topic.key].cast(pl.Binary)
    count = admission.partition_counts.get(name, topic.partitions)
    wanted = pl.Series(extension().partitions(part.select(topic.key).__arrow_c_stream__(), count), dtype=pl.Int32)
    ahead_ms = part["occurred_at_ms"] - part["appended_at_ms"]
    return part.filter((part["key"] == keys) & (part["partition"] == wanted) & (ahead_ms <= admission.future_max_ms))
