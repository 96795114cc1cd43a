"""How a prepared epoch becomes true: committed through the producer, then applied to the stores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.epoch import Prepared
from streams.errors import ClientStuckError, TallyError
from streams.group import GroupConsumer, Polled
from streams.kill_points import KillPoint
from streams.pauses import Failed
from streams.store import Changes
from streams.tasks import Task
from streams.threads import Threads
from streams.transaction import Committed, Outcome, TransactionalProducer, Unknown

log = logging.getLogger(__name__)


@dataclass
class Carried:
    """What became of a prepared epoch; ``failed``: tasks whose stores could not follow; ``polled``: what was polled meanwhile.

    Kafka's thread fills it in, and the loop when it has given that thread up: the first one to say an outcome is right.
    """

    outcome: Outcome | Failed | None = None
    failed: dict[Task, Exception] = field(default_factory=dict)
    polled: Polled = field(default_factory=Polled)
    not_polled: Exception | None = None
    is_polling: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ends(self, outcome: Outcome | Failed) -> bool:
        """Note the outcome; False: there is one already."""
        with self._lock:
            first = self.outcome is None
            if first:
                self.outcome = outcome
            return first


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

    async def carry(self, prepared: Prepared, poll: Callable[[], Polled] = Polled) -> Carried:
        """Commit, ``poll`` while it is sent, and apply: one piece of work on Kafka's thread, whatever the loop does.

        A producer whose client does not return is left behind with its thread. Once it is committed, whatever is raised goes
        on and ends the worker: the epoch must never be redone.

        I9: a poll that tells of a lost partition ends the transaction. The cluster would not: it checks the member's epoch, which
        stays the same while the member has other partitions to give up, though somebody else may have the first ones by then.
        """
        producer, carried = self._producer, Carried()
        try:
            await self._threads.on_kafka(lambda: self._carry(producer, prepared, poll, carried))
        except ClientStuckError as error:
            if carried.is_polling or not carried.ends(Unknown(f"STUCK: {error}")):
                raise
            log.warning("the producer is given up in the middle of a transaction: %s", error)
            self._threads.renew_kafka()
            self._producer = await self._threads.on_kafka(producer.abandon)
        except TallyError:
            raise
        except Exception as error:  # I8: whatever it was, the epoch is redone, a bounded number of times
            if not carried.ends(Failed(error)):
                raise
        return carried

    @property
    def transaction_age_s(self) -> float:
        """How long the transaction that is under way has been open; 0 if there is none."""
        producer: TransactionalProducer | None = getattr(self, "_producer", None)
        return producer.age_s if producer else 0.0

    def reach(self, place: str) -> None:
        """Say where the commit is, in case that a kill point is armed there."""
        self._kill_point.reach(place, self.epochs_count, self._records_in_epoch)

    def _carry(self, producer: TransactionalProducer, prepared: Prepared, poll: Callable[[], Polled], carried: Carried) -> None:
        self._records_in_epoch = prepared.records_count
        self._group.room.learn(prepared.records_count, prepared.written_bytes)

        def meanwhile() -> str:
            carried.is_polling = True
            try:
                carried.polled = poll()
            except Exception as error:  # noqa: BLE001 - raised below: the transaction has its own end
                carried.not_polled = error
            carried.is_polling = False
            is_lost = any(what == "revoked" for what, _ in carried.polled.changes)
            return "a partition was lost while its records were sent" if is_lost else ""

        outcome = producer.commit(prepared.transaction(self._group.metadata), meanwhile)
        # If it was given up, others are on their way with its tasks.
        if carried.ends(outcome) and isinstance(outcome, Committed):
            self.reach("before_apply")
            self.epochs_count += 1
            self._apply(prepared, outcome, carried.failed)
        if carried.not_polled is not None:
            raise carried.not_polled

    def _apply(self, prepared: Prepared, committed: Committed, failed: dict[Task, Exception]) -> None:
        """Write the changes of each task, and what its store stands for by them, to the task's store."""
        for task, changes in prepared.changes.items():
            try:
                self._follow(task, changes, prepared, committed)
            except Exception as error:  # noqa: BLE001 - this task's alone
                failed[task] = error.with_traceback(None)  # its frames have handles of the store, and by them its lock

    def _follow(self, task: Task, changes: Changes, prepared: Prepared, committed: Committed) -> None:
        assert task.changelog is not None  # noqa: S101 - stateful
        assert task.store is not None  # noqa: S101 - running
        assert task.identity is not None  # noqa: S101 - restored
        offset = committed.marker_offsets[task.changelog] + 1
        task.store.apply(changes, prepared.stands_for(task, task.identity, offset, self._now_ms()))
