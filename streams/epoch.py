"""One poll-to-commit cycle: which records it stands for, and the transaction that it becomes. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from confluent_kafka import Message

from agents.ports import Tick
from schemas.codec import encode
from schemas.topics import MARKER_KEY
from streams import control_totals, marker
from streams.admission import Admission
from streams.batch import StageRecords
from streams.effects import AGAIN, Effects, Output, Outputs, check_size
from streams.judgement import Judgement
from streams.messages import Run
from streams.store import StandsFor, StoreIdentity
from streams.tables import EngineTable
from streams.tasks import Standing, Task, Tasks
from streams.topology import Stage
from streams.transaction import Transaction

Positions = dict[marker.TopicPartition, tuple[int, int]]
"""Of the input partitions of a task: the offset before an epoch, and the next one after it."""


class Epoch:
    """The records of one cycle, grouped by stage, and where each touched task stands before and after."""

    def __init__(
        self,
        number: int,
        stages: Mapping[str, StageRecords],
        plain: Sequence[tuple[Task, Message]] = (),
        passed: Mapping[Task, Mapping[marker.TopicPartition, int]] = MappingProxyType({}),
        verdicts: Mapping[Task, Judgement] = MappingProxyType({}),
    ) -> None:
        self.number = number
        self.verdicts = verdicts
        self.stages = stages
        self.plain = plain
        self.passed = passed
        touched = [task for records in stages.values() for task in records.tasks.values()]
        self.tasks = list(dict.fromkeys([*touched, *(task for task, _ in plain), *passed, *verdicts]))

    @classmethod
    def collect(cls, number: int, runs: Iterable[Run], tasks: Tasks, prefix: str, admission: Admission | None = None) -> Epoch:
        """Sort polled records to their running tasks; what belongs to none is left for later or for others."""
        by_stage: dict[str, tuple[Stage, list[Message], dict[int, Task], dict[marker.TopicPartition, Message]]] = {}
        plain: list[tuple[Task, Message]] = []
        begins = {where: (task, at) for task in tasks.running() for where, at in task.foreseen.next_offsets.items()}
        for where, run in runs:
            task, at = begins.get(where, (None, 0))
            if task is None:
                continue
            taken = [message for message in run if message.offset() >= at]  # type: ignore[operator]
            if task.stage is None:
                plain += ((task, message) for message in taken)
            elif taken:
                _, kept, own, newest = by_stage.setdefault(task.stage.name, (task.stage, [], {}, {}))
                kept += taken
                own[task.partition], newest[where] = task, taken[-1]
        stages = {
            name: StageRecords(stage, prefix, kept, own, admission, newest=newest)
            for name, (stage, kept, own, newest) in by_stage.items()
        }
        return cls(number, stages, plain)

    @classmethod
    def of_passed(cls, number: int, positions: Mapping[marker.TopicPartition, int], tasks: Iterable[Task]) -> Epoch:
        """Give an epoch without records for the tasks whose position is past nothing but markers of transactions.

        Such a marker takes an offset and is never delivered. A task that never committed a position
        behind it would find that its next record is gone once retention has taken both.
        """
        passed = {}
        for task in tasks:
            ahead = {where: at for where in task.inputs if (at := positions.get(where, -1)) > task.foreseen.next_offsets[where]}
            if ahead:
                passed[task] = ahead
        return cls(number, {}, passed=passed)

    @classmethod
    def of_verdicts(cls, number: int, verdicts: Mapping[Task, Judgement]) -> Epoch:
        """Give an epoch without records that only says how tasks stand from now on: paused, or going on."""
        return cls(number, {}, verdicts=verdicts)

    def joined(
        self, ticks: Mapping[Task, Tick], again: Collection[Task], prefix: str, admission: Admission | None = None
    ) -> Epoch:
        """Give the same epoch with ticks, and with tasks that asked for another one; it commits their positions, moved or not."""
        stages = dict(self.stages)
        for stage in {task.stage.name: task.stage for task in [*ticks, *again] if task.stage}.values():
            records = stages.get(stage.name) or StageRecords(stage, prefix, [], {}, admission)
            its_ticks = {task: tick for task, tick in ticks.items() if task.stage is stage}
            stages[stage.name] = records.joined(its_ticks, [task for task in again if task.stage is stage])
        return Epoch(self.number, stages, self.plain, self.passed, self.verdicts)

    @property
    def records_count(self) -> int:
        """Records that this epoch stands for."""
        return sum(len(records.messages) for records in self.stages.values()) + len(self.plain)

    def only(self, tasks: Iterable[Task]) -> Epoch:
        """Give the same epoch without the records of other tasks; what was decoded is kept if nothing is dropped."""
        kept = set(tasks)
        if kept.issuperset(self.tasks):
            return self
        stages = {name: left for name, records in self.stages.items() if (left := records.only(kept)).tasks}
        plain = [(task, message) for task, message in self.plain if task in kept]
        passed = {task: ahead for task, ahead in self.passed.items() if task in kept}
        return Epoch(self.number, stages, plain, passed, {task: said for task, said in self.verdicts.items() if task in kept})

    def up_to_probes(self) -> tuple[Epoch, list[Task]]:
        """Give the epoch with no more records of a task than its probe has left, and the tasks of which some are left out."""
        stages, cut = {}, []
        for name, records in self.stages.items():
            left = {number: probe.left for number, task in records.tasks.items() if (probe := task.foreseen.judgement.probe)}
            stages[name], over = records.at_most(left) if left else (records, [])
            cut += over
        return (Epoch(self.number, stages, self.plain), cut) if cut else (self, cut)

    def outcomes(self, dead: Mapping[Task, Iterable[Message]]) -> dict[Task, bytes]:
        """Give what became of the records of each task: a byte for each, in order, 1 for those that are ``dead``."""
        found: dict[Task, bytes] = {}
        for records in self.stages.values():
            lost = {number: {id(message) for message in dead[task]} for number, task in records.tasks.items() if task in dead}
            said = {number: bytearray() for number in lost}
            for message in records.messages if lost else ():
                number = message.partition()
                if number in lost:
                    said[number].append(id(message) in lost[number])
            found |= {task: bytes(said.get(number) or records.counts[number]) for number, task in records.tasks.items()}
        return found

    def positions(self) -> dict[Task, Positions]:
        """Give (first, next) offsets of every input partition of every touched task."""
        found = {task: _unmoved(task) for task in self.tasks}
        for records in self.stages.values():
            for (_, partition), message in records.newest.items():
                _advance(found[records.tasks[partition]], message)
        for task, message in self.plain:
            _advance(found[task], message)
        for task, ahead in self.passed.items():
            found[task] |= {where: (found[task][where][0], at) for where, at in ahead.items()}
        return found


class Prepared:
    """An epoch as bytes: what goes to Kafka, and what goes to the stores once Kafka has it."""

    def __init__(
        self,
        epoch: Epoch,
        effects: Effects,
        tables: Mapping[str, Sequence[EngineTable[Any]]],
        worker: str,
        sends: Sequence[Output],
        running: Iterable[Task],
        judgements: Mapping[Task, Judgement] = MappingProxyType({}),
    ) -> None:
        self.records_count = epoch.records_count
        self._epoch = epoch
        self._worker = worker
        self.positions = epoch.positions()
        touched = list(epoch.tasks)
        if not touched:
            # I9: without records the position of one running task fences the transaction; I3: it gets a marker too.
            touched = sorted(running, key=lambda task: task.name)[:1]
            self.positions = {task: _unmoved(task) for task in touched}
        if not self.positions:
            raise ValueError("a transaction without positions is not fenced (I9): nothing may be written in it")
        self.changes: dict[Task, dict[str, Mapping[bytes, bytes | None]]] = {task: {} for task in touched if task.stage}
        self._records: list[Output | Outputs] = []
        self._take_changes(tables)
        self._records += effects.outputs
        self._records += sends
        self.counters = {task: _added(task.foreseen.counters, effects.counters.get(task, Counter())) for task in self.changes}
        self._note_asked(effects)
        self._records += control_totals.rows(epoch.stages, effects.counters, self.counters)
        self.judgements = {task: judgements.get(task, task.foreseen.judgement) for task in self.changes}
        self.markers = {task: self._marker(task) for task in self.changes}
        self._after = {task: self._standing(task) for task in self.positions}

    @property
    def written_bytes(self) -> int:
        """Bytes of the values that are to be written, changelogs and outputs."""
        values = (record.values if isinstance(record, Outputs) else (record.value,) for record in self._records)
        return sum(map(len, filter(None, chain.from_iterable(values))))

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
        after = self._after[task]
        task.epoch, task.counters, task.judgement, task.next_offsets = after
        if task.ahead is after:
            task.ahead = None

    def foresee(self) -> None:
        """Let the next epoch of the tasks begin behind this one, which is not committed yet."""
        for task, after in self._after.items():
            task.ahead = after

    def give_up(self) -> None:
        """Let the next epoch of the tasks begin where they stand: this one, and what was decided on it, is thrown away."""
        for task in self._after:
            task.ahead = None

    def stands_for(self, task: Task, identity: StoreIdentity, changelog_offset: int, now_ms: int) -> StandsFor:
        """Give what the task's store stands for once the epoch is applied."""
        return StandsFor(identity, changelog_offset, now_ms, self.markers[task])

    def _note_asked(self, effects: Effects) -> None:
        """Keep in the markers who is to have another epoch, so that a stop, a kill or a takeover in between forgets nothing."""
        had = {records.tasks[number] for records in self._epoch.stages.values() for number in records.again}
        for task, counters in self.counters.items():
            if task in effects.again:
                counters[AGAIN] = 1
            elif task in had:
                counters.pop(AGAIN, None)

    def _take_changes(self, tables: Mapping[str, Sequence[EngineTable[Any]]]) -> None:
        for name, records in self._epoch.stages.items():
            for table in tables[name]:
                row_prefix = table.spec.name.encode() + b"/"
                changelog = records.stage.changelog
                limit = changelog.max_message_bytes // 2
                for partition, rows in table.changes.items():
                    task = records.tasks[partition]
                    assert task.changelog is not None  # noqa: S101 - stateful
                    self.changes[task][table.spec.name] = rows
                    for key, value in rows.items():
                        if value is not None and len(value) > limit:
                            check_size(changelog, len(row_prefix) + len(key) + len(value))
                    keys = [row_prefix + key for key in rows]
                    self._records.append(Outputs(task.changelog[0], keys, rows.values(), partition))

    def _marker(self, task: Task) -> bytes:
        said = self.positions[task], self.counters[task], self.judgements[task]
        return encode(marker.make_marker(task.foreseen.epoch + 1, self._worker, *said))

    def _standing(self, task: Task) -> Standing:
        next_offsets = {where: at for where, (_, at) in self.positions[task].items()}
        if task not in self.markers:
            return task.foreseen._replace(next_offsets=next_offsets)
        return Standing(task.foreseen.epoch + 1, self.counters[task], self.judgements[task], next_offsets)


def _unmoved(task: Task) -> Positions:
    return {where: (at, at) for where, at in task.foreseen.next_offsets.items()}


def _added(running: Mapping[str, int], epoch: Mapping[str, int]) -> dict[str, int]:
    total = dict(running)
    for name, amount in epoch.items():
        total[name] = total.get(name, 0) + amount
    return total


def _advance(positions: Positions, message: Message) -> None:
    where = (message.topic() or "", message.partition() or 0)
    positions[where] = (positions[where][0], (message.offset() or 0) + 1)
