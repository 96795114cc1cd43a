"""Which windows that have a row are not final yet: the topics of aggregates read once, and then on and on."""

from __future__ import annotations

from connectors.cluster import Cluster
from connectors.compare_tables import AGGREGATES
from connectors.reader import read_topic
from schemas import codec
from schemas.wire import FIXED, Wire

WindowKey = tuple[str, bytes | None]
"""Topic, without prefix, and key of a row."""


class OpenWindows:
    """Follows a deployment's windows.

    Attributes:
        provisional: the windows whose newest row is provisional.
        finals: the windows that are final, each with its end in event time, milliseconds.
    """

    def __init__(self, cluster: Cluster, prefix: str, wire: Wire = FIXED) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._wire = wire
        self._next: dict[tuple[str, int], int] = {}
        self.provisional: set[WindowKey] = set()
        self.finals: dict[WindowKey, int] = {}

    @property
    def all_final(self) -> bool:
        """Whether there are windows, and every one is final."""
        return bool(self.finals) and not self.provisional

    def read_on(self) -> None:
        """Read what was committed since the last call.

        Raises:
            ReadError: when the cluster does not answer or a topic is not there.
            Undecodable: when a row cannot be read.
        """
        for aggregate in AGGREGATES:
            name = aggregate.topic.name
            begins = {partition: at for (topic, partition), at in self._next.items() if topic == name}
            for record in read_topic(self._cluster, aggregate.topic.named(self._prefix), from_offsets=begins):
                self._next[name, record.partition] = record.offset + 1
                row, window = codec.decode(record.value, self._wire), (name, record.key)
                if row.status == "final":  # type: ignore[union-attr]
                    self.finals[window] = row.window_end_ms  # type: ignore[union-attr]
                    self.provisional.discard(window)
                else:
                    self.provisional.add(window)
