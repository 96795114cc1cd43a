"""Everything committed that a judgement looks at, read once; names are the declared ones, without prefix."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.cluster import Cluster
from connectors.reader import ReadRecord, end_offsets, read_group_offsets, read_topic
from schemas import codec
from schemas.events import TaskMarker
from schemas.topics import (
    MARKER_KEY,
    ORDER_STATUS,
    ORDERS,
    ORDERS_DLQ,
    PAYMENTS,
    PAYMENTS_DLQ,
    REVENUE_BY_MERCHANT_1M,
    REVENUE_CHANGELOG,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    UNMATCHED_PAYMENTS,
    Topic,
)

JUDGED = (ORDER_STATUS, REVENUE_BY_MERCHANT_1M, UNMATCHED_PAYMENTS, ORDERS_DLQ, PAYMENTS_DLQ)
"""The topics whose records are compared one by one."""


@dataclass(frozen=True)
class World:
    """What is on the cluster.

    Attributes:
        prefix: of the deployment's topics; some headers carry full names.
        records: committed records of each topic in :data:`JUDGED`, in order per partition.
        ends: end offsets of the inputs and of ``revenue-deltas``, by topic and partition.
        delta_ends: behind the last committed data record of each ``revenue-deltas`` partition that has one.
        deltas_count: committed records of ``revenue-deltas``.
        committed: the group's committed offsets, by topic and partition.
        markers: the newest marker of each changelog partition that has one.
    """

    prefix: str
    records: dict[str, list[ReadRecord]]
    ends: dict[tuple[str, int], int]
    delta_ends: dict[int, int]
    deltas_count: int
    committed: dict[tuple[str, int], int]
    markers: dict[tuple[str, int], TaskMarker]


def read_world(cluster: Cluster, prefix: str, group_id: str) -> World:
    """Read what is committed now.

    Raises:
        ReadError: when the cluster does not answer or a topic is not there.
        Undecodable: when a changelog's newest marker cannot be read.
    """
    records = {topic.name: list(read_topic(cluster, topic.named(prefix))) for topic in JUDGED}
    ends = {
        (topic.name, partition): end
        for topic in (ORDERS, PAYMENTS, REVENUE_DELTAS)
        for partition, end in end_offsets(cluster, topic.named(prefix)).items()
    }
    delta_ends: dict[int, int] = {}
    deltas_count = 0
    for record in read_topic(cluster, REVENUE_DELTAS.named(prefix)):
        delta_ends[record.partition] = record.offset + 1
        deltas_count += 1
    committed = {
        (topic_name.removeprefix(prefix), partition): offset
        for (topic_name, partition), offset in read_group_offsets(cluster, group_id).items()
        if topic_name.startswith(prefix)
    }
    markers: dict[tuple[str, int], TaskMarker] = {}
    for changelog in (SETTLEMENT_CHANGELOG, REVENUE_CHANGELOG):
        markers |= _newest_markers(cluster, prefix, changelog)
    return World(prefix, records, ends, delta_ends, deltas_count, committed, markers)


def _newest_markers(cluster: Cluster, prefix: str, changelog: Topic) -> dict[tuple[str, int], TaskMarker]:
    newest = {
        record.partition: record.value for record in read_topic(cluster, changelog.named(prefix)) if record.key == MARKER_KEY
    }
    markers = {(changelog.name, partition): codec.decode(value) for partition, value in newest.items()}
    return {place: marker for place, marker in markers.items() if isinstance(marker, TaskMarker)}
