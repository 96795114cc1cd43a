"""`make bench-growth`: a long history through one worker with little memory. Do memory and disk follow what is open?"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Watch
from bench.history import Sums, history, slices
from bench.main_job import Bench, failures_said
from bench.open_state import OpenState
from bench.plot import Line, Panel, svg
from bench.product import STALL_S, Worker, running_worker
from bench.report import machine, versions
from connectors.auditor import Auditor
from connectors.sources.draft import SPAN_MS
from connectors.sources.publish import Publisher
from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics
from streams.local_broker import LocalBroker
from streams.settings import Settings

HOUR_MS = 3_600_000
AHEAD_EVENTS_MAX = 60_000
"""Sent and not yet committed. With all of it there ahead of time, one input would run days of event time before the other."""
SAMPLE_S = 1.0
GROWTH_MAX = 0.05
"""Of the resident memory, over the last two thirds."""
CACHE_SHARE_MAX = 0.1
"""Of the stores on disk: block cache and write buffers together. With more, a run says nothing of a state that is larger."""
MEBIBYTE = 1 << 20


class Sample(NamedTuple):
    """A moment. ``open_bytes`` are keys and values of the rows that live; ``disk_bytes`` all files of the stores."""

    at_s: float
    events_count: int
    rss_bytes: int
    disk_bytes: int
    open_bytes: int
    orders_count: int
    windows_count: int


@dataclass(frozen=True)
class Growth:
    """What became more over the last two thirds of the events, as a share of what it was at their begin.

    ``medians``: of the last tenth beside the tenth after the first third. ``slope``: of a straight line through all samples.
    """

    medians: float
    slope: float

    @classmethod
    def of(cls, samples: Sequence[Sample], field: str) -> Growth:
        """Measure one field of the samples."""
        events_count = samples[-1].events_count
        since = [sample for sample in samples if sample.events_count >= events_count / 3]
        begin = [sample for sample in since if sample.events_count <= events_count * (1 / 3 + 1 / 10)]
        end = [sample for sample in since if sample.events_count >= events_count * 9 / 10]
        was, now = (statistics.median(getattr(sample, field) for sample in some) for some in (begin or since[:1], end))
        at = [float(sample.events_count) for sample in since]
        if len(set(at)) < 2:
            return cls(now / was - 1, 0.0)
        line = statistics.linear_regression(at, [float(getattr(sample, field)) for sample in since])
        first = line.intercept + line.slope * at[0]
        return cls(now / was - 1, line.slope * (at[-1] - at[0]) / first)


@dataclass
class Report:
    """Everything of one run."""

    arguments: dict[str, Any]
    settings: Settings
    samples: list[Sample]
    problems: list[str]
    minutes_count: int

    @property
    def rss(self) -> Growth:
        """Growth of the resident memory."""
        return Growth.of(self.samples, "rss_bytes")

    @property
    def settled(self) -> list[Sample]:
        """The samples of the last two thirds."""
        return [sample for sample in self.samples if sample.events_count >= self.samples[-1].events_count / 3]

    @property
    def cache_share(self) -> float:
        """The stores' share of the memory budget, cache and write buffers, beside the median of the stores on disk."""
        return self.settings.budget.stores_bytes / statistics.median(sample.disk_bytes for sample in self.settled)

    @property
    def disk_per_open(self) -> list[float]:
        """Bytes on disk for each byte that is open, sample by sample."""
        return [sample.disk_bytes / sample.open_bytes for sample in self.settled if sample.open_bytes]

    @property
    def good(self) -> bool:
        """Whether every sum was right, and memory did not grow though it is small beside the state."""
        within = self.cache_share <= CACHE_SHARE_MAX
        return not self.problems and within and self.rss.medians < GROWTH_MAX and self.rss.slope < GROWTH_MAX

    def lines(self) -> list[str]:
        """Give the summary for people."""
        last, open_, disk = self.samples[-1], Growth.of(self.samples, "open_bytes"), self.disk_per_open
        rss = statistics.median(sample.rss_bytes for sample in self.settled) / MEBIBYTE
        peak = max(sample.rss_bytes for sample in self.samples) / MEBIBYTE
        word, allowed = "WRONG" if self.problems else "EXACT", f"allowed is {GROWTH_MAX:.0%}"
        grew = f"{self.rss.medians:+.1%} by medians, {self.rss.slope:+.1%} by slope"
        rows = f"{last.orders_count:,} orders, {last.windows_count:,} windows"
        per_open = f"{statistics.median(disk):.2f} ({min(disk):.2f}-{max(disk):.2f})"
        return [
            f"{word}: {last.events_count:,} events in {last.at_s:,.0f} s; books, and {self.minutes_count:,} minutes of merchants",
            f"rss    {rss:,.0f} MiB (peak {peak:,.0f}); over the last two thirds {grew}; {allowed}",
            f"state  {last.open_bytes / MEBIBYTE:,.0f} MiB open at the end ({open_.medians:+.1%}): {rows}",
            f"disk   {last.disk_bytes / MEBIBYTE:,.0f} MiB at the end, {per_open} bytes for each open one",
            f"cache  and write buffers are {self.cache_share:.1%} of the stores; asked is {CACHE_SHARE_MAX:.0%} at most",
        ]

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "good": self.good,
            "problems": self.problems,
            "arguments": self.arguments,
            "machine": machine(),
            "versions": versions(),
            "rss_growth": asdict(self.rss),
            "disk_growth": asdict(Growth.of(self.samples, "disk_bytes")),
            "open_growth": asdict(Growth.of(self.samples, "open_bytes")),
            "cache_share": self.cache_share,
            "disk_per_open_median": statistics.median(self.disk_per_open),
            "samples": [sample._asdict() for sample in self.samples],
        }

    def plot(self) -> str:
        """Give the plot as SVG."""
        samples = self.samples
        sizes = ("rss_bytes", "disk_bytes", "open_bytes")
        megabytes = {name: [getattr(sample, name) / MEBIBYTE for sample in samples] for name in sizes}
        counts = {name: [getattr(sample, name) / 1_000 for sample in samples] for name in ("orders_count", "windows_count")}
        panels = [
            Panel("Resident memory of the worker, MiB", [Line("RSS", megabytes["rss_bytes"])]),
            Panel("State, MiB", [Line("stores on disk", megabytes["disk_bytes"]), Line("open rows", megabytes["open_bytes"])]),
            Panel("Open rows, thousands", [Line("orders", counts["orders_count"]), Line("windows", counts["windows_count"])]),
        ]
        at = [sample.events_count / 1e6 for sample in samples]
        return svg(panels, at, "million events", at[-1] / 3)


