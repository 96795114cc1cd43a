"""One poll-to-commit cycle: which records it stands for, and the transaction that it becomes. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Message

from schemas.codec import encode
from schemas.topics import MARKER_KEY
from streams import marker
from streams.batch import EngineBatch
from streams.effects import Effects, Output, check_size
from streams.store import StandsFor, StoreIdentity
from streams.tables import EngineTable
from streams.tasks import Task, Tasks, TaskState
from streams.topology import Stage
from streams.transaction import Transaction


class Epoch:
    """The records of one cycle, grouped by stage, and where each touched task stands before and after."""

    def __init__(self, number: int, batches: dict[str, EngineBatch], plain: list[tuple[Task, Message]]) -> None:
        self.number = number
        self.batches = batches
        self.plain = plain
        self.effects = Effects()
        self.tasks = _touched(batches, plain)

    @classmethod
    def collect(cls, number: int, messages: Iterable[Message], tasks: Tasks, prefix: str) -> Epoch:
        """Sort polled records to their running tasks; what belongs to none is left for later or for others."""
        by_stage: dict[str, tuple[Stage, list[Message], dict[int, Task]]] = {}
        plain: list[tuple[Task, Message]] = []
        by_input = tasks.by_input
        for message in messages:
            where = (message.topic(), message.partition())
            task = by_input.get(where)  # type: ignore[arg-type]
            if task is None or task.state is not TaskState.RUNNING or message.offset() < task.next_offsets[where]:  # type: ignore[index, operator]
                continue
            if task.stage is None:
                plain.append((task, message))
                continue
            group = by_stage.get(task.stage.name)
            if group is None:
                group = by_stage[task.stage.name] = (task.stage, [], {})
            group[1].append(message)
            group[2][task.partition] = task
        batches = {name: EngineBatch(stage, prefix, kept, owners) for name, (stage, kept, owners) in by_stage.items()}
        return cls(number, batches, plain)

    @property
    def records_count(self) -> int:
        """Records that this epoch stands for."""
        return sum(len(batch.messages) for batch in self.batches.values()) + len(self.plain)

    def only(self, tasks: Iterable[Task]) -> Epoch:
        """Give the same epoch without the records of other tasks; batches keep what they decoded if nothing is dropped."""
        kept = set(tasks)
        if kept.issuperset(self.tasks):
            return Epoch(self.number, self.batches, self.plain)
        batches = {name: batch.only(kept) for name, batch in self.batches.items()}
        plain = [(task, message) for task, message in self.plain if task in kept]
        return Epoch(self.number, {name: batch for name, batch in batches.items() if batch.messages}, plain)

    def positions(self) -> dict[Task, dict[marker.TopicPartition, tuple[int, int]]]:
        """Give (first, next) offsets of every input partition of every touched task."""
        found = {task: {where: (at, at) for where, at in task.next_offsets.items()} for task in self.tasks}
        for batch in self.batches.values():
            for message in batch.messages:
                _advance(found[batch.tasks[message.partition()]], message)  # type: ignore[index]
        for task, message in self.plain:
            _advance(found[task], message)
        return found


class Prepared:
    """An epoch as bytes: what goes to Kafka, and what goes to the stores once Kafka has it."""

    def __init__(
        self,
        epoch: Epoch,
        tables: Mapping[str, Sequence[EngineTable[Any]]],
        worker: str,
        sends: Sequence[Output],
        running: Iterable[Task],
    ) -> None:
        self.records_count = epoch.records_count
        self._epoch = epoch
        self._worker = worker
        self.positions = epoch.positions()
        touched = list(epoch.tasks)
        if not touched:
            # I9: without records the position of one running task fences the transaction; I3: it gets a marker too.
            touched = sorted(running, key=lambda task: task.name)[:1]
            self.positions = {task: {where: (at, at) for where, at in task.next_offsets.items()} for task in touched}
        if not self.positions:
            raise ValueError("a transaction without positions is not fenced (I9): nothing may be written in it")
        self.changes: dict[Task, dict[str, dict[bytes, bytes | None]]] = {task: {} for task in touched if task.stage}
        self._records: list[Output] = []
        self._take_changes(tables)
        self._records += epoch.effects.outputs
        self._records += sends
        self.counters = {task: _added(task.counters, epoch.effects.counters.get(task, Counter())) for task in self.changes}
        self.markers = {task: self._marker(task) for task in self.changes}

    def transaction(self, group_metadata: Any) -> Transaction:
        """Give the transaction; markers stand last in their changelog partitions."""
        markers = {}
        for task, value in self.markers.items():
            assert task.changelog is not None  # noqa: S101 - tasks with changes have one
            markers[task.changelog] = Output(task.changelog[0], MARKER_KEY, value, task.changelog[1])
        offsets = {where: at for positions in self.positions.values() for where, (_, at) in positions.items()}
        return Transaction(self._records, markers, offsets, group_metadata)

    def settle(self, task: Task) -> None:
        """Move the task's memory to after the epoch."""
        task.next_offsets = {where: at for where, (_, at) in self.positions[task].items()}
        if task in self.markers:
            task.epoch += 1
            task.counters = self.counters[task]

    def stands_for(self, task: Task, identity: StoreIdentity, changelog_offset: int, now_ms: int) -> StandsFor:
        """Give what the task's store stands for once the epoch is applied."""
        return StandsFor(identity, changelog_offset, now_ms, self.markers[task])

    def _take_changes(self, tables: Mapping[str, Sequence[EngineTable[Any]]]) -> None:
        for name, batch in self._epoch.batches.items():
            for table in tables[name]:
                row_prefix = table.spec.name.encode() + b"/"
                changelog = batch.stage.changelog
                limit = changelog.max_message_bytes // 2
                for partition, key, value in table.take_changes():
                    task = batch.tasks[partition]
                    assert task.changelog is not None  # noqa: S101 - stateful
                    self.changes[task].setdefault(table.spec.name, {})[key] = value
                    if value is not None and len(value) > limit:
                        check_size(changelog, len(row_prefix) + len(key) + len(value))
                    self._records.append(Output(task.changelog[0], row_prefix + key, value, partition))

    def _marker(self, task: Task) -> bytes:
        return encode(marker.make_marker(task.epoch + 1, self._worker, self.positions[task], self.counters[task]))


def _added(running: Mapping[str, int], epoch: Mapping[str, int]) -> dict[str, int]:
    total = dict(running)
    for name, amount in epoch.items():
        total[name] = total.get(name, 0) + amount
    return total


def _advance(positions: dict[marker.TopicPartition, tuple[int, int]], message: Message) -> None:
    where = (message.topic() or "", message.partition() or 0)
    positions[where] = (positions[where][0], (message.offset() or 0) + 1)


def _touched(batches: Mapping[str, EngineBatch], plain: Iterable[tuple[Task, Message]]) -> list[Task]:
    touched: dict[Task, None] = {}
    for batch in batches.values():
        touched.update(dict.fromkeys(batch.tasks.values()))
    touched.update(dict.fromkeys(task for task, _ in plain))
    return list(touched)
