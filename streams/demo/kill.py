"""The kill of a demo: its evidence, and how long the dead worker's tasks gave no answer. Pure: told the time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streams.demo.state import TopicPartition

EPOCHS_BEFORE_KILL = 10
"""By then the worker has state, committed epochs and a place in the group to lose."""

OVERDUE_S = 5.0
"""From arming; with lag a worker's next commit comes within a second."""


@dataclass(frozen=True)
class Evidence:
    """What a worker wrote before it died at a kill point: inside which epoch, holding how many records."""

    epoch: int
    records: int
    pid: int


def evidence_in(log: Iterable[str], pid: int) -> Evidence | None:
    """Find a process's evidence among the lines of its log; None when it left none."""
    for line in log:
        if not line.startswith('{"killed_at"'):
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue  # the line is still being written
        if said["pid"] == pid:
            return Evidence(said["epoch"], said["records"], pid)
    return None


@dataclass
class Kill:
    """One death by SIGKILL, and the takeover after it.

    ``tasks`` are the tasks of the dead worker with their input partitions. Those with lag are
    watched until the group has committed an offset above the one at death.
    """

    worker: str
    pid: int
    by: Literal["kill point", "signal", "key"]
    died_s: float
    tasks: Mapping[str, tuple[TopicPartition, ...]]
    epochs_count: int = 0
    lag_records: int = 0
    evidence: Evidence | None = None
    takeover_s: float | None = None
    _baseline: Mapping[TopicPartition, int] = field(default_factory=dict)
    _waiting: set[str] | None = None

    def see_lag(self, committed: Mapping[TopicPartition, int], lag: Mapping[TopicPartition, int]) -> None:
        """Note the committed offsets at death and the records behind them, per partition."""
        self._baseline = dict(committed)
        own = {where for inputs in self.tasks.values() for where in inputs}
        self.lag_records = sum(records for where, records in lag.items() if where in own)
        self._waiting = {name for name, inputs in self.tasks.items() if any(lag.get(where, 0) for where in inputs)}

    def see_offsets(self, committed: Mapping[TopicPartition, int], at_s: float) -> None:
        """Note committed offsets; the last task that answers ends the takeover."""
        if not self._waiting:
            return
        self._waiting -= {
            name
            for name in self._waiting
            if any(committed.get(where, 0) > self._baseline.get(where, 0) for where in self.tasks[name])
        }
        if not self._waiting:
            self.takeover_s = at_s - self.died_s

    @property
    def waiting(self) -> frozenset[str]:
        """Tasks that had lag at the death and have not answered since."""
        return frozenset(self._waiting or ())

    @property
    def settled(self) -> bool:
        """True when no task is waited for; a death without lag is settled as soon as that is known."""
        return self._waiting is not None and not self._waiting

    @property
    def counts(self) -> bool:
        """True when it is the fault that the demo promises: with lag, and after enough epochs."""
        epochs = self.evidence.epoch if self.evidence else self.epochs_count
        return epochs >= EPOCHS_BEFORE_KILL and self.lag_records > 0

    def sentence(self) -> str:
        """Give the segment of the last line: ``w2 (pid 4711) killed in epoch 88, 1,310 records redone, ...``."""
        who = f"{self.worker} (pid {self.pid})"
        if self.evidence:
            how = f"{who} killed in epoch {self.evidence.epoch:,}, {self.evidence.records:,} records redone"
        else:
            reason = "by hand" if self.by == "key" else "by a signal from outside, since it did not reach its kill point"
            how = f"{who} killed {reason} after about {self.epochs_count:,} epochs"
        if self.takeover_s is not None:
            return f"{how}, its tasks answered after {self.takeover_s:.1f} s"
        return f"{how}, its tasks had no lag" if self.settled else f"{how}, its tasks have not answered"

    def as_json(self) -> dict[str, Any]:
        """Give the same as plain values."""
        return {
            "worker": self.worker,
            "pid": self.pid,
            "by": self.by,
            "epoch": self.evidence.epoch if self.evidence else None,
            "epochs_seen": self.epochs_count,
            "records_redone": self.evidence.records if self.evidence else None,
            "lag_records": self.lag_records,
            "tasks": sorted(self.tasks),
            "takeover_s": None if self.takeover_s is None else round(self.takeover_s, 3),
        }


def signal_is_due(now_s: float, *, armed_s: float | None, started_s: float) -> bool:
    """Tell whether an armed worker had its time to reach the kill point, and must be killed from outside."""
    return armed_s is not None and now_s - max(armed_s, started_s) > OVERDUE_S
