"""Markers are read on from where the last reading ended; one that failed has read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from connectors import markers
from connectors.cluster import Cluster
from connectors.markers import Markers
from connectors.reader import Range, ReadError, ReadRecord
from schemas.codec import encode
from schemas.events import TaskMarker
from schemas.topics import CUSTOMERS_CHANGELOG, MARKER_KEY, REVENUE_CHANGELOG


def marker_of(epoch: int) -> TaskMarker:
    return TaskMarker(1, epoch, "w1", (), {})


class Log:
    """Changelogs of two partitions, read from memory; one of them may fail after so many records."""

    def __init__(self) -> None:
        self.epochs: dict[str, dict[int, int]] = {REVENUE_CHANGELOG.name: {0: 3, 1: 5}, CUSTOMERS_CHANGELOG.name: {0: 2, 1: 9}}
        self.fails: dict[str, int] = {}

    def ranges_of(self, _: Cluster, name: str) -> dict[int, Range]:
        return {partition: Range(0, end) for partition, end in self.epochs[name].items()}

    def read_topic(self, _: Cluster, name: str, *, from_offsets: Mapping[int, int], settled: bool) -> Iterator[ReadRecord]:
        del settled
        left = self.fails.pop(name, 1_000)
        for partition, end in self.epochs[name].items():
            for offset in range(from_offsets.get(partition, 0), end):
                if not left:
                    raise ReadError("it is away")
                left -= 1
                yield ReadRecord(name, partition, offset, 0, MARKER_KEY, encode(marker_of(offset + 1)))


@pytest.mark.parametrize("failing", [REVENUE_CHANGELOG.name, CUSTOMERS_CHANGELOG.name])
@pytest.mark.parametrize("after_records", [0, 1, 4])
@pytest.mark.parametrize("is_first", [True, False], ids=["at first", "later"])
def test_a_reading_that_failed_is_done_again_and_no_marker_is_missed(
    failing: str, after_records: int, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    monkeypatch.setattr(markers, "ranges_of", log.ranges_of)
    monkeypatch.setattr(markers, "read_topic", log.read_topic)
    seen = Markers(Cluster("nowhere:1"), "", (REVENUE_CHANGELOG, CUSTOMERS_CHANGELOG))
    if not is_first:
        seen.read_on()
        log.epochs = {name: {partition: end + 3 for partition, end in ends.items()} for name, ends in log.epochs.items()}
    log.fails[failing] = after_records
    with pytest.raises(ReadError):
        seen.read_on()
    seen.read_on()
    wanted: dict[Any, int] = {(name, at): end for name, ends in log.epochs.items() for at, end in ends.items()}
    assert {place: marker.epoch for place, marker in seen.newest.items()} == wanted
    assert seen.read_on() == []
