"""A deployment at one moment: its workers, its tasks, how far behind they are, and what is in the way. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.settlement.clocks import NEWEST as CLOCK
from schemas.events import TaskMarker
from streams import marker
from streams.fleet import Worker, owner_of, tasks_of
from streams.lag import Lag
from streams.task_names import NamedTask, tasks_in, tasks_text
from streams.topology import Stage, Topology

UNOWNED = "unowned"
SILENT = "silent"
"""States of a task of which no page tells: nobody owns it, or its owner's page does not answer."""
PROBLEMS = frozenset({"paused", "stopped"})
"""States that do not pass by themselves."""
TOTALS = ("consumed", "applied", "duplicates", "dead")


@dataclass(frozen=True)
class WorkerRow:
    """One worker. Of one whose page does not answer, only what the cluster knows: who, where, and its tasks."""

    worker: str
    place: str
    state: str
    tasks: tuple[str, ...]
    epochs_count: int | None = None
    aborts_count: int | None = None
    started_at_ms: int | None = None
    waiting_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskRow:
    """One task. None is unknown; ``lag_seconds`` is for how long its oldest unread record has been in Kafka."""

    task: str
    owner: str | None
    state: str
    reason: str
    retry_at_ms: int | None
    lag_records: int | None
    lag_seconds: float | None
    restored_records: int | None
    restore_left_records: int | None
    probe_left_records: int | None
    newest_event_ms: int | None
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Overview:
    """Everything that ``tally status`` says."""

    group: str
    at_ms: int
    partitions_count: int
    workers: tuple[WorkerRow, ...]
    tasks: tuple[TaskRow, ...]

    @property
    def problems(self) -> list[str]:
        """Sentences on what a person must look at; empty: nothing."""
        found = [f"task {task.task} is {task.state}: {task.reason}" for task in self.tasks if task.state in PROBLEMS]
        unowned = [task for task in self.tasks if task.state == UNOWNED]
        found += [f"task {task.task} has no owner, and is paused: {task.reason}" for task in unowned if task.reason]
        if unowned:
            names = tasks_text((task.task, "running") for task in unowned)
            found.append(f"{len(unowned)} tasks have no owner: {names}")
        return found

    @property
    def notes(self) -> list[str]:
        """Sentences on what may surprise, and needs nobody."""
        found = [f"{row.worker} waits for {reason}" for row in self.workers for reason in row.waiting_for]
        found += [
            f"the page of {row.worker} at {row.place} does not answer; if it died, others take over when the group gives it up"
            for row in self.workers
            if row.state == SILENT
        ]
        if len(self.workers) > self.partitions_count:
            idle = ", ".join(row.worker for row in self.workers if not row.tasks)
            found.append(
                f"{len(self.workers)} workers for {self.partitions_count} partitions: more than {self.partitions_count} workers "
                f"would idle{f', as {idle} does' if idle else ''}"
            )
        return found

    @property
    def lag_records(self) -> int | None:
        """Records of all tasks that are not processed; None if that of a task is unknown."""
        lags = [task.lag_records for task in self.tasks]
        return None if None in lags else sum(lag or 0 for lag in lags)

    @property
    def lag_seconds(self) -> float | None:
        """For how long the oldest unprocessed record has been in Kafka."""
        return max((task.lag_seconds for task in self.tasks if task.lag_seconds is not None), default=None)

    @property
    def counters(self) -> dict[str, int]:
        """Consumed, applied, duplicates and dead letters since the first record, of all tasks."""
        return {name: sum(task.counters.get(name, 0) for task in self.tasks) for name in TOTALS}

    @property
    def states(self) -> dict[str, int]:
        """How many tasks are in which state."""
        return dict(Counter(task.state for task in self.tasks))


