"""The task markers that stand in changelogs, read from their ends and then on and on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from connectors.cluster import Cluster
from connectors.reader import ranges_of, read_topic
from schemas import codec
from schemas.events import TaskMarker
from schemas.topics import MARKER_KEY, Topic

Place: TypeAlias = tuple[str, int]
"""Topic, without prefix, and partition."""
Read: TypeAlias = tuple[list[tuple[Place, TaskMarker]], dict[int, int]]
"""Markers, and by partition where to read on."""
TAIL_RECORDS = 1_000
"""From the end of a changelog at first: a marker is the last record of its transaction, so nearly always one is among them."""
TAIL_FACTOR = 20
"""Behind a marker stands what was aborted since, which can be long: so much more is read of a partition that gave none."""


class Markers:
    """The committed markers of some changelogs. ``newest`` has those of each changelog partition that has any."""

    def __init__(self, cluster: Cluster, prefix: str, changelogs: Iterable[Topic]) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._changelogs = tuple(changelogs)
        self._next: dict[str, dict[int, int]] = {}
        self.newest: dict[Place, TaskMarker] = {}

    def read_on(self, *, settled: bool = False) -> list[tuple[Place, TaskMarker]]:
        """Read the markers that came since the last call, in order per partition; the first call reads the newest at least.

        A call that fails has read nothing of the changelog that it failed at: the next one reads that again.
        ``settled``: those of transactions too that are open now, once they are committed (see :func:`read_topic`).

        Raises:
            ReadError: when the cluster does not answer or a topic is not there.
            Undecodable: when a marker cannot be read.
        """
        found: list[tuple[Place, TaskMarker]] = []
        for changelog in self._changelogs:
            at = self._next.get(changelog.name)
            came, self._next[changelog.name] = self._read(changelog, at, settled) if at else self._first(changelog, settled)
            self.newest.update(came)
            found += came
        return found

    def _first(self, changelog: Topic, settled: bool) -> Read:
        """Read from near the end, and from further back where no marker is found."""
        found: list[tuple[Place, TaskMarker]] = []
        at: dict[int, int] = {}
        left, tail = ranges_of(self._cluster, changelog.named(self._prefix)), TAIL_RECORDS
        while left:
            begins = {partition: max(bounds.end - tail, bounds.begin) for partition, bounds in left.items()}
            came, at = self._read(changelog, at | begins, settled)
            found += came
            told = {partition for (_, partition), _ in found}
            left = {partition: bounds for partition, bounds in left.items() if begins[partition] > bounds.begin}
            left = {partition: bounds for partition, bounds in left.items() if partition not in told}
            tail *= TAIL_FACTOR
        return found, at

    def _read(self, changelog: Topic, begins: Mapping[int, int], settled: bool) -> Read:
        found, at = [], dict(begins)
        for record in read_topic(self._cluster, changelog.named(self._prefix), from_offsets=begins, settled=settled):
            at[record.partition] = record.offset + 1
            if record.key == MARKER_KEY:
                marker = codec.decode(record.value)
                if isinstance(marker, TaskMarker):
                    found.append(((changelog.name, record.partition), marker))
        return found, at
