"""The auditor reads while workers go on: whatever is committed between any two of its reads, its cut balances."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.auditor import Auditor, NoCutError
from connectors.cluster import Cluster
from connectors.reader import Range, ReadError, ReadRecord
from schemas.codec import decode, encode
from schemas.events import Cell, Deltas, FlowDeltas, InputPosition, Source, TaskMarker
from schemas.topics import MARKER_KEY, REVENUE_CHANGELOG, REVENUE_DELTAS, SETTLEMENT_CHANGELOG
from schemas.wire import FIXED, Wire

TASKS = range(3)
CLUSTER = Cluster("nowhere:1")
PREFIX = "p."


@dataclass
class Kafka:
    """Logs of committed records, and workers that may commit before every partition that is read.

    A record that is the last of its partition may be hidden from who does not wait for what is open: its transaction is
    decided, and its end has not come to that partition.
    """

    chance: random.Random
    busy: float
    logs: defaultdict[str, dict[int, list[ReadRecord]]] = field(
        default_factory=lambda: defaultdict(lambda: {task: [] for task in TASKS})
    )
    epochs: Counter[int] = field(default_factory=Counter)
    settled: dict[int, Counter[str]] = field(default_factory=lambda: {task: Counter() for task in TASKS})
    windowed: dict[int, Counter[str]] = field(default_factory=lambda: {task: Counter() for task in TASKS})
    read: Counter[int] = field(default_factory=Counter)

    def write(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        log = self.logs[PREFIX + topic][partition]
        log.append(ReadRecord(PREFIX + topic, partition, len(log), 0, key, value))

    def settle(self, tasks: Sequence[int] = ()) -> None:
        """Commit an epoch of some settlement tasks, or of these, as one worker does."""
        tasks = tasks or self.chance.sample(TASKS, self.chance.randint(1, len(TASKS)))
        amounts = {task: self.chance.randint(1, 9) for task in tasks}
        self.epochs.update(tasks)
        sources = tuple(Source(task, self.epochs[task], 0, idle=False) for task in tasks)
        cells = (Cell(("m", "EUR"), 0, (0, sum(amounts.values()), 0, 0, 0)),)
        deltas = Deltas(sources, (FlowDeltas("money", cells),))
        self.write(REVENUE_DELTAS.name, self.chance.choice(TASKS), b"settlement", encode(deltas))
        for task, amount in amounts.items():
            self.settled[task].update({"accepted|EUR|gross_minor": amount, "booked|EUR|gross_minor": amount})
            marker = TaskMarker(2, self.epochs[task], "w", (), dict(self.settled[task]))
            self.write(SETTLEMENT_CHANGELOG.name, task, b"order_state/o", b"")
            self.write(SETTLEMENT_CHANGELOG.name, task, MARKER_KEY, encode(marker))

    def add_up(self) -> None:
        """Commit an epoch of one revenue task, which reads some of what is there."""
        task = self.chance.choice(TASKS)
        log = self.logs[PREFIX + REVENUE_DELTAS.name][task]
        end = self.chance.randint(self.read[task], len(log))
        for record in log[self.read[task] : end]:
            (cell,) = decoded(record).flows[0].cells
            self.windowed[task]["windowed|EUR|gross_minor"] += cell.amounts[1]
        self.read[task] = end
        at = (InputPosition(PREFIX + REVENUE_DELTAS.name, task, 0, end),)
        self.write(
            REVENUE_CHANGELOG.name, task, MARKER_KEY, encode(TaskMarker(2, 1, "w", at, dict(self.windowed[task])))
        )  # fmt: skip

    def go_on(self) -> None:
        while self.chance.random() < self.busy:
            self.chance.choice((self.settle, self.settle, self.add_up))()

    def ranges_of(self, cluster: Cluster, topic_name: str, **_: object) -> dict[int, Range]:
        return {partition: Range(0, len(log)) for partition, log in self.logs[topic_name].items()}

    def read_topic(
        self, cluster: Cluster, topic_name: str, *, from_offsets: Mapping[int, int] | None = None, settled: bool = False
    ) -> Iterator[ReadRecord]:
        for partition, log in self.logs[topic_name].items():
            self.go_on()
            hidden = 0 if settled or not log else self.chance.randint(0, 1)
            yield from log[(from_offsets or {}).get(partition, 0) : len(log) - hidden]


def decoded(record: ReadRecord) -> Deltas:
    deltas = decode(record.value)
    assert isinstance(deltas, Deltas)
    return deltas


def auditor_of(monkeypatch: pytest.MonkeyPatch, kafka: Kafka, wire_of: Callable[[ReadRecord], Wire] = lambda _: FIXED) -> Auditor:
    for module in ("connectors.auditor", "connectors.markers"):
        monkeypatch.setattr(f"{module}.read_topic", kafka.read_topic)
    monkeypatch.setattr("connectors.markers.ranges_of", kafka.ranges_of)
    return Auditor(CLUSTER, PREFIX, wire_of)


@given(st.integers(0, 1 << 32), st.floats(0, 0.8))
def test_a_cut_balances_whatever_is_committed_while_it_is_read(seed: int, busy: float) -> None:
    kafka = Kafka(random.Random(seed), busy)
    with pytest.MonkeyPatch.context() as monkeypatch:
        auditor = auditor_of(monkeypatch, kafka)
        seen = []
        for _ in range(4):
            kafka.go_on()
            before = sum(counters["accepted|EUR|gross_minor"] for counters in kafka.settled.values())
            cut = auditor.cut()
            assert cut.wrong == [], [line.sentence() for line in cut.wrong]
            accepted = cut.summed("settlement")["accepted|EUR|gross_minor"]
            assert accepted >= before, "the cut is older than the question"
            seen.append(accepted)
        assert seen == sorted(seen)


def test_a_marker_that_the_cut_needs_and_that_is_gone_is_said_and_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(random.Random(0), busy=0)
    kafka.settle(TASKS)
    kafka.settle(TASKS)
    lost = kafka.logs[PREFIX + SETTLEMENT_CHANGELOG.name][1].pop()
    assert lost.key == MARKER_KEY
    with pytest.raises(NoCutError, match=r"a record of epoch 2 of settlement/1, and settlement-changelog has no marker of it"):
        auditor_of(monkeypatch, kafka).cut()


def test_the_ids_of_a_registry_are_asked_for_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(random.Random(0), busy=0)
    kafka.settle()
    asked: list[ReadRecord] = []

    def wire_of(record: ReadRecord) -> Wire:
        asked.append(record)
        return FIXED

    assert auditor_of(monkeypatch, kafka, wire_of).cut().wrong == []
    assert [record.topic for record in asked] == [PREFIX + REVENUE_DELTAS.name]


def test_what_is_no_deltas_on_the_topic_of_deltas_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(random.Random(0), busy=0)
    kafka.write(REVENUE_DELTAS.name, 2, b"k", encode(TaskMarker(2, 1, "w", (), {})))
    with pytest.raises(ReadError, match=r"revenue-deltas/2 at offset 0 has a TaskMarker"):
        auditor_of(monkeypatch, kafka).cut()