def overview(
    topology: Topology,
    prefix: str,
    group: str,
    workers: Sequence[Worker],
    lags: Mapping[marker.TopicPartition, Lag],
    markers: Mapping[marker.TopicPartition, TaskMarker],
    at_ms: int,
) -> Overview:
    """Put together what pages and cluster say; ``lags`` are by input, ``markers`` by changelog, of tasks without a page."""
    tasks = tuple(
        _task(task, prefix, owner_of(task.name, workers, prefix, topology), lags, markers, at_ms) for task in tasks_in(topology)
    )
    partitions_count = max(topic.partitions for stage in topology for topic in stage.reads)
    return Overview(group, at_ms, partitions_count, tuple(_worker(each, prefix, topology) for each in workers), tasks)


def without_page(topology: Topology, prefix: str, workers: Sequence[Worker]) -> list[marker.TopicPartition]:
    """Give the changelogs of the tasks that no page tells of."""
    told = {name for worker in workers for name in worker.tasks}
    return [(stage.changelog.named(prefix), partition) for name, stage, partition in tasks_in(topology) if name not in told]


def _worker(worker: Worker, prefix: str, topology: Topology) -> WorkerRow:
    member, status = worker.member, worker.status
    if not worker.answers:
        return WorkerRow(member.worker, member.place, SILENT, tuple(tasks_of(member.partitions, prefix, topology)))
    return WorkerRow(
        member.worker,
        member.place,
        "ready" if status.get("ready") else "starting",
        tuple(worker.tasks),
        status.get("epochs_count"),
        sum(status.get("aborts", {}).values()),
        status.get("started_at_ms"),
        tuple(status.get("waiting_for", ())),
    )


def _task(
    task: NamedTask,
    prefix: str,
    owner: Worker | None,
    lags: Mapping[marker.TopicPartition, Lag],
    markers: Mapping[marker.TopicPartition, TaskMarker],
    at_ms: int,
) -> TaskRow:
    name, stage, partition = task
    page = owner.tasks.get(name, {}) if owner else {}
    newest = markers.get((stage.changelog.named(prefix), partition))
    state, reason = _state(page, owner, newest)
    counters: Mapping[str, int] = page.get("counters") or (newest.counters if newest else {})
    records, seconds = _lag(stage, partition, prefix, lags, at_ms)
    return TaskRow(
        name,
        owner.member.worker if owner else None,
        state,
        reason,
        page.get("retry_at_ms"),
        records,
        seconds,
        page.get("restored_records"),
        page.get("restore_left_records"),
        page.get("probe_left"),
        max((time for topic in stage.reads if (time := counters.get(CLOCK + topic.name, 0))), default=None),
        counters,
    )


def _state(page: Mapping[str, Any], owner: Worker | None, newest: TaskMarker | None) -> tuple[str, str]:
    if page:
        return str(page["state"]), str(page.get("reason", ""))
    paused = marker.judgement_of(newest).paused if newest else ""
    if owner is None:
        return UNOWNED, paused
    if paused:
        return "paused", paused
    # An owner that answers and does not name the task has just been given it.
    return ("restoring", "") if owner.answers else (SILENT, "")


def _lag(
    stage: Stage, partition: int, prefix: str, lags: Mapping[marker.TopicPartition, Lag], at_ms: int
) -> tuple[int | None, float | None]:
    found = [lags.get((topic.named(prefix), partition)) for topic in stage.reads]
    known = [lag for lag in found if lag is not None]
    if len(known) < len(found):
        return None, None
    seconds = [lag.seconds(at_ms) for lag in known]
    return sum(lag.records for lag in known), None if None in seconds else max(second or 0.0 for second in seconds)


def as_plain(seen: Overview) -> dict[str, Any]:
    """Give the overview as JSON has it; names end with their units, times are milliseconds since 1970."""
    return {
        "group": seen.group,
        "at_ms": seen.at_ms,
        "problems": seen.problems,
        "notes": seen.notes,
        "totals": {
            "workers_count": len(seen.workers),
            "tasks_by_state": seen.states,
            "lag_records": seen.lag_records,
            "lag_seconds": seen.lag_seconds,
            "counters": seen.counters,
        },
        "workers": [_plain(row) for row in seen.workers],
        "tasks": [_plain(row) for row in seen.tasks],
    }


def _plain(row: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(row).items()}
