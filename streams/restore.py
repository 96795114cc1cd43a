"""Bring the stores of newly owned tasks up to the committed changelog, and judge whether the tasks may start.

The order is the proof: committed offsets first (waiting for transactions that still hold them),
then the changelog's end uncommitted, then read committed records until the position is at that
end. An earlier owner can commit nothing after the first step, and what it committed before is
below the end of the second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.codec import decode
from schemas.events import TaskMarker
from schemas.topics import MARKER_KEY, TOMBSTONE_RETENTION_MS
from streams import marker
from streams.settings import Settings
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tasks import Task

log = logging.getLogger(__name__)

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

BATCH_RECORDS = 10_000
MAX_STORE_AGE_MS = TOMBSTONE_RETENTION_MS // 2
"""An older store may hold keys whose tombstones the changelog no longer has."""
UNSTABLE_RETRY_S = 0.2
ADMIN_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Restored:
    """A task and whether it may start."""

    task: Task
    verdict: marker.Resume | marker.Refuse


class Restorer:
    """Restores tasks, one after the other group of them, on the thread that calls it."""

    def __init__(
        self, settings: Settings, client: Mapping[str, Any], resources: StoreResources, now_ms: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._client = dict(client)
        self._resources = resources
        self._now_ms = now_ms
        self._admin = AdminClient(self._client)
        self._cluster_id = ""

    def restore(self, tasks: Iterable[Task]) -> list[Restored]:
        """Open and restore the stores of ``tasks``; revoked tasks are left out, their stores closed."""
        wanted = [task for task in tasks if not task.revoked.is_set()]
        if not wanted:
            return []
        inputs = [where for task in wanted for where in task.inputs]
        committed = self._committed_offsets(inputs)
        log_starts = self._list_offsets(inputs, EARLIEST)
        stateful = [task for task in wanted if task.changelog is not None]
        if stateful:
            self._fill(stateful)
        done = []
        for task in wanted:
            if task.revoked.is_set():
                close_store(task)
                continue
            done.append(Restored(task, self._judge(task, committed, log_starts)))
        return done

    def _judge(
        self, task: Task, committed: Mapping[marker.TopicPartition, int | None], log_starts: Mapping[marker.TopicPartition, int]
    ) -> marker.Resume | marker.Refuse:
        found = {where: committed[where] for where in task.inputs}
        starts = {where: log_starts[where] for where in task.inputs}
        if task.store is None:
            return marker.Resume({where: starts[where] if at is None else at for where, at in found.items()})
        stands_for = task.store.stands_for
        newest = None if stands_for is None or stands_for.marker is None else decode(stands_for.marker)
        if isinstance(newest, TaskMarker):
            task.epoch, task.counters = newest.epoch, dict(newest.counters)
            return marker.judge_start(newest, found, starts)
        return marker.judge_start(None, found, starts)

    def _fill(self, tasks: list[Task]) -> None:
        """Open the stores and read the changelogs into them."""
        changelogs = {task.changelog: task for task in tasks if task.changelog is not None}
        identities = self._identities({topic for topic, _ in changelogs})
        ends = self._list_offsets(changelogs, LATEST, IsolationLevel.READ_UNCOMMITTED)
        starts = self._list_offsets(changelogs, EARLIEST)
        began = time.monotonic()
        positions = {}
        for where, task in changelogs.items():
            task.identity = identities[where[0]]
            positions[where] = self._open(task, identities[where[0]], starts[where], ends[where])
        fills = {where: _Fill(task, identities[where[0]], self._now_ms) for where, task in changelogs.items()}
        behind = {where: at for where, at in positions.items() if at < ends[where]}
        if behind:
            self._read(behind, ends, fills)
        records = sum(task.restored_records for task in tasks)
        seconds = time.monotonic() - began
        log.info("restored %d tasks: %d records in %.3f s", len(tasks), records, seconds)

    def _read(
        self,
        behind: Mapping[marker.TopicPartition, int],
        ends: Mapping[marker.TopicPartition, int],
        fills: Mapping[marker.TopicPartition, _Fill],
    ) -> None:
        consumer = Consumer(
            {
                **self._client,
                "group.id": f"{self._settings.group_id}-restore",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 65_536,
            }
        )
        try:
            consumer.assign([TopicPartition(topic, partition, at) for (topic, partition), at in behind.items()])
            left = set(behind)
            while left:
                for message in consumer.consume(BATCH_RECORDS, 0.2):
                    if message.error() is not None:
                        _raise_unless_passing(message.error())
                        continue
                    fills[message.topic() or "", message.partition() or 0].add(message)
                left -= {where for where in left if fills[where].task.revoked.is_set()}
                at = consumer.position([TopicPartition(*where) for where in left]) if left else []
                reached = {(p.topic, p.partition) for p in at if p.offset >= ends[p.topic, p.partition]}
                for where in left:
                    fills[where].write(ends[where] if where in reached else None)
                left -= reached
        finally:
            consumer.close()

    def _open(self, task: Task, identity: StoreIdentity, log_start: int, log_end: int) -> int:
        """Open the task's store, rebuilt from zero if it cannot be trusted; give the changelog offset to read from."""
        assert task.stage is not None  # noqa: S101 - only stateful tasks
        folder = self.store_folder(task)
        tables = [spec.name for spec in task.stage.keeps]
        try:
            task.store = Store(folder, tables, self._resources)
            stands_for = task.store.stands_for
            distrust = _distrust(stands_for, identity, log_start, log_end, self._now_ms())
        except Exception as error:
            if "lock hold" in str(error) or "No locks available" in str(error):
                raise
            distrust, stands_for = f"it cannot be opened ({error})", None
        if distrust:
            log.warning("store of %s is rebuilt from its changelog: %s", task.name, distrust)
            if task.store is not None:
                task.store.close()
                task.store = None
            Store.destroy(folder)
            task.store = Store(folder, tables, self._resources)
            stands_for = None
        return log_start if stands_for is None else stands_for.changelog_offset

    def store_folder(self, task: Task) -> Path:
        """Give the folder of a task's store."""
        return self._settings.state_folder / task.name

    def _identities(self, topics: Iterable[str]) -> dict[str, StoreIdentity]:
        if not self._cluster_id:
            self._cluster_id = self._admin.describe_cluster(request_timeout=ADMIN_TIMEOUT_S).result().cluster_id
        described = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=ADMIN_TIMEOUT_S)
        return {
            topic: StoreIdentity(self._cluster_id, self._settings.group_id, topic, str(future.result().topic_id))
            for topic, future in described.items()
        }

    def _committed_offsets(self, inputs: list[marker.TopicPartition]) -> dict[marker.TopicPartition, int | None]:
        """Give the group's offsets, waiting for transactions of earlier owners that still hold some of them.

        A consumer asks that never joins: librdkafka 2.16's admin client crashes the process when the
        group's coordinator is moving or loading. Read committed makes the broker wait for stable offsets.
        """
        config = {**self._client, "group.id": self._settings.group_id, "isolation.level": "read_committed"}
        consumer = Consumer(config)
        try:
            while True:
                try:
                    answer = consumer.committed([TopicPartition(*where) for where in inputs], timeout=ADMIN_TIMEOUT_S)
                except KafkaException as error:
                    _raise_unless_passing(error.args[0])
                    time.sleep(UNSTABLE_RETRY_S)
                    continue
                problems = [p.error for p in answer if p.error is not None]
                if not problems:
                    return {(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in answer}
                for problem in problems:
                    _raise_unless_passing(problem)
                time.sleep(UNSTABLE_RETRY_S)
        finally:
            consumer.close()

    def _list_offsets(
        self,
        partitions: Iterable[marker.TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[marker.TopicPartition, int]:
        asked = {TopicPartition(*where): spec for where in partitions}
        while True:
            try:
                futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=ADMIN_TIMEOUT_S)
                return {(p.topic, p.partition): future.result().offset for p, future in futures.items()}
            except KafkaException as error:
                _raise_unless_passing(error.args[0])
                time.sleep(UNSTABLE_RETRY_S)


class _Fill:
    """Collects a changelog's records and writes them to the store batch by batch."""

    def __init__(self, task: Task, identity: StoreIdentity, now_ms: Callable[[], int]) -> None:
        self.task = task
        self._identity = identity
        self._now_ms = now_ms
        self._changes: dict[str, dict[bytes, bytes | None]] = {}
        self._marker: bytes | None = None
        self._next: int | None = None

    def add(self, message: Any) -> None:
        """Take one changelog record."""
        key, value = message.key(), message.value()
        if key == MARKER_KEY:
            self._marker = value
        else:
            table, row = key.split(b"/", 1)
            self._changes.setdefault(table.decode(), {})[row] = value
        self._next = message.offset() + 1
        self.task.restored_records += 1

    def write(self, position: int | None) -> None:
        """Write what was collected; ``position`` is the changelog's end once it is reached."""
        if self._next is None and position is None:
            return
        store = self.task.store
        assert store is not None  # noqa: S101 - opened before
        before = store.stands_for
        newest = self._marker or (before.marker if before else None)
        offset = position if position is not None else self._next
        assert offset is not None  # noqa: S101 - one of them is set
        store.apply(self._changes, StandsFor(self._identity, offset, self._now_ms(), newest))
        self._changes, self._next = {}, None


def close_store(task: Task) -> None:
    """Close a task's store, if it has one."""
    if task.store is not None:
        store, task.store = task.store, None
        store.close()


def _distrust(stands_for: StandsFor | None, identity: StoreIdentity, log_start: int, log_end: int, now_ms: int) -> str:
    """Say why a store's contents cannot be built upon; empty: they can."""
    if stands_for is None:
        return ""
    if stands_for.identity != identity:
        return f"it belongs to {stands_for.identity}, not to {identity}"
    if stands_for.changelog_offset > log_end:
        return f"it stands for offset {stands_for.changelog_offset}, the changelog ends at {log_end}"
    if stands_for.changelog_offset < log_start:
        return f"it stands for offset {stands_for.changelog_offset}, the changelog begins at {log_start}"
    if now_ms - stands_for.applied_at_ms > MAX_STORE_AGE_MS:
        return "it was last written so long ago that the changelog may have dropped tombstones since"
    return ""


_PASSING = {
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
}


def _raise_unless_passing(error: KafkaError | None) -> None:
    if error is not None and error.code() not in _PASSING and not error.retriable():
        raise KafkaException(error)