class Run:
    """One worker on one history."""

    def __init__(self, settings: Settings, worker: Worker, state: OpenState) -> None:
        self._settings = settings
        self._worker = worker
        self._state = state
        self._watch = Watch(worker.process.pid, 0)
        self._began_s = self._moved_s = time.monotonic()
        self._consumed = 0
        self.samples: list[Sample] = []

    def follow_to(self, events_count: int, bench: Bench) -> None:
        """Look on until so many events are committed.

        Raises:
            ProductError: the worker died or stands still.
        """
        while self._consumed < events_count:
            self._state.read_on()
            now_s, consumed = time.monotonic(), self._state.consumed()
            if consumed > self._consumed:
                self._consumed, self._moved_s = consumed, now_s
            elif now_s - self._moved_s > STALL_S:
                raise self._worker.fail(f"committed nothing for {STALL_S:.0f} s")
            if self._worker.process.poll() is not None:
                raise self._worker.fail(f"ended with {self._worker.process.returncode} in the middle of the history")
            if not self.samples or now_s - self._began_s - self.samples[-1].at_s >= SAMPLE_S:
                self.sample()
                bench.say(f"{self._consumed:,} events committed, RSS {self.samples[-1].rss_bytes / MEBIBYTE:,.0f} MiB")

    def sample(self) -> None:
        """Note this moment."""
        rows = self._state.rows
        orders_count = rows["order_state"]
        windows_count = rows.total() - orders_count - rows["timers"]
        self.samples.append(
            Sample(
                time.monotonic() - self._began_s, self._consumed, self._watch.now().rss_bytes,
                disk_bytes(self._settings.state_folder), self._state.size_bytes.total(), orders_count, windows_count,
            )
        )  # fmt: skip


