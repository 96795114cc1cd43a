"""Tasks: the unit of ownership, state, restore and pause. ``settlement/7`` is partition 7 of all topics of one stage."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from streams.judgement import FRESH, Judgement
from streams.marker import TopicPartition
from streams.store import Store, StoreIdentity
from streams.topology import Stage, Topology


class TaskState(StrEnum):
    """Where a task that this worker owns stands.

    A paused task's newest marker says so, and every owner heeds it until somebody resumes the task. A stopped one is in a
    state in which nothing of it can be committed, so each owner finds that out anew.
    """

    RESTORING = "restoring"
    RUNNING = "running"
    HELD = "held"
    PAUSED = "paused"
    STOPPED = "stopped"


class Standing(NamedTuple):
    """Where a task stands between two epochs, as its marker says it."""

    epoch: int
    counters: dict[str, int]
    judgement: Judgement
    next_offsets: dict[TopicPartition, int]


@dataclass(eq=False)
class Task:
    """One owned task. Only the engine changes it; ``revoked`` tells a restore on another thread to give up.

    ``epoch``, ``counters``, ``judgement`` and ``next_offsets`` are as of the last commit. ``ahead`` is how they will be once
    all that was decided of the task is committed; None: nothing is under way.

    A partition of a topic that no stage reads (Faust's own: ask, replies, group_by) is a task
    without a stage: it has offsets, and neither state nor marker.
    """

    stage: Stage | None
    partition: int
    inputs: tuple[TopicPartition, ...]
    changelog: TopicPartition | None
    state: TaskState = TaskState.RESTORING
    reason: str = ""
    retry_at_ms: int | None = None
    store: Store | None = None
    identity: StoreIdentity | None = None
    epoch: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    judgement: Judgement = FRESH
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    ahead: Standing | None = None
    revoked: threading.Event = field(default_factory=threading.Event)
    restored_records: int = 0
    restore_left_records: int = 0

    @property
    def name(self) -> str:
        """Give ``stage/partition``, or ``topic/partition`` for a task without a stage."""
        return f"{self.stage.name if self.stage else self.inputs[0][0]}/{self.partition}"

    @property
    def foreseen(self) -> Standing:
        """Give where the next epoch begins: behind what was decided, be it committed or not."""
        return self.ahead or Standing(self.epoch, self.counters, self.judgement, self.next_offsets)


class Tasks:
    """The tasks of one worker: a task starts when all its partitions are owned and ends when any is revoked."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._prefix = prefix
        self._stage_of = {topic.named(prefix): stage for stage in topology for topic in stage.reads}
        self.owned: set[TopicPartition] = set()
        self.by_input: dict[TopicPartition, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(sorted(set(self.by_input.values()), key=lambda task: task.name))

    def assign(self, partitions: Iterable[TopicPartition]) -> list[Task]:
        """Take ownership; give the tasks that became whole by it."""
        self.owned.update(partitions)
        whole = []
        for where in sorted(self.owned):
            if where in self.by_input:
                continue
            task = self._task_of(where)
            if self.owned.issuperset(task.inputs):
                self.by_input.update(dict.fromkeys(task.inputs, task))
                whole.append(task)
        return whole

    def revoke(self, partitions: Iterable[TopicPartition]) -> list[Task]:
        """Give up ownership; give the tasks that ended by it."""
        ended: dict[Task, None] = {}
        for where in partitions:
            self.owned.discard(where)
            task = self.by_input.get(where)
            if task is not None:
                ended[task] = None
        for task in ended:
            self._forget(task)
        return list(ended)

    def renew(self, task: Task) -> Task:
        """Give a fresh task in the place of one whose state is in doubt; it is restored from the changelog."""
        self._forget(task)
        fresh = self._task_of(task.inputs[0])
        self.by_input.update(dict.fromkeys(fresh.inputs, fresh))
        return fresh

    def is_current(self, task: Task) -> bool:
        """Tell whether the task is still the one that is owned."""
        return self.by_input.get(task.inputs[0]) is task

    def named(self, name: str) -> Task | None:
        """Give the owned task of this name."""
        return next((task for task in set(self.by_input.values()) if task.name == name), None)

    def running(self, stage: Stage | None = None) -> list[Task]:
        """Give the tasks that process records, of one stage or of all."""
        return [
            task
            for task in set(self.by_input.values())
            if task.state is TaskState.RUNNING and (stage is None or task.stage is stage)
        ]

    def committable(self) -> list[Task]:
        """Give the tasks whose state and position are known: only of these can anything be committed."""
        known = {TaskState.RUNNING, TaskState.HELD, TaskState.PAUSED}
        return [task for task in set(self.by_input.values()) if task.state in known]

    def _forget(self, task: Task) -> None:
        task.revoked.set()
        for where in task.inputs:
            self.by_input.pop(where, None)

    def _task_of(self, where: TopicPartition) -> Task:
        topic, partition = where
        stage = self._stage_of.get(topic)
        if stage is None:
            return Task(None, partition, (where,), None)
        inputs = tuple((topic.named(self._prefix), partition) for topic in stage.reads)
        return Task(stage, partition, inputs, (stage.changelog.named(self._prefix), partition))
