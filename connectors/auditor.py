"""Reads what an audit needs of a cluster, in the order that makes it one moment."""

from __future__ import annotations

from collections.abc import Callable

from connectors.audit import STAGES, Carried, Cut, carried, closed, in_flight
from connectors.balance import account
from connectors.cluster import Cluster
from connectors.ground_truth import Money
from connectors.markers import Markers
from connectors.minute_rows import minute_rows
from connectors.reader import ReadError, ReadRecord, read_topic
from schemas import codec
from schemas.events import Deltas, TaskMarker
from schemas.topics import CUSTOMERS_CHANGELOG, REVENUE_CHANGELOG, REVENUE_DELTAS, SETTLEMENT_CHANGELOG
from schemas.wire import FIXED, Wire


class NoCutError(ReadError):
    """The moment could not be looked at: the books may balance or not."""


class Auditor:
    """Gives one cut after the other. ``wire_of`` says which ids the records that it reads are written with."""

    def __init__(self, cluster: Cluster, prefix: str, wire_of: Callable[[ReadRecord], Wire] = lambda _: FIXED) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._wire_of = wire_of
        self._windows = Markers(cluster, prefix, (REVENUE_CHANGELOG, CUSTOMERS_CHANGELOG))
        self._settlement = Markers(cluster, prefix, (SETTLEMENT_CHANGELOG,))

    def cut(self, *, with_rows: bool = False) -> Cut:
        """Give the books at one moment, not before now; ``with_rows``: and what stands in the one-minute windows.

        Windows first, then settlement: so whatever revenue has read, settlement's markers have too. These and the deltas are
        read behind every transaction that is open (``settled``), for what is committed is not visible everywhere at once.

        Raises:
            NoCutError: a marker that the cut needs is not there.
            ReadError: when the cluster does not answer or a topic is not there.
            Undecodable: when a record of ours cannot be read.
        """
        self._windows.read_on()
        rows = self._rows() if with_rows else {}
        self._settlement.read_on(settled=True)
        markers = {partition: marker for (_, partition), marker in self._settlement.newest.items()}
        caught = {partition: marker.epoch for partition, marker in markers.items()}
        name = REVENUE_DELTAS.named(self._prefix)
        unread = [self._carried(record) for record in read_topic(self._cluster, name, from_offsets=self._read(), settled=True)]
        epochs = closed(caught, unread)
        if epochs != caught:
            later = self._settlement.read_on(settled=True)
            markers |= {place[1]: marker for place, marker in later if marker.epoch == epochs.get(place[1])}
        for partition, epoch in epochs.items():
            if partition not in markers or markers[partition].epoch != epoch:
                raise NoCutError(
                    f"{name} has a record of epoch {epoch} of settlement/{partition}, and {SETTLEMENT_CHANGELOG.name} has no "
                    "marker of it: compaction was faster, so ask again; if it stays so, the changelog has lost its end"
                )
        return Cut(self._counters(markers), in_flight(epochs, unread), rows)

    def _rows(self) -> dict[str, dict[str, Money]]:
        """Give what readers of the one-minute windows find, of each task that nothing was added to meanwhile."""
        before = self._windowed()
        found = minute_rows(self._cluster, self._prefix, self._wire_of)
        self._windows.read_on(settled=True)
        after = self._windowed()
        same = {partition for partition, sums in after.items() if sums == before.get(partition)}
        return {f"revenue/{partition}": sums for partition, sums in found.items() if partition in same}

    def _windowed(self) -> dict[int, Money]:
        newest = self._windows.newest.items()
        return {number: account(at.counters, "windowed") for (name, number), at in newest if name == REVENUE_CHANGELOG.name}

    def _read(self) -> dict[int, int]:
        """Give up to where revenue has read the deltas, by its markers."""
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
