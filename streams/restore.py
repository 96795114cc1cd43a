"""Bring the stores of newly owned tasks up to the committed changelog, and judge whether the tasks may start.

The order is the proof: committed offsets first (waiting for transactions that still hold them),
then the changelog's end uncommitted, then read committed records until the position is at that
end. An earlier owner can commit nothing after the first step, and what it committed before is
below the end of the second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)

from connectors.kafka_errors import passes
from schemas.codec import Undecodable, decode
from schemas.events import TaskMarker
from schemas.topics import TOMBSTONE_RETENTION_MS
from streams import marker
from streams.back_off import DISK
from streams.budget import fetch_config
from streams.disk import Disk, no_room
from streams.fill import Fill, is_held
from streams.logs import client_log
from streams.meter import Meter
from streams.questions import EARLIEST, LATEST, Questions
from streams.room import Room
from streams.settings import Settings
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.taking import take
from streams.tasks import Task
from streams.waiting import Waiting

log = logging.getLogger(__name__)

RESTORED_RECORD_BYTES = 600
"""Of a changelog's record beside its bytes: message, key and value as Python objects, and the store's batch."""
BATCH_RECORDS = 10_000
"""Of a restore; the memory budget is what limits it, this only makes it look up in time."""
MAX_STORE_AGE_MS = TOMBSTONE_RETENTION_MS // 2
"""An older store may hold keys whose tombstones the changelog no longer has."""


@dataclass(frozen=True)
class Restored:
    """A task and whether it may start."""

    task: Task
    verdict: marker.Resume | marker.Refuse | marker.Later


class Restorer:
    """Restores tasks, one after the other group of them, on the thread that calls it.

    ``waiting`` is told of a cluster that does not answer; what it raises ends the restore.
    """

    def __init__(
        self,
        settings: Settings,
        resources: StoreResources,
        disk: Disk,
        now_ms: Callable[[], int],
        waiting: Waiting,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._now_ms = now_ms
        self._waiting = waiting
        self._meter = meter
        self._disk = disk
        self._questions = Questions(settings.cluster, settings.group_id, waiting)

    def restore(self, tasks: Iterable[Task]) -> Iterator[Restored]:
        """Open and restore the stores of ``tasks``, each given as soon as it is done; revoked tasks are left out and closed.

        A task whose changelog or store cannot be read is refused, one whose disk is full comes later; the others go on.
        """
        wanted = [task for task in tasks if not task.revoked.is_set()]
        if not wanted:
            return
        self._await_room(wanted)
        inputs = [where for task in wanted for where in task.inputs]
        committed = self._questions.committed_offsets(inputs)
        log_starts = self._questions.list_offsets(inputs, EARLIEST)
        for task, obstacle in self._filled(wanted):
            if task.revoked.is_set():
                close_store(task)
            else:
                yield Restored(task, obstacle or self._judge(task, committed, log_starts))

    def _judge(
        self, task: Task, committed: Mapping[marker.TopicPartition, int | None], log_starts: Mapping[marker.TopicPartition, int]
    ) -> marker.Resume | marker.Refuse:
        found = {where: committed[where] for where in task.inputs}
        starts = {where: log_starts[where] for where in task.inputs}
        if task.store is None:
            return marker.Resume({where: starts[where] if at is None else at for where, at in found.items()})
        stands_for = task.store.stands_for
        if stands_for is None or stands_for.marker is None:
            return marker.judge_start(None, found, starts)
        try:
            newest = decode(stands_for.marker)
        except Undecodable as error:
            return marker.Refuse(f"the newest marker cannot be read ({error}): run the version that wrote it")
        if not isinstance(newest, TaskMarker):
            return marker.Refuse(f"the newest marker is a {type(newest).__name__}: somebody else writes to the changelog")
        task.epoch, task.counters, task.judgement = newest.epoch, dict(newest.counters), marker.judgement_of(newest)
        return marker.judge_start(newest, found, starts)

    def _filled(self, tasks: list[Task]) -> Iterator[tuple[Task, marker.Refuse | marker.Later | None]]:
        """Open the stores and read the changelogs into them; give each task when it is done, and what is in its way."""
        yield from ((task, None) for task in tasks if task.changelog is None)
        changelogs = {task.changelog: task for task in tasks if task.changelog is not None}
        if not changelogs:
            return
        identities = self._questions.identities({topic for topic, _ in changelogs})
        ends = self._questions.list_offsets(changelogs, LATEST, IsolationLevel.READ_UNCOMMITTED)
        starts = self._questions.list_offsets(changelogs, EARLIEST)
        began = time.monotonic()
        fills: dict[marker.TopicPartition, Fill] = {}
        for where, task in changelogs.items():
            task.identity = identities[where[0]]
            fill = fills[where] = Fill(task, task.identity, self._now_ms)
            with fill.guard():
                fill.position = self._open(task, starts[where], ends[where])
                task.restore_left_records = max(ends[where] - fill.position, 0)
        behind = {where for where, fill in fills.items() if fill.obstacle is None and fill.position < ends[where]}
        yield from ((fill.task, fill.obstacle) for where, fill in fills.items() if where not in behind)
        if behind:
            for where in self._read(behind, ends, fills):
                yield fills[where].task, fills[where].obstacle
        records = sum(fill.task.restored_records for fill in fills.values())
        seconds = time.monotonic() - began
        self._meter.restored(records, seconds)
        log.info("restored %d tasks: %d records in %.3f s", len(fills), records, seconds)

    def _read(
        self,
        behind: set[marker.TopicPartition],
        ends: Mapping[marker.TopicPartition, int],
        fills: Mapping[marker.TopicPartition, Fill],
    ) -> Iterator[marker.TopicPartition]:
        """Read each changelog to its end; give it when it is there, or cannot be read further."""
        consumer = Consumer(
            {
                **self._settings.cluster.consumer(),
                **fetch_config(self._settings.budget.restore_bytes // 2),
                "group.id": self._settings.group_id,  # never joined here; the client wants one that the worker may see
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                **client_log(),
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
            }
        )
        room = Room(self._settings.budget.restore_bytes // 2, BATCH_RECORDS, RESTORED_RECORD_BYTES)
        try:
            left = set(behind)
            consumer.assign([TopicPartition(*where, fills[where].position) for where in left])
            while left:
                self._await_room(fills[where].task for where in left)
                for message in take(consumer, room, 0.2):
                    where = (message.topic() or "", message.partition() or 0)
                    error = message.error()
                    if error is None:
                        fills[where].add(message)
                    elif where in fills and not passes(error):
                        fills[where].obstacle = marker.Refuse(f"its changelog cannot be read: {error.str()}")
                    elif not passes(error):
                        raise KafkaException(error)
                at = consumer.position([TopicPartition(*where) for where in left])
                reached = {(p.topic, p.partition) for p in at if p.offset >= ends[p.topic, p.partition]}
                for p in at:
                    if p.offset >= 0:
                        fills[p.topic, p.partition].task.restore_left_records = max(ends[p.topic, p.partition] - p.offset, 0)
                for where in left:
                    with fills[where].guard():
                        fills[where].write(ends[where] if where in reached else None)
                given_up = {where for where in left if fills[where].obstacle or fills[where].task.revoked.is_set()}
                done = reached | given_up
                yield from done
                left -= done
                self._waiting.look()
        finally:
            consumer.close()

    def _await_room(self, tasks: Iterable[Task]) -> None:
        """Wait until the disk has room, or nobody wants the tasks any more."""
        wanted = list(tasks)
        with self._waiting.patience(DISK) as wait:
            while (lack := self._disk.lack()) and not all(task.revoked.is_set() for task in wanted):
                wait(lack)

    def _open(self, task: Task, log_start: int, log_end: int) -> int:
        """Open the task's store, rebuilt from zero if it cannot be trusted; give the changelog offset to read from."""
        assert task.stage is not None  # noqa: S101 - only stateful tasks
        assert task.identity is not None  # noqa: S101 - asked for before
        folder = self.store_folder(task)
        tables = [spec.name for spec in task.stage.keeps]
        try:
            task.store = Store(folder, tables, self._resources)
            stands_for = task.store.stands_for
            distrust = _distrust(stands_for, task.identity, log_start, log_end, self._now_ms())
        except Exception as error:
            if is_held(error) or no_room(error):  # neither says anything against what the store has
                raise
            distrust, stands_for = f"it cannot be opened ({error})", None
        if distrust:
            log.warning("store of %s is rebuilt from its changelog: %s", task.name, distrust, extra={"task": task.name})
            close_store(task)
            Store.destroy(folder)
            task.store = Store(folder, tables, self._resources)
            stands_for = None
        return log_start if stands_for is None else stands_for.changelog_offset

    def store_folder(self, task: Task) -> Path:
        """Give the folder of a task's store."""
        return self._settings.state_folder / task.name


def close_store(task: Task) -> bool:
    """Close a task's store, if it has one; False: it could not write what it has in memory, and the changelog has it."""
    if task.store is not None:
        store, task.store = task.store, None
        try:
            store.close()
        except Exception as error:  # noqa: BLE001 - it is given up, and must keep no other from being closed
            log.warning("store of %s did not close well and will be restored: %s", task.name, error, extra={"task": task.name})
            return False
    return True


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
