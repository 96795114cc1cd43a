"""The state that is open, as the changelogs say it: which rows live, how large they are, and what tasks have counted.

It is read beside the worker, so what the worker keeps in memory and on disk is compared with what is committed.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from connectors.cluster import Cluster
from connectors.markers import Place
from connectors.reader import READER_GROUP, ReadError
from schemas import codec
from schemas.events import TaskMarker
from schemas.topics import MARKER_KEY, SETTLEMENT_CHANGELOG, TOPICS, Kind

CHANGELOGS = tuple(topic for topic in TOPICS if topic.kind is Kind.CHANGELOG)
READ_RECORDS = 10_000
"""Taken from the client at once."""
_SEPARATOR = b"/"


class OpenState:
    """Follows the changelogs of a deployment from their beginning. ``rows`` and ``size_bytes`` (keys and values) are by table."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._prefix = prefix
        self._sizes: dict[tuple[int, bytes], int] = {}
        self._markers: dict[Place, TaskMarker] = {}
        self.rows: Counter[str] = Counter()
        self.size_bytes: Counter[str] = Counter()
        self._consumer = Consumer({
            **cluster.consumer(), "client.id": "tally-bench-state", "group.id": READER_GROUP, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "isolation.level": "read_committed", "fetch.wait.max.ms": 100,
        })  # fmt: skip

    def __enter__(self) -> Self:
        """Begin to follow."""
        places = [TopicPartition(topic.named(self._prefix), n, 0) for topic in CHANGELOGS for n in range(topic.partitions)]
        self._consumer.assign(places)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        """Let go of the cluster."""
        self._consumer.close()

    def read_on(self, wait_s: float = 0.1) -> int:
        """Take what was committed since the last call, up to some thousands of records, and give how many these were.

        Raises:
            ReadError: the cluster refused.
        """
        messages = self._consumer.consume(READ_RECORDS, wait_s)
        for message in messages:
            if (error := message.error()) is not None:
                raise ReadError(f"reading {message.topic()} failed: {error.str()}")
            self.take(
                (message.topic() or "").removeprefix(self._prefix), message.partition() or 0, message.key(), message.value()
            )
        return len(messages)

    def take(self, changelog: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Take one record of a changelog (named without prefix)."""
        if key is None:
            return
        if key == MARKER_KEY:
            marker = codec.decode(value)
            if isinstance(marker, TaskMarker):
                self._markers[changelog, partition] = marker
            return
        # Tables have names of their own in all stages, and so do tasks by their number.
        table = key.partition(_SEPARATOR)[0].decode()
        was_bytes = self._sizes.pop((partition, key), None)
        if was_bytes is not None:
            self.rows[table] -= 1
            self.size_bytes[table] -= was_bytes
        if value is not None:
            is_bytes = len(key) - len(table) - 1 + len(value)
            self._sizes[partition, key] = is_bytes
            self.rows[table] += 1
            self.size_bytes[table] += is_bytes

    def consumed(self) -> int:
        """Give how many input events settlement has committed."""
        markers = [marker for (changelog, _), marker in self._markers.items() if changelog == SETTLEMENT_CHANGELOG.name]
        return sum(marker.counters.get("consumed", 0) for marker in markers)
