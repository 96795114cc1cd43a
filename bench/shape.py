"""The shape of what the product wrote: for each stage and topic the partition and the sizes of every record, in order.

The limit writes records of exactly these sizes to these partitions, so both move the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from connectors.cluster import Cluster
from connectors.reader import ReadRecord, read_topic
from schemas.topics import BY_NAME, Topic
from streams.topology import TOPOLOGY, Stage, Topology


class Size(NamedTuple):
    """One record. ``key_bytes`` and ``value_bytes`` are -1 for null; ``header_bytes`` is names and values together."""

    partition: int
    key_bytes: int
    value_bytes: int
    header_bytes: int


class StageShape(msgspec.Struct, frozen=True):
    """What one stage reads (topics without prefix, records in all) and what it wrote for that."""

    name: str
    reads: tuple[str, ...]
    read_records: int
    writes: dict[str, list[Size]]


def measure(cluster: Cluster, prefix: str, events_count: int, topology: Topology = TOPOLOGY) -> tuple[StageShape, ...]:
    """Read what the product, with this topology, committed under ``prefix`` for ``events_count`` input events.

    Raises:
        ReadError: the cluster does not answer or a topic is not there.
    """
    stages = []
    sizes: dict[str, list[Size]] = {}
    for stage in topology:
        # What several stages write to is counted with the first of them.
        topics = [topic for topic in _written_by(stage) if topic.name not in sizes]
        written = {topic.name: _sizes(read_topic(cluster, topic.named(prefix))) for topic in topics}
        # A stage's input is an earlier stage's output, or what the generator sent.
        internal = [len(sizes[topic.name]) for topic in stage.reads if topic.name in sizes]
        stages.append(StageShape(stage.name, tuple(t.name for t in stage.reads), sum(internal) or events_count, written))
        sizes |= written
    return tuple(stages)


def per_event(stages: Iterable[StageShape], events_count: int) -> dict[str, dict[str, float]]:
    """Give records and bytes per input event for each topic that was written to."""
    found = {}
    for stage in stages:
        for topic, sizes in stage.writes.items():
            total_bytes = sum(sum(max(part, 0) for part in size[1:]) for size in sizes)
            found[topic] = {"records": len(sizes) / events_count, "bytes": total_bytes / events_count}
    return found


def totals(by_topic: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Give records and bytes over all topics."""
    return sum(t["records"] for t in by_topic.values()), sum(t["bytes"] for t in by_topic.values())


def save(stages: tuple[StageShape, ...], file: Path) -> None:
    """Write it for the limit's process."""
    file.write_bytes(msgspec.json.encode(stages))


def load(file: Path) -> tuple[StageShape, ...]:
    """Read what :func:`save` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=tuple[StageShape, ...])


def _written_by(stage: Stage) -> list[Topic]:
    letters = [BY_NAME[topic.dead_letters] for topic in stage.reads if topic.dead_letters]
    return [stage.changelog, *stage.writes, *letters]


def _sizes(records: Iterable[ReadRecord]) -> list[Size]:
    # By time of writing: the reader gives partition after partition, an epoch writes to those that it touched.
    in_order = sorted(records, key=lambda record: record.timestamp_ms)
    return [Size(r.partition, _length(r.key), _length(r.value), _header_bytes(r.headers)) for r in in_order]


def _length(part: bytes | None) -> int:
    return -1 if part is None else len(part)


def _header_bytes(headers: Iterable[tuple[str, bytes | None]]) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
