"""One run of any peer over a backlog, looked at from outside and in the same way for everybody.

Looked at are the committed offsets of its consumer group, and processor time and memory of all its processes. The time
begins with the first sample in which something is committed, so that starting, joining and restoring are outside, and what was
committed by then does not count; it ends when all inputs are committed. Nothing that a peer says of itself counts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.figures import Figures, Moment
from bench.product import Offsets, ProductError, Sample, Worker, first_complete
from connectors.cluster import Cluster
from connectors.reader import end_offsets, read_topic
from schemas.topics import ORDERS, PAYMENTS
from streams.admin import admin_client, delete_topics
from streams.settings import Settings

SAMPLE_S = 0.1
QUIET_S = 10.0
"""Inputs committed and nothing moving for so long: what crosses Kafka a second time is through; Faust commits every 3 s."""
START_S = 120.0
"""From the start of the processes to the first commit; a virtual machine on a busy computer needs some of it."""
STALL_S = 60.0
"""Without a commit for so long something is broken."""
FOLLOW_S = 300.0
"""Not through after so long it never is, though it moves: an agent of Faust that crashes loses its record, and is begun again."""
ASK_S = 10.0


class TreeWatch:
    """Looks at processes and all their children; what has ended keeps the processor time it was last seen with."""

    def __init__(self, pids: Sequence[int], broker_pid: int) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._broker = psutil.Process(broker_pid) if broker_pid else None
        self._cpu_s: dict[tuple[int, float], float] = {}

    def now(self) -> Moment:
        """Give this moment: processor times of all threads (user and system), resident memory of all processes together."""
        rss_bytes = 0
        for process in self._alive():
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.NoSuchProcess:
                continue
            self._cpu_s[process.pid, process.create_time()] = float(times.user + times.system)
            rss_bytes += memory.rss
        broker = self._broker.cpu_times() if self._broker else None
        return Moment(
            time.monotonic(), sum(self._cpu_s.values()), float(broker.user + broker.system) if broker else 0.0, rss_bytes
        )

    def _alive(self) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for root in self._roots:
            try:
                found |= {process.pid: process for process in (root, *root.children(recursive=True))}
            except psutil.NoSuchProcess:
                continue
        return list(found.values())


class Committed:
    """The committed offsets of one group, asked again and again over one connection; the group is never joined."""

    def __init__(self, cluster: Cluster, group_id: str, places: Sequence[tuple[str, int]]) -> None:
        config: dict[str, Any] = {**cluster.consumer(), "client.id": "tally-bench", "log_level": 2}
        # A transaction in flight is not waited for: asked is what is committed now.
        self._consumer = Consumer({**config, "group.id": group_id, "isolation.level": "read_uncommitted"})
        self._places = [TopicPartition(*place) for place in places]

    def now(self) -> Offsets:
        """Give them; nothing while the group is not known yet, or its coordinator does not answer."""
        try:
            answer = self._consumer.committed(self._places, timeout=ASK_S)
        except KafkaException:
            return {}
        return {(place.topic, place.partition): place.offset for place in answer if place.offset >= 0}

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()


@dataclass(frozen=True)
class Backlog:
    """What a run has before it: the inputs with their ends, its group, and the topics through which it sends itself something.

    ``internal`` are full names.
    """

    cluster: Cluster
    group_id: str
    inputs: Offsets
    internal: tuple[str, ...]

    @classmethod
    def of(cls, cluster: Cluster, prefix: str, group_id: str, internal: Sequence[str]) -> Backlog:
        """Give the backlog that is on the inputs under ``prefix``; ``internal`` are names without it."""
        names = [topic.named(prefix) for topic in (ORDERS, PAYMENTS)]
        inputs = {(name, partition): end for name in names for partition, end in end_offsets(cluster, name).items()}
        return cls(cluster, group_id, inputs, tuple(prefix + name for name in internal))

    @property
    def events_count(self) -> int:
        """How many events wait."""
        return sum(self.inputs.values())

    @property
    def places(self) -> list[tuple[str, int]]:
        """Everything whose committed offsets tell how far it is."""
        return [*self.inputs, *((name, partition) for name in self.internal for partition in range(ORDERS.partitions))]

    def committed_count(self, offsets: Offsets) -> int:
        """Give how many of them are committed."""
        return sum(min(offsets.get(place, 0), end) for place, end in self.inputs.items())


def follow(
    backlog: Backlog,
    workers: Sequence[Worker],
    broker_pid: int,
    say: Callable[[str], None],
    *,
    ends_itself: bool = False,
    quiet_s: float = QUIET_S,
) -> list[Sample]:
    """Look on until the inputs are committed and nothing has moved for ``quiet_s``; or, of who ``ends_itself``, until that.

    Raises:
        ProductError: a process died, or stopped moving.
    """
    watch = TreeWatch([worker.process.pid for worker in workers], broker_pid)
    committed = Committed(backlog.cluster, backlog.group_id, backlog.places)
    samples: list[Sample] = []
    began_s = moved_at_s = time.monotonic()
    try:
        while True:
            sample = Sample(watch.now(), committed.now())
            now_s = time.monotonic()
            if samples and sample.committed != samples[-1].committed:
                moved_at_s = now_s
            samples.append(sample)
            count = backlog.committed_count(sample.committed)
            say(f"{count:,} of {backlog.events_count:,} events committed")
            ended = [worker for worker in workers if worker.process.poll() is not None]
            is_done = count == backlog.events_count
            if any(worker.process.returncode != 0 or not is_done for worker in ended):
                raise ended[0].fail(f"ended with {ended[0].process.returncode} in the middle of the backlog")
            if is_done and (ended or (not ends_itself and now_s - moved_at_s > quiet_s)):
                return samples
            if now_s - moved_at_s > (STALL_S if count else START_S):
                raise workers[0].fail(f"committed nothing for {now_s - moved_at_s:.0f} s")
            if now_s - began_s > FOLLOW_S:
                raise workers[0].fail(f"was not through after {FOLLOW_S:.0f} s")
            time.sleep(SAMPLE_S)
    finally:
        committed.close()


def drained_ends(backlog: Backlog, samples: Sequence[Sample]) -> Offsets:
    """Give how far a peer must have committed that is through: its inputs, and the last record of what it wrote for itself.

    What it wrote after the last that moved is of its idleness (ticks), and may be on its way when the last look is taken.
    """
    changes = [later.moment.at_s for before, later in pairwise(samples) if before.committed != later.committed]
    quiet_since_ms = (time.time() - time.monotonic() + max(changes, default=float("inf"))) * 1000
    ends = dict(backlog.inputs)
    for name in backlog.internal:
        written = [record for record in read_topic(backlog.cluster, name) if record.timestamp_ms < quiet_since_ms]
        ends |= {(name, record.partition): record.offset + 1 for record in written}
    return ends


def figures_of(samples: Sequence[Sample], backlog: Backlog, ends: Offsets) -> Figures | None:
    """Give the figures of what happened between the first commit and the last; None when these are the same. Pure.

    Raises:
        ProductError: it was not through.
    """
    begin = next((sample for sample in samples if backlog.committed_count(sample.committed)), None)
    inputs_done, drained = first_complete(samples, backlog.inputs), first_complete(samples, ends)
    if begin is None or inputs_done is None or drained is None:
        raise ProductError("it went quiet before it had consumed all that it wrote for itself; see its log")
    events_count = backlog.events_count - backlog.committed_count(begin.committed)
    if events_count == 0:
        return None
    rss_bytes_max = max(sample.moment.rss_bytes for sample in samples)
    return Figures.between(events_count, begin.moment, inputs_done.moment, drained.moment, rss_bytes_max)


def forget(settings: Settings, folder: Path) -> None:
    """Delete the topics and stores of a run: dozens of gigabytes would be in the way of those that follow."""
    shutil.rmtree(folder)
    delete_topics(admin_client(settings), settings.prefix)
