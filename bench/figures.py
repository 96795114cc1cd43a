"""What a run measures, taken in the same way from the product's process and from the limit's."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

DERIVED = ("events_per_s", "drained_events_per_s", "cpu_us_per_event", "broker_cpu_us_per_event")
"""Properties of :class:`Figures`."""


@dataclass(frozen=True)
class Moment:
    """Where a process stood: a monotonic clock, processor time of all its threads (user and system), resident memory."""

    at_s: float
    cpu_s: float
    broker_cpu_s: float
    rss_bytes: int


class Watch:
    """Looks at a process and at the broker that it talks to; ``broker_pid`` 0: the broker cannot be seen (Docker)."""

    def __init__(self, pid: int, broker_pid: int) -> None:
        self._process = psutil.Process(pid)
        self._broker = psutil.Process(broker_pid) if broker_pid else None

    def now(self) -> Moment:
        """Give this moment; processor times have the kernel's resolution, 10 ms.

        Raises:
            psutil.NoSuchProcess: one of them is gone.
        """
        broker_cpu_s = _cpu_s(self._broker) if self._broker else 0.0
        return Moment(time.monotonic(), _cpu_s(self._process), broker_cpu_s, self._process.memory_info().rss)


def own_watch(broker_pid: int) -> Watch:
    """Watch the process that asks."""
    return Watch(os.getpid(), broker_pid)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Figures:
    """One run over a backlog.

    ``seconds`` end when the last input offset is committed, ``drained_seconds`` when the deltas are through
    too: the last ones cross Kafka with the cluster's latency and an idle processor, which a run of any
    length has once. Processor times are until then; ``broker_cpu_s`` is the broker's in the same time.
    """

    events_count: int
    seconds: float
    drained_seconds: float
    cpu_s: float
    broker_cpu_s: float
    rss_bytes_max: int

    @classmethod
    def between(cls, events_count: int, begin: Moment, inputs_done: Moment, drained: Moment, rss_bytes_max: int) -> Figures:
        """Give the figures of what happened between these moments."""
        spent = drained.cpu_s - begin.cpu_s, drained.broker_cpu_s - begin.broker_cpu_s
        return cls(events_count, inputs_done.at_s - begin.at_s, drained.at_s - begin.at_s, *spent, rss_bytes_max)

    @property
    def events_per_s(self) -> float:
        """Input events a second, until the last input offset is committed."""
        return self.events_count / self.seconds

    @property
    def drained_events_per_s(self) -> float:
        """Input events a second, until the deltas are through too."""
        return self.events_count / self.drained_seconds

    @property
    def cpu_us_per_event(self) -> float:
        """Microseconds of processor time for each input event."""
        return self.cpu_s * 1e6 / self.events_count

    @property
    def broker_cpu_us_per_event(self) -> float:
        """The broker's, in the same time."""
        return self.broker_cpu_s * 1e6 / self.events_count

    def as_json(self) -> dict[str, Any]:
        """Give what was measured and what follows from it."""
        return asdict(self) | {name: getattr(self, name) for name in DERIVED}


@dataclass(frozen=True)
class Spread:
    """Median and range of one figure over the repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Give the spread; None when there is no value."""
        return cls(statistics.median(values), min(values), max(values)) if values else None
