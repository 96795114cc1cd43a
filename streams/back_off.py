"""How long to wait before something is tried again: longer each time, up to a limit, never twice the same. Pure.

The waits below are no settings: each ends by itself within ``most_s`` of the trouble, and costs those who are asked nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

DOUBLINGS_MAX = 30
"""Far beyond every limit, and far below what a float can hold."""


@dataclass(frozen=True)
class BackOff:
    """The waits double from ``first_s`` to ``most_s``; each is cut by up to a half: workers must not all come back at once."""

    first_s: float
    most_s: float

    def wait_s(self, attempt: int, luck: float) -> float:
        """Give the wait after the ``attempt``-th failure in a row (from 1); ``luck`` is a random number from 0 to 1.

        The zeroth attempt waits for nothing.
        """
        if attempt < 1:
            return 0.0
        doublings: float = 2.0 ** min(attempt - 1, DOUBLINGS_MAX)
        return min(self.first_s * doublings, self.most_s) * (0.5 + luck / 2)


ABORTED = BackOff(0.05, 2.0)
"""Between two attempts at an aborted epoch: a coordinator that moves is back within a second or two."""
CLUSTER = BackOff(0.1, 1.0)
"""Between two questions to a cluster that does not answer; each takes two seconds itself, and a worker must end within 10 s."""
REGISTRY = BackOff(0.5, 15.0)
"""Between two questions to a schema registry: a restart takes seconds, and one question in 15 s is no load for anybody."""
DISK = BackOff(0.5, 10.0)
"""Between two looks at a full disk: somebody has to make room, and then does not want to wait for long."""
