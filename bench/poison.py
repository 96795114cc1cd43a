"""What bad records cost the good ones: the same orders clean, and with bad records of every kind among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.figures import Figures, Spread

BAD_RATIO = 0.1
"""Of the events: undecodable, in a wrong envelope, or breaking a rule, each kind in turn."""


@dataclass(frozen=True)
class Poison:
    """One run on clean orders and one on the same with bad records among them; ``exact``: the judge found both right."""

    clean: Figures
    poisoned: Figures
    dead_count: int
    exact: bool

    @property
    def good_per_s(self) -> float:
        """Good records a second among the bad ones."""
        return (self.poisoned.events_count - self.dead_count) / self.poisoned.seconds

    @property
    def slowdown(self) -> float:
        """What of the throughput of good records is lost: 0.1 is a tenth."""
        return 1 - self.good_per_s / self.clean.events_per_s

    def line(self, number: int) -> str:
        """Give the figures for people."""
        return (
            f"  poison  {number}: {self.clean.events_per_s:,.0f} good records/s clean, {self.good_per_s:,.0f} with "
            f"{self.dead_count:,} bad ones among {self.poisoned.events_count:,} ({self.slowdown:+.1%} lost)"
        )

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "clean": self.clean.as_json(),
            "poisoned": self.poisoned.as_json(),
            "dead_count": self.dead_count,
            "good_per_s": self.good_per_s,
            "slowdown": self.slowdown,
            "exact": self.exact,
        }


def slowdown_of(poisons: list[Poison]) -> Spread | None:
    """Give median and range over the pairs that were right to the last row."""
    return Spread.of([poison.slowdown for poison in poisons if poison.exact])
