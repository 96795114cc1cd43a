"""What the newest markers say of tasks that no worker answers for: how they stand, and what they have counted."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.cluster import Cluster
from schemas.codec import Undecodable, decode
from schemas.events import TaskMarker
from schemas.topics import MARKER_KEY
from streams import marker
from streams.lag import offsets_of
from streams.questions import LATEST

TAIL_RECORDS = 10_000
"""From the end of a changelog: a marker is the last record of its transaction; what was aborted since is shorter than that."""
READ_S = 5.0
"""For all changelogs together: who asked for the status waits, and gets it without what was not read by then."""


def newest_markers(
    cluster: Cluster, group_id: str, changelogs: Iterable[marker.TopicPartition]
) -> dict[marker.TopicPartition, TaskMarker]:
    """Give the newest committed marker of each changelog partition that has one near its end.

    Raises:
        KafkaException: the cluster does not answer.
    """
    admin = AdminClient({**cluster.producer(), "log_level": 2})
    ends = offsets_of(admin, changelogs, LATEST, IsolationLevel.READ_COMMITTED)
    left = {where for where, end in ends.items() if end > 0}
    found: dict[marker.TopicPartition, TaskMarker] = {}
    if not left:
        return found
    reading = {"group.id": group_id, "isolation.level": "read_committed", "auto.offset.reset": "earliest"}
    # Its group is the one whoever may ask about the deployment may see; it is never joined, and nothing is committed.
    consumer = Consumer({**cluster.consumer(), **reading, "enable.auto.commit": False, "log_level": 2})
    try:
        consumer.assign([TopicPartition(*where, max(ends[where] - TAIL_RECORDS, 0)) for where in left])
        deadline_s = time.monotonic() + READ_S
        while left and time.monotonic() < deadline_s:
            for message in consumer.consume(1_000, 0.1):
                if message.error() is None and message.key() == MARKER_KEY:
                    newest = _read(message.value())
                    if newest is not None:
                        found[message.topic() or "", message.partition() or 0] = newest
            at = consumer.position([TopicPartition(*where) for where in left])
            left -= {(p.topic, p.partition) for p in at if p.offset >= ends[p.topic, p.partition]}
    finally:
        consumer.close()
    return found


def _read(value: bytes | None) -> TaskMarker | None:
    try:
        newest = decode(value)
    except Undecodable:
        return None  # of a newer version; who owns the task says so
    return newest if isinstance(newest, TaskMarker) else None
