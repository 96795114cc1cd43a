"""How far behind reading is: how many records, and since when the next of them waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from connectors.cluster import Cluster
from connectors.kafka_errors import passes
from streams import marker
from streams.aside import aside
from streams.questions import EARLIEST, LATEST
from streams.tasks import Task

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
"""Of a worker, for its metrics: as often as they are mostly fetched."""
ANSWER_S = 5.0
"""Of the question for the ends of partitions."""
READ_S = 2.0
"""For the first unread record of each partition, all of them together."""
POLL_S = 0.1
"""Of one look for records: how soon a worker that ends is noticed."""


class Lag(NamedTuple):
    """How far behind one partition is.

    ``records`` are offsets between the next record to read and the end, so markers of transactions are among them; it is 0
    whenever nothing but markers is left. ``since_ms`` is when the next record to read was appended, by the broker's clock;
    None if there is none, or if it could not be read in time (an open transaction hides it).
    """

    records: int
    since_ms: int | None = None

    def seconds(self, now_ms: int) -> float | None:
        """Give for how long the next record has waited; 0 if there is none, None if that is unknown."""
        if self.records == 0:
            return 0.0
        return None if self.since_ms is None else max(now_ms - self.since_ms, 0) / 1000


def offsets_of(
    admin: AdminClient,
    partitions: Iterable[marker.TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[marker.TopicPartition, int]:
    """Give the first or the next offset of each partition; a leader that is on its way, as to a new topic, is asked again.

    Raises:
        KafkaException: the cluster does not answer.
    """
    asked = {TopicPartition(*where): spec for where in partitions}
    if not asked:
        return {}
    deadline_s = time.monotonic() + ANSWER_S
    while True:
        futures = admin.list_offsets(asked, isolation_level=isolation, request_timeout=ANSWER_S)
        try:
            return {(p.topic, p.partition): future.result().offset for p, future in futures.items()}
        except KafkaException as error:
            if not passes(error.args[0]) or time.monotonic() > deadline_s:
                raise
        time.sleep(POLL_S)


class LagReader:
    """Asks the cluster. For one thread; belongs to no group, commits nothing."""

    def __init__(self, cluster: Cluster, group_id: str) -> None:
        self._admin = AdminClient({**cluster.producer(), "log_level": 2})
        self._consumer = Consumer(
            {
                **cluster.consumer(),
                "group.id": f"{group_id}-lag",  # librdkafka wants one; nothing joins it
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # what retention took was never read: the next one is the first that is left
                "isolation.level": "read_committed",
                "queued.min.messages": 1,
                "fetch.message.max.bytes": 16_384,
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        self._empty: dict[marker.TopicPartition, tuple[int, int]] = {}

    def read(self, next_offsets: Mapping[marker.TopicPartition, int | None]) -> dict[marker.TopicPartition, Lag]:
        """Give the lag of each partition that exists; None as the next offset is the first one.

        Raises:
            KafkaException: the cluster does not answer.
        """
        ends = offsets_of(self._admin, next_offsets, LATEST)
        starts = offsets_of(self._admin, next_offsets, EARLIEST)
        begins = {where: max(next_offsets[where] or 0, starts.get(where, 0)) for where in ends}
        lags = {where: Lag(max(end - begins[where], 0)) for where, end in ends.items()}
        asked = {where: at for where, at in begins.items() if lags[where].records and self._empty.get(where) != (at, ends[where])}
        found = self._first_records(asked, ends) if asked else {}
        for where in asked:
            if where in found and found[where] is None:
                self._empty[where] = (begins[where], ends[where])
        for where, begin in begins.items():
            if self._empty.get(where) == (begin, ends[where]):
                lags[where] = Lag(0)
            elif found.get(where) is not None:
                lags[where] = lags[where]._replace(since_ms=found[where])
        return lags

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close()

    def _first_records(
        self, begins: Mapping[marker.TopicPartition, int], ends: Mapping[marker.TopicPartition, int]
    ) -> dict[marker.TopicPartition, int | None]:
        """Give when the first record of each partition was appended, None if there is none before its end."""
        found: dict[marker.TopicPartition, int | None] = {}
        consumer = self._consumer
        consumer.assign([TopicPartition(*where, at) for where, at in begins.items()])
        consumer.resume([TopicPartition(*where) for where in begins])  # a pause outlives the assignment in which it was made
        deadline_s = time.monotonic() + READ_S
        while len(found) < len(begins) and time.monotonic() < deadline_s:
            for message in consumer.consume(1_000, POLL_S):
                where = (message.topic() or "", message.partition() or 0)
                if message.error() is None and where not in found:
                    found[where] = message.timestamp()[1]
                    consumer.pause([TopicPartition(*where)])
            for at in consumer.position([TopicPartition(*where) for where in begins if where not in found]):
                if at.offset >= ends[at.topic, at.partition]:
                    found[at.topic, at.partition] = None
        consumer.unassign()
        return found


class LagWatch:
    """Looks every ten seconds at how far behind a worker's tasks are, aside: no epoch and no end of the worker waits for it.

    ``lags`` is empty while the cluster does not answer. ``connect`` makes the reader.
    """

    def __init__(self, tasks: Iterable[Task], connect: Callable[[], LagReader], every_s: float = LOOK_EVERY_S) -> None:
        self.lags: dict[marker.TopicPartition, Lag] = {}
        self._tasks = tasks
        self._connect = connect
        self._every_s = every_s

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        reader = await aside("lag", self._connect)
        look: asyncio.Task[dict[marker.TopicPartition, Lag]] | None = None
        try:
            while True:
                wanted = {where: at for task in self._tasks for where, at in task.next_offsets.items()}
                look = asyncio.ensure_future(aside("lag", lambda: reader.read(wanted) if wanted else {}))  # noqa: B023 - one at a time
                if not (await asyncio.wait({look}, timeout=self._every_s))[0]:
                    self.lags = {}  # the client may take a minute to say that nobody answers
                try:
                    self.lags = await look
                except KafkaException as error:
                    self.lags = {}
                    log.debug("how far behind the tasks are is not known: %s", error)
                await asyncio.sleep(self._every_s)
        finally:
            if look is None or look.done():
                reader.close()
