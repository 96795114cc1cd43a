"""What is known of a running demo, put together from samples of status pages and committed offsets. Pure: told the time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RATE_WINDOW_S = 3.0
"""Events/s are of the last three seconds: steady enough to read, quick enough to show a kill."""
SILENT_AFTER_S = 3.0
"""A page that has not answered for this long is shown as silent; a full epoch keeps it waiting for half a second."""
TROUBLE_CHARS_MAX = 60
"""Of the reason why a task stopped or is paused; the whole sentence stands in the worker's log."""

TopicPartition = tuple[str, int]


@dataclass(frozen=True)
class TaskSample:
    """One task on a status page; ``counters`` are running totals of the task, whoever worked on it before."""

    name: str
    state: str
    reason: str
    epoch: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class WorkerSample:
    """One status page."""

    epochs_count: int
    aborts_count: int
    tasks: tuple[TaskSample, ...]


def sample_of(page: Mapping[str, Any]) -> WorkerSample:
    """Read a status page (``Engine.snapshot()`` as JSON)."""
    tasks = tuple(
        TaskSample(task["task"], task["state"], task["reason"], task["epoch"], task["counters"]) for task in page["tasks"]
    )
    return WorkerSample(page["epochs_count"], sum(page["aborts"].values()), tasks)


class Rate:
    """Growth of a running total per second, over the last few seconds."""

    def __init__(self, window_s: float = RATE_WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, at_s: float, total: int) -> None:
        """Note the total at a time."""
        self._seen.append((at_s, total))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - self._window_s:  # noqa: PLR2004 - one on each side
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Give the rate; 0 before there are two totals."""
        if not self._seen:
            return 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


@dataclass
class Member:
    """One worker process as the demo knows it. ``ended`` is how it ended, in a word; empty while it runs."""

    worker: str
    pid: int
    started_s: float
    restarted: bool = False
    ended: str = ""
    answered_s: float | None = None
    sample: WorkerSample = field(default_factory=lambda: WorkerSample(0, 0, ()))

    def state(self, now_s: float) -> str:
        """Say in a word how it is."""
        if self.ended:
            return self.ended
        if self.answered_s is None:
            return "restarting" if self.restarted else "starting"
        if now_s - self.answered_s > SILENT_AFTER_S:
            return "silent"
        return "alive" if self.sample.tasks or not self.restarted else "joining"


class RunState:
    """Everything that the screen, the kill and the end of the run are decided by.

    A task's counters are running totals that move with it from worker to worker. So the newest
    of each task is kept also while nobody owns it, and totals never fall.
    """

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.consumed_by: Counter[str] = Counter()
        self.committed: dict[TopicPartition, int] = {}
        self.rate = Rate()
        self.peak_per_s = 0.0
        self.open_count: int | None = None
        self.final_count = 0
        self._newest: dict[str, TaskSample] = {}

    def started(self, worker: str, pid: int, at_s: float, *, restarted: bool) -> None:
        """Note a new process."""
        self.members[pid] = Member(worker, pid, at_s, restarted)

    def ended(self, pid: int, how: str) -> None:
        """Note the end of a process: ``killed`` or another word."""
        self.members[pid].ended = how

    def forget(self, pid: int) -> None:
        """Take an ended process off the screen."""
        self.members.pop(pid, None)

    def see_status(self, pid: int, sample: WorkerSample, at_s: float) -> None:
        """Note what a status page said; a page that arrives after the end of its process still counts."""
        member = self.members.get(pid)
        if member is None:
            return
        member.answered_s, member.sample = at_s, sample
        for task in sample.tasks:
            known = self._newest.get(task.name)
            if known is not None and known.epoch >= task.epoch:
                continue
            self._newest[task.name] = task
            if task.name.startswith("settlement/"):
                before = known.counters.get("consumed", 0) if known else 0
                self.consumed_by[member.worker] += task.counters.get("consumed", 0) - before

    def see_offsets(self, committed: Mapping[TopicPartition, int], inputs: Iterable[str], at_s: float) -> None:
        """Note the group's committed offsets; ``inputs`` are the names of the topics that count as events."""
        self.committed = dict(committed)
        names = set(inputs)
        self.rate.add(at_s, sum(offset for (topic, _), offset in committed.items() if topic in names))
        self.peak_per_s = max(self.peak_per_s, self.rate.per_s)

    def consumed(self, inputs: Iterable[str]) -> int:
        """Give the committed events of topics that began at offset 0."""
        names = set(inputs)
        return sum(offset for (topic, _), offset in self.committed.items() if topic in names)

    def counters(self, stage: str) -> Counter[str]:
        """Give the counters of a stage, summed over its tasks."""
        total: Counter[str] = Counter()
        for name, task in self._newest.items():
            if name.startswith(f"{stage}/"):
                total.update(task.counters)
        return total

    def in_flight(self) -> bool:
        """Tell whether the second stage has yet to book what the first has sent it, by the tasks' own accounts."""
        booked, windowed = _account(self.counters("settlement"), "booked"), _account(self.counters("revenue"), "windowed")
        return booked != windowed

    def see_windows(self, open_count: int, final_count: int) -> None:
        """Note how many windows are open, and how many are final."""
        self.open_count, self.final_count = open_count, final_count

    @property
    def all_final(self) -> bool:
        """Whether the windows were looked at, and none is open."""
        return self.open_count == 0 and self.final_count > 0

    @property
    def watermark_ms(self) -> int:
        """How far every task of windows is in event time; 0 while one has not heard of all its sources."""
        windows = [task for name, task in self._newest.items() if not name.startswith("settlement/")]
        return min((task.counters.get("watermark_ms", 0) for task in windows), default=0)

    @property
    def newest_ms(self) -> int:
        """The newest event time that was accepted; 0 before there is one."""
        clocks = [task.counters for name, task in self._newest.items() if name.startswith("settlement/")]
        return max((at_ms for clock in clocks for name, at_ms in clock.items() if name.startswith("newest_ms|")), default=0)

    def tasks_running(self) -> set[str]:
        """Give the tasks that some live worker processes."""
        return {task.name for member in self.alive() for task in member.sample.tasks if task.state == "running"}

    def alive(self) -> list[Member]:
        """Give the processes that have not ended."""
        return [member for member in self.members.values() if not member.ended]

    def trouble(self) -> list[str]:
        """Give a sentence for each task that stopped or is paused."""
        return [
            f"{member.worker}: {task.name} {task.state}: {task.reason[:TROUBLE_CHARS_MAX]}"
            for member in self.alive()
            for task in member.sample.tasks
            if task.state in {"paused", "stopped"}
        ]


def _account(counters: Mapping[str, int], name: str) -> dict[str, int]:
    return {key.partition("|")[2]: amount for key, amount in counters.items() if key.startswith(f"{name}|") and amount}
