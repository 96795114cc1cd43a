"""What a demo came to: its last lines, its exit code, and the same as JSON."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import confluent_kafka

from connectors.verdict import Verdict
from streams.demo.kill import Kill
from streams.errors import TallyError

EXIT_CODES = {"EXACT": 0, "WRONG": 1, "NOT RUN": 3}
PACKAGES = ("tally", "confluent-kafka", "faust-streaming", "fastavro", "rocksdict", "msgspec")


class NotRunError(TallyError):
    """The demo did not come to a verdict; the sentence says why."""

    exit_code: ClassVar[int] = 3


@dataclass
class Result:
    """One run. ``not_run`` is the reason when there is no verdict to rely on; times are in seconds."""

    orders: int
    seed: int
    workers: int
    kill_asked: bool
    tail_command: str = ""
    prefix: str = ""
    bootstrap_servers: str = ""
    start_ms: int = 0
    kafka: str = ""
    events_count: int = 0
    not_run: str = ""
    verdict: Verdict | None = None
    kills: list[Kill] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    phases_s: dict[str, float] = field(default_factory=dict)
    events_per_s: float = 0.0
    peak_events_per_s: float = 0.0

    @property
    def word(self) -> Literal["EXACT", "WRONG", "NOT RUN"]:
        """EXACT only when everything is right and the fault that was asked for happened."""
        if self.verdict is not None and not self.verdict.exact:
            return "WRONG"
        return "NOT RUN" if self.why_not() else "EXACT"

    @property
    def exit_code(self) -> int:
        """0, 1 or 3."""
        return EXIT_CODES[self.word]

    def why_not(self) -> str:
        """Give the reason why there is no verdict to rely on; empty when there is one."""
        if self.not_run:
            return self.not_run
        if self.verdict is None:
            return "the run did not come to its end"
        planned = [kill for kill in self.kills if kill.by != "key"]
        if self.kill_asked and not planned:
            return "all rows are right, but no worker was killed: give it more --orders, or --no-kill"
        if self.kill_asked and not planned[0].counts:
            return (
                f"all rows are right, but {planned[0].worker} was killed after {planned[0].epochs_count} epochs with "
                f"{planned[0].lag_records:,} records of lag, which proves nothing: "
                "run it again when this machine has less to do, give it more --orders, or --no-kill"
            )
        return ""

    def last_lines(self) -> str:
        """Give what the demo ends with: the verdict, the rows that are wrong, the kill, what to do next."""
        segments = [*(kill.sentence() for kill in self.kills), *self.remarks]
        if self.word == "NOT RUN":
            left = [remark for remark in self.remarks if remark.startswith("NOT REMOVED")]
            return " | ".join([f"NOT RUN: {self.why_not()}", *left])
        assert self.verdict is not None  # noqa: S101 - the other words come from one
        following = [f"next: {self.tail_command}"] if self.tail_command else []  # nothing to look at when all is removed
        last = " | ".join([self.verdict.summary(), *segments, *following])
        return "\n".join([last, *self.verdict.sentences()])

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "result": self.word,
            "reason": self.why_not() if self.word == "NOT RUN" else "",
            "orders": self.orders,
            "seed": self.seed,
            "start_ms": self.start_ms,
            "workers": self.workers,
            "prefix": self.prefix,
            "bootstrap_servers": self.bootstrap_servers,
            "events_sent": self.events_count,
            "events_per_s": round(self.events_per_s, 1),
            "events_per_s_peak": round(self.peak_events_per_s, 1),
            "verdict": self.verdict.as_json() if self.verdict else None,
            "kills": [kill.as_json() for kill in self.kills],
            "remarks": self.remarks,
            "phases_s": {name: round(seconds, 3) for name, seconds in self.phases_s.items()},
            "versions": versions(self.kafka),
        }


def versions(kafka: str) -> dict[str, str]:
    """Give the versions of what ran; ``kafka`` is the broker's."""
    found = {name: version(name) for name in PACKAGES}
    return {"kafka": kafka, "librdkafka": confluent_kafka.libversion()[0], "python": platform.python_version(), **found}
