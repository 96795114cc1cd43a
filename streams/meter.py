"""What this process has done since it started, for the metrics page.

A task's own counters move with it from worker to worker; two workers that both showed them would count the same records twice
after a task came back. These totals never move and never go back, so a sum of their rates over all workers is right.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from streams.tasks import Task
from streams.transaction import Aborted, Unknown

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms: an idle epoch takes 20 ms, a full one half a second, a large restore minutes."""


class Histogram:
    """Counts observations by upper bound."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.sum = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[tuple[str, int]]:
        """Give each upper bound with how many observations were at most so large, as the exposition format has it."""
        total, found = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], list(self._counts), strict=True):
            total += count
            found.append((bound, total))
        return found


class Meter:
    """Totals of one process. Added to once per epoch, attempt or restore, never per record."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, int], Counter[str]] = {}
        self.in_columns: Counter[str] = Counter()
        self.aborts: Counter[str] = Counter()
        self.epoch_seconds = Histogram()
        self.restore_seconds = Histogram()
        self.restored_records = 0

    def committed(self, added: Mapping[Task, Counter[str]], in_columns: Mapping[str, int], seconds: float) -> None:
        """Note an epoch that was committed and applied.

        Args:
            added: what it added to each task's counters.
            in_columns: by stage, how many records were decided in columns.
            seconds: what its attempt took.
        """
        self.epoch_seconds.observe(seconds)
        self.in_columns.update(in_columns)
        for task, counter in added.items():
            if task.stage is not None:
                self.counters.setdefault((task.stage.name, task.partition), Counter()).update(counter)

    def attempted(self, outcome: object) -> None:
        """Note what became of an attempt, if it was aborted or its outcome is unknown."""
        if isinstance(outcome, Aborted | Unknown):
            self.aborts[outcome.cause.split(":", 1)[0]] += 1

    def restored(self, records: int, seconds: float) -> None:
        """Note a restore of some tasks; on the stores' thread."""
        self.restored_records += records
        self.restore_seconds.observe(seconds)
