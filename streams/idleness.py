"""Which inputs of running tasks are idle, and which tasks are to be told. Pure: positions, ends and the time are arguments.

An input is idle when it is read to its end and nothing came for a while. Quiet counts only as far as it was watched: a
worker that was frozen, or busy with one long epoch, has not seen that nothing came. A task that is not looked at, because it is
restored, held, paused or waits for room, begins anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from schemas.topics import Kind
from streams.marker import TopicPartition
from streams.tasks import Task

SAID = "idle|"
"""The counter in which a task keeps what it was last told of an input: 1 idle, 0 or none active."""

WATCHED_MAX_S = 2.0
"""Of the time between two looks, what counts as watched: four times their distance when the worker is not busy."""


@dataclass
class _Watched:
    """What is known of a task since it runs: when it was last told what, and how long each input has been quiet."""

    looked_s: float
    told_s: float
    told: frozenset[str] | None = None
    quiet_s: dict[TopicPartition, float] = field(default_factory=dict)


class Idleness:
    """Follows the tasks that read inputs only; of an internal topic its own records say how far time is."""

    def __init__(self, idle_after_s: float, tick_s: float) -> None:
        self._idle_after_s = idle_after_s
        self._tick_s = tick_s
        self._watched: dict[Task, _Watched] = {}

    def look(
        self,
        running: Iterable[Task],
        came: Collection[TopicPartition],
        positions: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        now_s: float,
    ) -> dict[Task, frozenset[str]]:
        """Give the tasks that are to be ticked now, each with the declared names of its idle inputs.

        A task is told at once what is otherwise than it said, but for inputs whose records say so themselves. What it does not
        heed, and that all inputs are idle, it is told again after ``tick_s``.

        Args:
            running: the tasks that run and are fetched.
            came: inputs of which records came since the last look; they are in this epoch or before it.
            positions: where the client reads on; of an input of which nothing was read, the task's own offset counts.
            ends: the high watermarks, as far as fetches have told them. Until all of a task's are known it is told nothing.
            now_s: monotonic time.
        """
        tasks = [task for task in running if is_ticked(task)]
        self._watched = {task: self._watched.get(task) or self._begun(task, now_s) for task in tasks}
        known = [task for task in tasks if all(where in ends for where in task.inputs)]
        truths = {task: self._idle(task, came, positions, ends, now_s) for task in known}
        unheeded = {task for task, idle in truths.items() if _is_unheeded(task, idle, came)}
        for task in truths.keys() - unheeded:
            self._watched[task].told = None  # it says so itself; whatever is otherwise next is news
        due = {task for task in unheeded if truths[task] != self._watched[task].told}
        repeated = unheeded | {task for task, idle in truths.items() if len(idle) == len(task.inputs)}
        if any(now_s - self._watched[task].told_s >= self._tick_s for task in repeated):
            # Whose turn comes soon goes along, so that the tasks of a worker are told in one epoch and not in one each.
            due |= {task for task in repeated if now_s - self._watched[task].told_s >= self._tick_s / 2}
        for task in due:
            self._watched[task].told_s, self._watched[task].told = now_s, truths[task]
        return {task: truths[task] for task in sorted(due, key=lambda task: task.partition)}

    def _begun(self, task: Task, now_s: float) -> _Watched:
        """Begin with what the task's marker says: what was idle stays so unless it lags, so a takeover wakes nothing up."""
        said = said_idle(task)
        quiet_s = {where: self._idle_after_s if name in said else 0.0 for name, where in _inputs(task)}
        return _Watched(now_s, now_s, quiet_s=quiet_s)

    def _idle(
        self,
        task: Task,
        came: Collection[TopicPartition],
        positions: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        now_s: float,
    ) -> frozenset[str]:
        watched = self._watched[task]
        seen_s, watched.looked_s, quiet_s = min(now_s - watched.looked_s, WATCHED_MAX_S), now_s, watched.quiet_s
        for where in task.inputs:
            position = max(positions.get(where, 0), task.next_offsets[where])
            quiet_s[where] = 0.0 if where in came or position < ends[where] else quiet_s[where] + seen_s
        return frozenset(name for name, where in _inputs(task) if quiet_s[where] >= self._idle_after_s)


def is_ticked(task: Task) -> bool:
    """Tell whether time is told to a task: to those that read nothing but inputs."""
    return task.stage is not None and all(topic.kind is Kind.INPUT for topic in task.stage.reads)


def said_idle(task: Task) -> frozenset[str]:
    """Give the inputs that are idle as the task's marker has it, or the one that is on its way."""
    return frozenset(name for name, _ in _inputs(task) if task.foreseen.counters.get(SAID + name, 0) == 1)


def _inputs(task: Task) -> list[tuple[str, TopicPartition]]:
    """Give each input's declared name, and where it is."""
    assert task.stage is not None  # noqa: S101 - only those of stages are ticked
    return [(topic.name, where) for topic, where in zip(task.stage.reads, task.inputs, strict=True)]


def _is_unheeded(task: Task, idle: frozenset[str], came: Collection[TopicPartition]) -> bool:
    """Tell whether the task says otherwise, and its records will not change that by themselves."""
    woken = {name for name, where in _inputs(task) if where in came}
    return idle != said_idle(task) - woken
