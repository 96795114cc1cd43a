"""Whether a worker lives, and whether it has once been ready: what an orchestrator asks."""

from __future__ import annotations

from collections.abc import Collection

from streams.tasks import Task, TaskState

UNASSIGNED_S = 10.0
"""A group gives a member its partitions within two heartbeats, which are 5 s apart; a member that has none by then gets none.

No setting: ready a little early or late, once in a worker's life, costs nobody anything.
"""


class Readiness:
    """Ready after the first restore, or with nothing to restore; and from then on for good, whatever moves or breaks."""

    def __init__(self) -> None:
        self.ready = False
        self._since_s: float | None = None

    def look(self, tasks: Collection[Task], now_s: float) -> None:
        """Look at the owned tasks, once each turn; ``now_s`` is a monotonic clock. Costs nothing once ready."""
        if self.ready:
            return
        if self._since_s is None:
            self._since_s = now_s
        if tasks:
            self.ready = all(task.state is not TaskState.RESTORING for task in tasks)
        else:
            self.ready = now_s - self._since_s >= UNASSIGNED_S


def is_live(silent_s: float, live_timeout_ms: int) -> bool:
    """Tell whether a worker lives of which the poll loop has not turned for ``silent_s``; one that waits says so, and counts."""
    return silent_s * 1_000 <= live_timeout_ms
