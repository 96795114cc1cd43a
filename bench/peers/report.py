"""One table of all peers: medians and ranges over the runs that were right, and each beside the peers that matter."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.figures import DERIVED, Figures, Spread
from bench.peers.findings import Findings
from bench.report import machine, versions

MEBIBYTE = 1 << 20
FIGURES = (*DERIVED, "rss_bytes_max")
OURS, LIMIT = "product-1", "limit"
WIDTH, BAR, LEFT, GAP = 760, 22, 190, 8
"""Of the plot, in pixels."""


@dataclass(frozen=True)
class PeerRun:
    """One run of one peer; ``figures`` is None when it failed or was too quick. Only what is ``right`` counts."""

    peer: str
    repeat: int
    figures: Figures | None
    right: bool
    start_s: float
    said: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the run as plain values."""
        measured = None if self.figures is None else self.figures.as_json()
        said = list(self.said)
        return {
            "peer": self.peer, "repeat": self.repeat, "right": self.right, "start_s": self.start_s, "figures": measured,
            "said": said,
        }  # fmt: skip


@dataclass
class PeerReport:
    """Everything of one comparison. ``peers`` has what each is, ``configurations`` what of it bears on the figures."""

    arguments: dict[str, Any]
    peers: dict[str, str]
    configurations: dict[str, dict[str, Any]]
    runs: list[PeerRun] = field(default_factory=list)
    found: Findings = field(default_factory=Findings)

    def counting(self, peer: str) -> list[Figures]:
        """Give the figures of the runs of a peer whose output was right."""
        return [run.figures for run in self.runs if run.peer == peer and run.right and run.figures is not None]

    def spread(self, peer: str, figure: str) -> Spread | None:
        """Give one figure (a property of Figures) of a peer."""
        return Spread.of([getattr(figures, figure) for figures in self.counting(peer)])

    def ratio(self, of: str, to: str, figure: str) -> Spread | None:
        """Give ``of`` over ``to`` in one figure, repeat by repeat, where both were right."""
        pairs: defaultdict[int, dict[str, float]] = defaultdict(dict)
        for run in self.runs:
            if run.right and run.figures is not None and run.peer in {of, to}:
                pairs[run.repeat][run.peer] = getattr(run.figures, figure)
        return Spread.of([pair[of] / pair[to] for _, pair in sorted(pairs.items()) if of in pair and to in pair])

    @property
    def exact(self) -> bool:
        """Whether every run of every peer was right, and there was one."""
        return bool(self.runs or self.found.any) and all(run.right for run in self.runs) and self.found.exact

    @property
    def start_s(self) -> dict[str, Spread | None]:
        """How long each peer takes from its start to its first commit, on an empty state."""
        starts = {peer: [run.start_s for run in self.runs if run.peer == peer and run.right] for peer in self.peers}
        for run in self.found.restores:
            if run.found is not None:
                starts[run.peer].append(run.found.start_s)
        return {peer: Spread.of(seconds) for peer, seconds in starts.items()}

    def lines(self) -> list[str]:
        """Give the tables for people, and product-1 beside each of the others."""
        header = f"{'peer':<14} {'right':>5} {'events/s':>28} {'µs CPU per event':>22} {'broker µs':>20} {'peak RSS MiB':>12}"
        rows = [self._row(peer) for peer in self.peers]
        beside = [self._beside(peer) for peer in self.peers if peer != OURS and self.counting(OURS)]
        return [*([header, *rows, *beside] if self.runs else []), *self.found.lines(list(self.peers), OURS, self.start_s)]

    def _row(self, peer: str) -> str:
        runs = [run for run in self.runs if run.peer == peer]
        right = f"{sum(run.right for run in runs)}/{len(runs)}"
        speed, cpu = said(self.spread(peer, "events_per_s"), ",.0f"), said(self.spread(peer, "cpu_us_per_event"), ".1f")
        broker, rss = said(self.spread(peer, "broker_cpu_us_per_event"), ".1f"), self.spread(peer, "rss_bytes_max")
        memory = "-" if rss is None else f"{rss.high / MEBIBYTE:,.0f}"
        return f"{peer:<14} {right:>5} {speed:>28} {cpu:>22} {broker:>20} {memory:>12}"

    def _beside(self, peer: str) -> str:
        speed, cpu = self.ratio(OURS, peer, "events_per_s"), self.ratio(OURS, peer, "cpu_us_per_event")
        memory = self.ratio(OURS, peer, "rss_bytes_max")
        return (
            f"{OURS} / {peer}: {said(speed, '.2f')} in events/s | {said(cpu, '.2f')} in CPU per event | "
            f"{said(memory, '.2f')} in peak RSS"
        )

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        others = [peer for peer in self.peers if peer != OURS]
        return {
            "exact": self.exact,
            "arguments": self.arguments,
            "machine": machine(),
            "versions": versions(),
            "peers": {
                peer: {
                    "what": what,
                    "configuration": self.configurations.get(peer, {}),
                    **{figure: plain(self.spread(peer, figure)) for figure in FIGURES},
                    "start_s": plain(self.start_s[peer]),
                }
                for peer, what in self.peers.items()
            },
            "ratios": {
                peer: {figure: plain(self.ratio(OURS, peer, figure)) for figure in FIGURES} for peer in others
            },
            **self.found.as_json(),
            "runs": [run.as_json() for run in self.runs],
        }  # fmt: skip

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")

    def plot(self) -> str:
        """Give bars as SVG: of every peer that has a right run, events/s, processor time, memory, and what was found beside."""
        panels = (
            ("Events a second", "events_per_s", 1.0, ",.0f"),
            ("Processor time per event, µs", "cpu_us_per_event", 1.0, ".1f"),
            ("Peak resident memory, MiB", "rss_bytes_max", MEBIBYTE, ",.0f"),
        )
        drawn = [
            (
                title,
                {peer: spread.median / unit for peer in self.peers if (spread := self.spread(peer, figure)) is not None},
                form,
            )
            for title, figure, unit, form in panels
        ]
        parts: list[str] = []
        top = 0
        for title, values, form in [*drawn, *self.found.panels(list(self.peers))]:
            parts += bars(title, values, form, top)
            top += 34 + len(values) * (BAR + GAP)
        begin = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 10}" font-family="sans-serif" font-size="12">'
            f'<rect width="{WIDTH}" height="{top + 10}" fill="white"/>'
        )
        return "\n".join([begin, *parts, "</svg>\n"])


def bars(title: str, values: dict[str, float], form: str, top: int) -> list[str]:
    """Give one panel of bars, from zero, the product's in its own colour."""
    longest = max(values.values(), default=1.0) or 1.0
    parts = [f'<text x="10" y="{top + 22}" font-weight="bold">{escape(title)}</text>']
    for number, (name, value) in enumerate(values.items()):
        y, width = top + 34 + number * (BAR + GAP), (WIDTH - LEFT - 90) * value / longest
        colour = "#1f6feb" if name.startswith("product") else "#8c959f"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{y + 15}">{value:{form}}</text>',
        ]
    return parts


def said(spread: Spread | None, form: str) -> str:
    """Give median and range; a dash where there is none."""
    return "-" if spread is None else f"{spread.median:{form}} ({spread.low:{form}}-{spread.high:{form}})"


def plain(spread: Spread | None) -> dict[str, float] | None:
    """Give a spread as plain values."""
    return None if spread is None else {"median": spread.median, "low": spread.low, "high": spread.high}