def disk_bytes(folder: Path) -> int:
    """Give the size of all files below a folder; what is deleted meanwhile counts nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(where) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def terms(slices_count: int) -> dict[str, int]:
    """Give the settings by which orders are closed and forgotten within the first third of a history, in event time.

    What comes late in a history is an hour late: the horizon is never less than three.
    """
    span_ms = slices_count * SPAN_MS
    horizon_ms = max(3 * HOUR_MS, span_ms // 4)
    return {"dedup_horizon_ms": horizon_ms, "keep_closed_ms": max(horizon_ms + HOUR_MS, span_ms * 3 // 10)}


def measure(bench: Bench, events_count: int, memory_mb: int, seed: int, log_file: Path) -> Report:
    """Run the history through one worker, and look at both.

    Raises:
        ProductError: the worker died, stopped moving, or did not end well.
        ReadError: the cluster does not answer.
        PublishError: the broker refused events.
    """
    count = slices(events_count, seed)
    rules = terms(count)
    settings = bench.settings("growth").model_copy(update={**rules, "memory_mb": memory_mb})
    apply_topics(admin_client(settings), TOPICS, settings.prefix)
    sums, publisher, auditor = Sums(), Publisher(settings.cluster, settings.prefix), Auditor(settings.cluster, settings.prefix)
    with running_worker(settings, log_file) as worker, OpenState(settings.cluster, settings.prefix) as state:
        run = Run(settings, worker, state)
        for sent in history(count, seed):
            sums.add(sent)
            publisher.send(sent.sent)
            run.follow_to(sums.outcomes.consumed - AHEAD_EVENTS_MAX, bench)
        publisher.close()
        del publisher  # it would say that the broker is gone when that ends
        run.follow_to(sums.outcomes.consumed, bench)
        run.sample()
        worker.wait_for(lambda: not any(auditor.cut().in_flight.values()), "added everything to its windows", SAMPLE_S)
        worker.stop()
    problems = sums.problems(auditor.cut(), settings.cluster, settings.prefix)
    arguments = {"events": events_count, "memory_mb": memory_mb, "seed": seed, **rules}
    return Report(arguments, settings, run.samples, problems, sums.minutes_count)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--events", default=3_000_000, show_default=True, type=click.IntRange(min=1_000), help="Of the whole history.")
@click.option("--memory-mb", default=28, show_default=True, help="Memory budget of the worker.")
@click.option("--seed", default=1, show_default=True, help="Of the orders and payments.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the plot as SVG.")
def main(events: int, memory_mb: int, seed: int, report_file: Path | None, plot_file: Path | None) -> None:
    """Measure whether memory and disk of a worker follow the open state, and not the history.

    Twenty minutes of a shop after twenty minutes, days in all, are sent as the worker gets on; orders are closed and forgotten
    within the first third of them. The worker's memory budget is far smaller than its state.

    \b
    Examples:
      make bench-growth
      make bench-growth ARGS="--report growth.json --plot docs/growth.svg"

    Exit codes: 0 memory grew by less than 5 % over the last two thirds, 1 it grew, or the cache
    is more than a tenth of the state (too few events), or a sum was wrong, or the run failed, 3 Kafka cannot run on this machine.
    """  # noqa: D301 - \b is click's word for "keep these lines"
    with (
        failures_said(),
        tempfile.TemporaryDirectory(prefix="tally-bench-") as folder,
        LocalBroker(Path(folder) / "broker") as broker,
    ):
        report = measure(Bench(broker, Path(folder)), events, memory_mb, seed, Path(folder) / "worker.log")
    click.echo("\n".join([*report.lines(), *report.problems]))
    if report_file is not None:
        report_file.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        plot_file.write_text(report.plot(), encoding="utf-8")
    sys.exit(0 if report.good else 1)


if __name__ == "__main__":
    main()
