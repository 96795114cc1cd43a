"""The second table of the peers: what was found on a paced load. Single runs, not medians; only what was right counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.figures import Spread
from bench.peers.latency import Latencies
from bench.peers.restore import Filled
from bench.peers.takeover import Takeover

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

    def line(self) -> str:
        """Give it in one line."""
        took = "no result" if self.found is None else "p50 {} ms, p99 {} ms".format(*quantiles_said(self))
        return f"{self.peer} at the pace of {self.pace_of}: {self.events_per_s:,.0f} events/s, {took}"

    @property
    def counts(self) -> bool:
        """Whether it is a result."""
        return self.right and self.found is not None


@dataclass(frozen=True)
class RestoreRun:
    """One start without local state; ``found`` is None when it failed, ``wrong_rows_count`` what the judge found at the end."""

    peer: str
    is_exact: bool
    found: Filled | None = None
    wrong_rows_count: int = 0
    said: tuple[str, ...] = ()

    def line(self) -> str:
        """Give it in one line."""
        rate, seconds, wrong = restored_said(self)
        return f"{self.peer} without local state: {rate} records/s, goes on after {seconds} s, {wrong} wrong rows"

    @property
    def right(self) -> bool:
        """Whether it came to its end, and as well as the peer promises."""
        return self.found is not None and not (self.is_exact and self.wrong_rows_count)


@dataclass(frozen=True)
class TakeoverRun:
    """One kill on a load; ``found`` is None when it failed, ``wrong_rows_count`` what the judge found at the end."""

    peer: str
    is_exact: bool
    events_per_s: float = 0.0
    behind_s: float = 0.0
    found: Takeover | None = None
    wrong_rows_count: int = 0
    said: tuple[str, ...] = ()

    def line(self) -> str:
        """Give it in one line."""
        seconds, wrong = taken_over_said(self)
        stood = f", {self.found.stood_count} partitions stood" if self.found is not None else ""
        return f"{self.peer} with one of two killed: {seconds} s{stood}, {wrong} wrong rows"

    @property
    def right(self) -> bool:
        """Whether it came to its end, as well as the peer promises, and the dead one had something that stood."""
        return self.found is not None and self.found.stood_count > 0 and not (self.is_exact and self.wrong_rows_count)


@dataclass
class Findings:
    """Everything that was found beside throughput."""

    latencies: list[LatencyRun] = field(default_factory=list)
    restores: list[RestoreRun] = field(default_factory=list)
    takeovers: list[TakeoverRun] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything was tried."""
        return bool(self.latencies or self.restores or self.takeovers)

    @property
    def exact(self) -> bool:
        """Whether every run was as right as its peer promises."""
        found = [run.right for run in self.latencies]
        return all([*found, *(run.right for run in self.restores), *(run.right for run in self.takeovers)])

    def latency(self, peer: str, pace_of: str) -> LatencyRun | None:
        """Give the result of a peer at the pace of one, itself or another."""
        return next((run for run in self.latencies if (run.peer, run.pace_of) == (peer, pace_of) and run.counts), None)

    def filled(self, peer: str) -> RestoreRun | None:
        """Give the start of a peer without local state."""
        return next((run for run in self.restores if run.peer == peer and run.right), None)

    def taken_over(self, peer: str) -> TakeoverRun | None:
        """Give the kill of a process of a peer."""
        return next((run for run in self.takeovers if run.peer == peer and run.right), None)

    def lines(self, peers: Sequence[str], ours: str, start_s: Mapping[str, Spread | None]) -> list[str]:
        """Give the table for people; a dash where there is no result."""
        header = (
            f"{'peer':<14} {'start-up s':>17} {'paced events/s':>14} {'p50 ms':>7} {'p99 ms':>7} {ours + ' there':>17} "
            f"{'restore records/s':>17} {'goes on s':>9} {'wrong rows':>10} "
            f"{'takeover s':>10} {'wrong rows':>10}"
        )
        return [header, *(self._row(peer, ours, start_s.get(peer)) for peer in peers)]

    def _row(self, peer: str, ours: str, start_s: Spread | None) -> str:
        own, beside, restored = self.latency(peer, peer), self.latency(ours, peer), self.filled(peer)
        start = "-" if start_s is None else f"{start_s.median:.1f} ({start_s.low:.1f}-{start_s.high:.1f})"
        pace = "-" if own is None else f"{own.events_per_s:,.0f}"
        p50, p99 = ("-", "-") if own is None else quantiles_said(own)
        there = "-" if beside is None or peer == ours else " / ".join(quantiles_said(beside))
        rate, goes_on, wrong = restored_said(restored)
        takeover, lost = taken_over_said(self.taken_over(peer))
        return (
            f"{peer:<14} {start:>17} {pace:>14} {p50:>7} {p99:>7} {there:>17} {rate:>17} {goes_on:>9} {wrong:>10} "
            f"{takeover:>10} {lost:>10}"
        )

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "latency": [asdict(run) for run in self.latencies],
            "restore": [asdict(run) | {"records_per_s": run.found.records_per_s if run.found else None} for run in self.restores],
            "takeover": [asdict(run) for run in self.takeovers],
        }

    def panels(self, peers: Sequence[str]) -> list[tuple[str, dict[str, float], str]]:
        """Give what is drawn, where there is any: a title, a value for each peer, and its form."""
        found = {peer: run.found.p99_ms for peer in peers if (run := self.latency(peer, peer)) is not None and run.found}
        killed = {peer: kill.found.seconds for peer in peers if (kill := self.taken_over(peer)) is not None and kill.found}
        panels = [
            ("Latency p99 on a paced load, ms", found, ",.0f"),
            ("Seconds until the partitions of a killed process go on", killed, ".1f"),
        ]
        return [panel for panel in panels if panel[1]]


def quantiles_said(run: LatencyRun) -> tuple[str, str]:
    """Give p50 and p99, the last marked when the peer fell behind."""
    assert run.found is not None  # noqa: S101 - it counts
    return f"{run.found.p50_ms:,.0f}", f"{run.found.p99_ms:,.0f}{'!' if run.behind_s > BEHIND_S else ''}"


def restored_said(run: RestoreRun | None) -> tuple[str, str, str]:
    """Give records/s by the peer's own word, or at the least by what its changelogs hold; the time; and wrong rows after it."""
    if run is None or run.found is None:
        return "-", "-", "-"
    found, rate = run.found, run.found.records_per_s
    least = found.changelog_records_count / found.ready_s
    return f"{rate:,.0f}" if rate is not None else f">{least:,.0f}", f"{found.ready_s:.1f}", f"{run.wrong_rows_count:,}"


def taken_over_said(run: TakeoverRun | None) -> tuple[str, str]:
    """Give the longest time that a partition stood, and wrong rows after it."""
    return ("-", "-") if run is None or run.found is None else (f"{run.found.seconds:.1f}", f"{run.wrong_rows_count:,}")
