"""The table of all rows: cost per event, and bytes per live key, as medians and ranges over the runs that were right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Figures, Spread
from bench.peers.report import plain, said
from bench.report import machine, versions
from bench.scale.rows import ROW_NAMED
from bench.scale.run import Result

MEBIBYTE = 1 << 20

Value = Callable[[Result], float | None]


def _of(figure: Callable[[Figures], float]) -> Value:
    """Give a figure of the run; None where all was through with the first commit."""
    return lambda run: None if run.figures is None else figure(run.figures)


def _per_key(size_bytes: Callable[[Result], int]) -> Value:
    """Give bytes per live key; None where nothing was seen, as of a broker in a container."""
    return lambda run: size_bytes(run) / run.row.live_keys or None


def _restore_cpu_us(run: Result) -> float | None:
    """Give the workers' processor time for a record of a restore; with few records it is that of joining and opening."""
    return run.restore_cpu_s * 1e6 / run.restored_count if run.restored_count else None


def _log_per_event(run: Result) -> float | None:
    """Give what the changelog grew by; with its markers and the batches' headers."""
    if run.figures is None or not run.log_bytes_before:
        return None
    return (run.log_bytes_after - run.log_bytes_before) / run.events_count


@dataclass(frozen=True)
class Column:
    """One figure: its key in the report, its heading, how it is printed, and where it comes from."""

    name: str
    heading: str
    form: str
    value: Value


COLUMNS = (
    Column("cpu_us_per_event", "µs CPU per event", ".1f", _of(lambda figures: figures.cpu_us_per_event)),
    Column("events_per_s", "events/s", ",.0f", _of(lambda figures: figures.events_per_s)),
    Column("broker_cpu_us_per_event", "broker µs", ".1f", _of(lambda figures: figures.broker_cpu_us_per_event)),
    Column("rss_mib", "peak RSS MiB", ",.0f", _of(lambda figures: figures.rss_bytes_max / MEBIBYTE)),
    Column("row_bytes_per_key", "row B/key", ",.0f", _per_key(lambda run: run.rows_bytes)),
    Column("log_bytes_per_key", "changelog B/key", ",.0f", _per_key(lambda run: run.log_bytes_before)),
    Column("store_bytes_per_key", "store B/key", ",.0f", _per_key(lambda run: run.store_bytes_before)),
    Column("store_bytes_per_key_after", "store B/key after", ",.0f", _per_key(lambda run: run.store_bytes_after)),
    Column("log_bytes_per_event", "changelog B/event", ",.0f", _log_per_event),
    Column("restored_per_s", "restored/s", ",.0f", lambda run: run.restored_count / run.restore_s if run.restore_s else None),
    Column("restore_cpu_us_per_record", "restore µs CPU", ".1f", _restore_cpu_us),
    Column("events_per_touched_key", "events/touched key", ".1f", lambda run: run.events_count / run.touched_count),
)


@dataclass
class ScaleReport:
    """Everything of one measurement. ``failed`` has a sentence for each run that did not come to its end, by row."""

    arguments: dict[str, Any]
    runs: list[Result] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The rows, in the order of the table."""
        known = {run.row.name for run in self.runs} | {name for name, _ in self.failed}
        return [name for name in ROW_NAMED if name in known]

    @property
    def exact(self) -> bool:
        """Whether every run came to its end, and every sum was right."""
        return bool(self.runs) and not self.failed and not any(run.problems for run in self.runs)

    def spread(self, name: str, column: Column) -> Spread | None:
        """Give one figure of a row, of the runs that were right."""
        values = [column.value(run) for run in self.runs if run.row.name == name and not run.problems]
        return Spread.of([value for value in values if value is not None])

    def lines(self) -> list[str]:
        """Give the table for people, as Markdown; then what was not right."""
        headings = ["row", "right", *(column.heading for column in COLUMNS)]
        table = [headings, ["---"] * len(headings), *map(self._row, self.names)]
        problems = [f"{run.row.name}: {problem}" for run in self.runs for problem in run.problems]
        return [*(f"| {' | '.join(cells)} |" for cells in table), *problems, *(f"{name}: {why}" for name, why in self.failed)]

    def _row(self, name: str) -> list[str]:
        runs = [run for run in self.runs if run.row.name == name]
        tries = len(runs) + sum(failed == name for failed, _ in self.failed)
        figures = [_said(self.spread(name, column), column.form, len(runs)) for column in COLUMNS]
        return [name, f"{sum(not run.problems for run in runs)}/{tries}", *figures]

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "exact": self.exact,
            "arguments": self.arguments,
            "machine": machine(),
            "versions": versions(),
            "rows": {
                name: {column.name: plain(self.spread(name, column)) for column in COLUMNS} for name in self.names
            },
            "runs": [
                msgspec.to_builtins(run) | {"figures": run.figures.as_json() if run.figures else None} for run in self.runs
            ],
            "failed": [{"row": name, "why": why} for name, why in self.failed],
        }  # fmt: skip

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")


def _said(spread: Spread | None, form: str, runs_count: int) -> str:
    """Give the median, and the range where there are several."""
    return f"{spread.median:{form}}" if spread and runs_count == 1 else said(spread, form)
