"""Everything committed that a judgement looks at, read once; names are the declared ones, without prefix.

Time goes on while it is read, also when nothing more is sent: idle tasks move their watermarks, and windows become
final. So markers are read before everything else and after it, and what happened in between may be there or not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from connectors.cluster import Cluster
from connectors.markers import Markers, Place
from connectors.reader import ReadRecord, end_offsets, read_group_offsets, read_topic
from schemas.events import TaskMarker
from schemas.topics import CONTROL_TOTALS, CUSTOMER_DELTAS, INPUTS, REVENUE_DELTAS, TOPICS, Kind

JUDGED = tuple(topic for topic in TOPICS if topic.kind in {Kind.OUTPUT, Kind.DLQ} and topic is not CONTROL_TOTALS)
"""The topics whose records are compared one by one. What tasks have counted is looked up in their markers."""
SHUFFLES = (REVENUE_DELTAS, CUSTOMER_DELTAS)
CHANGELOGS = tuple(topic for topic in TOPICS if topic.kind is Kind.CHANGELOG)
WATERMARK = "watermark_ms"
"""The counter of a task that says how far it is in event time."""


@dataclass(frozen=True)
class World:
    """What is on the cluster.

    Attributes:
        prefix: of the deployment's topics; some headers carry full names.
        records: committed records of each topic in :data:`JUDGED` and :data:`SHUFFLES`, in order per partition.
        ends: end offsets of the inputs and of the shuffle topics.
        committed: the group's committed offsets.
        markers: the newest marker of each changelog partition that has one, read last.
        earlier: the newest markers when the reading began.
    """

    prefix: str
    records: dict[str, list[ReadRecord]]
    ends: dict[Place, int]
    committed: dict[Place, int]
    markers: dict[Place, TaskMarker]
    earlier: dict[Place, TaskMarker]

    @cached_property
    def shuffled(self) -> dict[Place, list[ReadRecord]]:
        """The records of each partition of the shuffle topics."""
        found: defaultdict[Place, list[ReadRecord]] = defaultdict(list)
        for topic in SHUFFLES:
            for record in self.records[topic.name]:
                found[topic.name, record.partition].append(record)
        return dict(found)

    def watermarks_ms(self, changelog: str, partition: int) -> tuple[int, int]:
        """Give how far a task was in event time before the records were read, and after."""
        markers = self.earlier.get((changelog, partition)), self.markers.get((changelog, partition))
        before_ms, after_ms = (marker.counters.get(WATERMARK, 0) if marker else 0 for marker in markers)
        return before_ms, after_ms


def read_world(cluster: Cluster, prefix: str, group_id: str) -> World:
    """Read what is committed now.

    Raises:
        ReadError: when the cluster does not answer or a topic is not there.
        Undecodable: when a marker cannot be read.
    """
    markers = Markers(cluster, prefix, CHANGELOGS)
    markers.read_on()
    earlier = dict(markers.newest)
    records = {topic.name: list(read_topic(cluster, topic.named(prefix))) for topic in JUDGED}
    committed = {
        (topic_name.removeprefix(prefix), partition): offset
        for (topic_name, partition), offset in read_group_offsets(cluster, group_id).items()
        if topic_name.startswith(prefix)
    }
    ends = {
        (topic.name, partition): end
        for topic in (*INPUTS, *SHUFFLES)
        for partition, end in end_offsets(cluster, topic.named(prefix)).items()
    }
    markers.read_on()
    # Behind the markers: what these say was consumed is there.
    records |= {topic.name: list(read_topic(cluster, topic.named(prefix))) for topic in SHUFFLES}
    return World(prefix, records, ends, committed, markers.newest, earlier)
