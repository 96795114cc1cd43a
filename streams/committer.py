"""How a prepared epoch becomes true: committed through the producer, then applied to the stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from streams.epoch import Prepared
from streams.errors import ClientStuckError
from streams.group import GroupConsumer
from streams.kill_points import KillPoint
from streams.store import Changes
from streams.tasks import Task
from streams.threads import Threads
from streams.transaction import Committed, Outcome, TransactionalProducer, Unknown

log = logging.getLogger(__name__)


class Committer:
    """Holds the producer. ``epochs_count`` is how many epochs it has committed."""

    def __init__(self, threads: Threads, kill_point: KillPoint, now_ms: Callable[[], int]) -> None:
        self.epochs_count = 0
        self._threads = threads
        self._kill_point = kill_point
        self._now_ms = now_ms
        self._records_in_epoch = 0
        self._group: GroupConsumer
        self._producer: TransactionalProducer

    def connect(self, group: GroupConsumer, producer: TransactionalProducer) -> None:
        """Take the clients it works with."""
        self._group, self._producer = group, producer

    async def commit(self, prepared: Prepared) -> Outcome:
        """Commit. A producer whose client does not return is left behind with its thread."""
        producer = self._producer
        try:
            return await self._threads.on_kafka(lambda: self._commit(producer, prepared))
        except ClientStuckError as error:
            log.warning("the producer is given up in the middle of a transaction: %s", error)
            self._threads.renew_kafka()
            self._producer = await self._threads.on_kafka(producer.abandon)
            return Unknown(f"STUCK: {error}")

    @property
    def transaction_age_s(self) -> float:
        """How long the transaction that is under way has been open; 0 if there is none."""
        producer: TransactionalProducer | None = getattr(self, "_producer", None)
        return producer.age_s if producer else 0.0

    async def apply(self, prepared: Prepared, committed: Committed) -> Mapping[Task, Exception]:
        """Write the changes of each task, and what its store stands for by them, to the task's store.

        Gives the tasks whose stores could not follow. It is committed: whatever is raised, it must never be redone.
        """
        try:
            return await self._threads.on_kafka(lambda: self._apply(prepared, committed))
        except Exception as error:  # noqa: BLE001 - nobody knows which of them followed
            return dict.fromkeys(prepared.changes, error)

    def reach(self, place: str) -> None:
        """Say where the commit is, in case that a kill point is armed there."""
        self._kill_point.reach(place, self.epochs_count, self._records_in_epoch)

    def _commit(self, producer: TransactionalProducer, prepared: Prepared) -> Outcome:
        self._records_in_epoch = prepared.records_count
        self._group.room.learn(prepared.records_count, prepared.written_bytes)
        outcome = producer.commit(prepared.transaction(self._group.metadata))
        if isinstance(outcome, Committed):
            self.reach("before_apply")
            self.epochs_count += 1
        return outcome

    def _apply(self, prepared: Prepared, committed: Committed) -> dict[Task, Exception]:
        failed: dict[Task, Exception] = {}
        for task, changes in prepared.changes.items():
            try:
                self._follow(task, changes, prepared, committed)
            except Exception as error:  # noqa: BLE001 - this task's alone
                failed[task] = error.with_traceback(None)  # its frames have handles of the store, and by them its lock
        return failed

    def _follow(self, task: Task, changes: Changes, prepared: Prepared, committed: Committed) -> None:
        assert task.changelog is not None  # noqa: S101 - stateful
        assert task.store is not None  # noqa: S101 - running
        assert task.identity is not None  # noqa: S101 - restored
        offset = committed.marker_offsets[task.changelog] + 1
        task.store.apply(changes, prepared.stands_for(task, task.identity, offset, self._now_ms()))
