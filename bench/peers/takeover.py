"""Two processes of a peer on a paced load, one of them killed with SIGKILL: how long partitions stand, seen from outside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.product import Sample

KILL_AFTER_S = 15.0
"""From the beginning of the pace: both work, and have something to lose."""
AFTER_S = 30.0
"""Of load after the kill: sessions end after 6 s, transactions after 11, and what waited is done beside what comes."""
STANDS_S = 4.0
"""Without a commit for so long a partition stands: each has several records a second, and Faust commits every 3 s."""

Place = tuple[str, int]


@dataclass(frozen=True)
class Takeover:
    """``seconds`` is the longest that any partition of the inputs stood; ``stood_count`` how many stood so long that it shows."""

    seconds: float
    stood_count: int


def advances(samples: Sequence[Sample], place: Place) -> list[float]:
    """Give the moments at which more of a partition was committed than before. Pure."""
    found: list[float] = []
    at = -1
    for sample in samples:
        offset = sample.committed.get(place, -1)
        if offset > at:
            found.append(sample.moment.at_s)
            at = offset
    return found


def stall_s(moments: Sequence[float], killed_at_s: float, ended_at_s: float) -> float:
    """Give the longest time from the kill, or a commit after it while the load is on, to a partition's next commit. Pure."""
    waits = (
        later - earlier
        for earlier, later in pairwise([killed_at_s, *(at for at in moments if at > killed_at_s)])
        if earlier < ended_at_s
    )
    return max(waits, default=0.0)


def takeover(samples: Sequence[Sample], inputs: Collection[Place], killed_at_s: float, ended_at_s: float) -> Takeover:
    """Give how long the partitions of the dead one stood, which are those that stood longest. Pure."""
    stalls = [stall_s(advances(samples, place), killed_at_s, ended_at_s) for place in inputs]
    return Takeover(max(stalls, default=0.0), sum(stall > STANDS_S for stall in stalls))
