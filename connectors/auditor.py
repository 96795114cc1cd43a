"""Reads what an audit needs of a cluster, in the order that makes it one moment."""

from __future__ import annotations

from collections.abc import Callable

from connectors.audit import STAGES, Carried, Cut, carried, closed, in_flight
from connectors.cluster import Cluster
from connectors.markers import Markers
from connectors.reader import ReadError, ReadRecord, read_topic
from schemas import codec
from schemas.events import Deltas, TaskMarker
from schemas.topics import CUSTOMERS_CHANGELOG, REVENUE_CHANGELOG, REVENUE_DELTAS, SETTLEMENT_CHANGELOG
from schemas.wire import FIXED, Wire

ATTEMPTS_MAX = 20
"""Each goes on behind the last; the second nearly always finds what the first did, however busy the workers are."""


class NoCutError(Exception):
    """No moment could be looked at: the books may balance or not."""


class Auditor:
    """Gives one cut after the other. ``wire_of`` says which ids the records of ``revenue-deltas`` are written with."""

    def __init__(self, cluster: Cluster, prefix: str, wire_of: Callable[[ReadRecord], Wire] = lambda _: FIXED) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._wire_of = wire_of
        self._windows = Markers(cluster, prefix, (REVENUE_CHANGELOG, CUSTOMERS_CHANGELOG))
        self._settlement = Markers(cluster, prefix, (SETTLEMENT_CHANGELOG,))

    def cut(self) -> Cut:
        """Give the books at one moment a little before now.

        Windows first, then settlement: so whatever revenue has read, settlement's markers have too. These and the deltas are
        read behind every transaction that is open (``settled``), for what is committed is not visible everywhere at once.

        Raises:
            NoCutError: transactions were split again and again.
            ReadError: when the cluster does not answer or a topic is not there.
            Undecodable: when a record of ours cannot be read.
        """
        self._windows.read_on()
        self._settlement.read_on(settled=True)
        markers = {partition: marker for (_, partition), marker in self._settlement.newest.items()}
        first = {partition: marker.epoch for partition, marker in markers.items()}
        epochs, unread = self._closed(first)
        if epochs != first:
            later = self._settlement.read_on(settled=True)
            markers |= {place[1]: marker for place, marker in later if marker.epoch == epochs.get(place[1])}
        if {partition: marker.epoch for partition, marker in markers.items()} != epochs:
            raise NoCutError("markers that deltas speak of are not in settlement's changelog: it lost its end, or was compacted")
        return Cut(self._counters(markers), in_flight(epochs, unread))

    def _closed(self, first: dict[int, int]) -> tuple[dict[int, int], list[Carried]]:
        """Give the cut and what revenue had not read; it is one only if it was known before the deltas were read to their end."""
        epochs = first
        begins = self._positions()
        unread: list[Carried] = []
        for _ in range(ATTEMPTS_MAX):
            name = REVENUE_DELTAS.named(self._prefix)
            for record in read_topic(self._cluster, name, from_offsets=begins, settled=True):
                begins[record.partition] = record.offset + 1
                unread.append(self._carried(record))
            reached = closed(epochs, unread)
            if reached == epochs:
                return epochs, unread
            epochs = reached
        raise NoCutError(f"no consistent moment was found in {ATTEMPTS_MAX} attempts: try again when the workers have less to do")

    def _positions(self) -> dict[int, int]:
        """Give where revenue's markers stand in the deltas."""
        name = REVENUE_DELTAS.named(self._prefix)
        markers = [marker for (changelog, _), marker in self._windows.newest.items() if changelog == REVENUE_CHANGELOG.name]
        return {at.partition: at.next_offset for marker in markers for at in marker.positions if at.topic == name}

    def _carried(self, record: ReadRecord) -> Carried:
        deltas = codec.decode(record.value, self._wire_of(record))
        if not isinstance(deltas, Deltas):
            raise ReadError(f"{record.topic}/{record.partition} at offset {record.offset} has a {type(deltas).__name__}")
        return carried(deltas)

    def _counters(self, settlement: dict[int, TaskMarker]) -> dict[str, dict[str, int]]:
        markers = {**self._windows.newest, **{(SETTLEMENT_CHANGELOG.name, number): each for number, each in settlement.items()}}
        stages = {changelog.name: stage for stage, changelog in STAGES.items()}
        return {f"{stages[changelog]}/{partition}": marker.counters for (changelog, partition), marker in markers.items()}
