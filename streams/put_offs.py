"""Tasks that are restored later, because the disk has no room for their stores. Pure: times are arguments, in seconds."""

from __future__ import annotations

from streams.back_off import DISK, BackOff
from streams.tasks import Task


class PutOffs:
    """The tasks that are put off, and how often each was in a row."""

    def __init__(self, back_off: BackOff = DISK) -> None:
        self._back_off = back_off
        self._due: dict[Task, float] = {}
        self._tries: dict[str, tuple[int, float]] = {}

    def put_off(self, task: Task, now_s: float, luck: float) -> float:
        """Give for how long the task waits; ``luck`` is a random number from 0 to 1."""
        tries, ended_s = self._tries.get(task.name, (0, now_s))
        # A store takes rows in memory for a while before it misses its room again: only a long peace begins anew.
        tries = 1 if now_s - ended_s > 2 * self._back_off.most_s else tries + 1
        wait_s = self._back_off.wait_s(tries, luck)
        self._tries[task.name] = tries, now_s + wait_s
        self._due[task] = now_s + wait_s
        return wait_s

    def due(self, now_s: float) -> list[Task]:
        """Give each task whose wait is over, once."""
        due = [task for task, due_s in self._due.items() if due_s <= now_s]
        for task in due:
            del self._due[task]
        return due
