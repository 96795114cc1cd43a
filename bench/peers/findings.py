"""The second table of the peers: what was found on a paced load. Single runs, not medians; only what was right counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.figures import Spread
from bench.peers.latency import Latencies

BEHIND_S = 5.0
"""Not all committed so long after the last record: the pace is above what the peer can do. Faust commits every 3 s."""


@dataclass(frozen=True)
class LatencyRun:
    """One paced run: whose comfortable pace it was, the pace as it was, and what was found; None when the run failed."""

    peer: str
    pace_of: str
    right: bool
    events_per_s: float = 0.0
    behind_s: float = 0.0
    found: Latencies | None = None
    said: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it is a result."""
        return self.right and self.found is not None


@dataclass
class Findings:
    """Everything that was found beside throughput."""

    latencies: list[LatencyRun] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether every run that must be right was."""
        return all(run.right for run in self.latencies)

    def latency(self, peer: str, pace_of: str) -> LatencyRun | None:
        """Give the result of a peer at the pace of one, itself or another."""
        return next((run for run in self.latencies if (run.peer, run.pace_of) == (peer, pace_of) and run.counts), None)

    def lines(self, peers: Sequence[str], ours: str, start_s: Mapping[str, Spread | None]) -> list[str]:
        """Give the table for people; a dash where there is no result."""
        header = f"{'peer':<14} {'start-up s':>18} {'paced events/s':>14} {'p50 ms':>9} {'p99 ms':>9} {ours + ' there':>20}"
        return [header, *(self._row(peer, ours, start_s.get(peer)) for peer in peers)]

    def _row(self, peer: str, ours: str, start_s: Spread | None) -> str:
        own, beside = self.latency(peer, peer), self.latency(ours, peer)
        start = "-" if start_s is None else f"{start_s.median:.1f} ({start_s.low:.1f}-{start_s.high:.1f})"
        pace = "-" if own is None else f"{own.events_per_s:,.0f}"
        p50, p99 = ("-", "-") if own is None or own.found is None else quantiles_said(own)
        there = "-" if beside is None or peer == ours else " / ".join(quantiles_said(beside))
        return f"{peer:<14} {start:>18} {pace:>14} {p50:>9} {p99:>9} {there:>20}"

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {"latency": [asdict(run) for run in self.latencies]}

    def panels(self, peers: Sequence[str]) -> list[tuple[str, dict[str, float], str]]:
        """Give what is drawn, where there is any: a title, a value for each peer, and its form."""
        found = {peer: run.found.p99_ms for peer in peers if (run := self.latency(peer, peer)) is not None and run.found}
        panels = [("Latency p99 at half of its own events/s, ms", found, ",.0f")]
        return [panel for panel in panels if panel[1]]


def quantiles_said(run: LatencyRun) -> tuple[str, str]:
    """Give p50 and p99, the last marked when the peer fell behind."""
    assert run.found is not None  # noqa: S101 - it counts
    return f"{run.found.p50_ms:,.0f}", f"{run.found.p99_ms:,.0f}{'!' if run.behind_s > BEHIND_S else ''}"
