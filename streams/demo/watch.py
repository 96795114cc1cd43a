"""Looks at a running demo from threads: the workers' status pages, the group's committed offsets, the windows at the end."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self
from urllib.error import URLError
from urllib.request import urlopen

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.cluster import Cluster
from connectors.open_windows import OpenWindows
from connectors.reader import end_offsets, read_topic
from schemas.topics import CUSTOMER_DELTAS, ORDERS, PAYMENTS, REVENUE_DELTAS
from streams.demo.state import TopicPartition as TopicAndPartition
from streams.demo.state import WorkerSample, sample_of
from streams.errors import ClusterError
from streams.settings import Settings
from streams.topology import TOPOLOGY

PAGES_EVERY_S = 0.25
"""Between two looks at the workers' pages: about as often as the view is drawn."""
WINDOWS_EVERY_S = 0.5
"""Between two looks at the topics of windows, once they are to become final."""
OFFSETS_EVERY_S = 0.2
"""Between two questions for committed offsets: as often as the view is drawn."""
PAGE_TIMEOUT_S = 1.0
"""A page waits for the epoch's decisions, which share its event loop: half a second for a full epoch."""
REQUEST_TIMEOUT_S = 5.0
"""For one answer of the cluster; after it the next look asks again."""
CLUSTER_SILENT_S_MAX = 60.0
"""A cluster that has not answered for this long will not answer for the demo."""
WORKERS_MAX = 12
"""As many as there are partitions; the twelve pages are asked at once."""


class StatusSeen(NamedTuple):
    """A worker's page answered."""

    pid: int
    sample: WorkerSample
    at_s: float


class OffsetsSeen(NamedTuple):
    """The group's committed offsets, all topics."""

    committed: dict[TopicAndPartition, int]
    at_s: float


class LagSeen(NamedTuple):
    """Asked for by pid: committed offsets, and the records behind them of every input partition."""

    pid: int
    committed: dict[TopicAndPartition, int]
    lag: dict[TopicAndPartition, int]


class WindowsSeen(NamedTuple):
    """Asked for: how many windows that have a row are open, and how many are final."""

    open_count: int
    final_count: int


class WatchFailed(NamedTuple):
    """Looking is not possible any more."""

    error: Exception


Seen = StatusSeen | OffsetsSeen | LagSeen | WindowsSeen | WatchFailed


class Watch:
    """The threads; :meth:`take` gives what they saw. A context manager.

    ``pages`` gives pid and port of every worker that runs now.
    """

    def __init__(self, settings: Settings, pages: Callable[[], Sequence[tuple[int, int]]]) -> None:
        self._settings = settings
        self._pages = pages
        self._offsets = CommittedOffsets(settings)
        self._seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self._asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._windows_asked = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(look,), name=look.__name__, daemon=True)
            for look in (self._look_at_pages, self._look_at_offsets, self._look_at_windows)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_TIMEOUT_S + 1)
        self._offsets.close()

    def take(self) -> Iterator[Seen]:
        """Give what was seen since the last call."""
        while True:
            try:
                yield self._seen.get_nowait()
            except queue.Empty:
                return

    def ask_lag(self, pid: int) -> None:
        """Have the lag of this moment looked at; it comes as :class:`LagSeen`."""
        self._asked.put(pid)

    def ask_windows(self) -> None:
        """Have the windows looked at from now on; they come as :class:`WindowsSeen`."""
        self._windows_asked.set()

    def _guarded(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - handed to the thread that runs the demo, which raises it
            self._seen.put(WatchFailed(error))

    def _look_at_pages(self) -> None:
        with ThreadPoolExecutor(WORKERS_MAX) as pool:
            while not self._stop.wait(PAGES_EVERY_S):
                for seen in pool.map(lambda page: read_page(*page), self._pages()):
                    if seen is not None:
                        self._seen.put(seen)

    def _look_at_offsets(self) -> None:
        answered_s = time.monotonic()
        while not self._stop.wait(OFFSETS_EVERY_S):
            try:
                while not self._asked.empty():
                    self._seen.put(self._lag(self._asked.get()))
                self._seen.put(OffsetsSeen(self._offsets.ask(), time.monotonic()))
                answered_s = time.monotonic()
            except KafkaException as error:
                if time.monotonic() - answered_s > CLUSTER_SILENT_S_MAX:
                    raise ClusterError(
                        f"the cluster at {self._settings.bootstrap_servers} has not told the group's offsets for "
                        f"{CLUSTER_SILENT_S_MAX:.0f} s: {error.args[0].str()}"
                    ) from error

    def _look_at_windows(self) -> None:
        windows = OpenWindows(self._settings.cluster, self._settings.prefix)
        while not self._stop.wait(WINDOWS_EVERY_S):
            if self._windows_asked.is_set():
                windows.read_on()
                self._seen.put(WindowsSeen(len(windows.provisional), len(windows.finals)))

    def _lag(self, pid: int) -> LagSeen:
        cluster, prefix = self._settings.cluster, self._settings.prefix
        committed = self._offsets.ask()
        lag = {}
        for name in (ORDERS.named(prefix), PAYMENTS.named(prefix)):
            for partition, end in end_offsets(cluster, name).items():
                lag[name, partition] = end - committed.get((name, partition), 0)
        return LagSeen(pid, committed, lag | deltas_behind(cluster, prefix, committed))


def deltas_behind(cluster: Cluster, prefix: str, committed: dict[TopicAndPartition, int]) -> dict[TopicAndPartition, int]:
    """Count the deltas behind the committed offsets. They are read: transaction markers take offsets too.

    Raises:
        ReadError: the cluster does not answer.
    """
    behind: dict[TopicAndPartition, int] = {}
    for deltas in (REVENUE_DELTAS, CUSTOMER_DELTAS):
        name = deltas.named(prefix)
        begins = {partition: offset for (topic, partition), offset in committed.items() if topic == name}
        for record in read_topic(cluster, name, from_offsets=begins):
            behind[name, record.partition] = behind.get((name, record.partition), 0) + 1
    return behind


class CommittedOffsets:
    """Asks for a group's committed offsets as they are, without waiting for open transactions.

    Through a consumer that never joins: asked by an admin client, librdkafka 2.16 dies of a null
    pointer when the coordinator is not there yet (confluentinc/confluent-kafka-javascript #374).
    """

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer({
            **settings.cluster.consumer(),
            "client.id": "tally-demo",
            "group.id": settings.group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",  # read_committed would wait for a dead worker's transaction
            "log_level": 2,
        })  # fmt: skip
        self._asked = [
            TopicPartition(topic.named(settings.prefix), partition)
            for stage in TOPOLOGY
            for topic in stage.reads
            for partition in range(topic.partitions)
        ]

    def ask(self) -> dict[TopicAndPartition, int]:
        """Give the committed offsets of every input that has one.

        Raises:
            KafkaException: the cluster did not answer in time, or not yet (the group is being made).
        """
        places = self._consumer.committed(self._asked, timeout=REQUEST_TIMEOUT_S)
        return {(place.topic, place.partition): place.offset for place in places if place.offset >= 0}

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close()


def read_page(pid: int, port: int) -> StatusSeen | None:
    """Ask a worker for its status; None when it does not answer in time, which is for the screen to show."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/status", timeout=PAGE_TIMEOUT_S) as answer:
            page = json.load(answer)
    except (URLError, OSError, ValueError):
        return None
    return StatusSeen(pid, sample_of(page), time.monotonic())
