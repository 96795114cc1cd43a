"""The result of a benchmark: pairs of product and limit, restores, and what they were measured on."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka

from bench.figures import DERIVED, Figures, Spread
from bench.poison import Poison, slowdown_of
from bench.product import Restore
from bench.shape import totals
from streams.kafka_runtime import KAFKA_VERSION
from streams.settings import Settings

SETTINGS = (
    "group_protocol",
    "transaction_timeout_ms",
    "epoch_records_max",
    "epoch_wait_ms",
    "memory_mb",
)
"""Of the worker, that bear on the figures."""


@dataclass(frozen=True)
class Pair:
    """One product run, the judge's word on it, the limit beside it, and the main job alone (``main``), judged too."""

    product: Figures
    exact: bool
    verdict: str
    limit: Figures
    limit_epochs_count: int
    limit_aborts_count: int
    output_per_event: dict[str, dict[str, float]]
    main: Figures

    @property
    def ratio(self) -> float:
        """Product over limit, in events a second."""
        return self.product.events_per_s / self.limit.events_per_s

    @property
    def drained_ratio(self) -> float:
        """The same until the deltas are through; flattering, because both wait for the cluster at the end."""
        return self.product.drained_events_per_s / self.limit.drained_events_per_s

    @property
    def catalogue_ratio(self) -> float:
        """The whole catalogue over the main job alone, in events a second."""
        return self.product.events_per_s / self.main.events_per_s

    @property
    def catalogue_cpu_ratio(self) -> float:
        """The same in processor time for each event."""
        return self.product.cpu_us_per_event / self.main.cpu_us_per_event


@dataclass
class Report:
    """Everything of one benchmark."""

    arguments: dict[str, Any]
    settings: Settings
    events_count: int
    pairs: list[Pair] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    poisons: list[Poison] = field(default_factory=list)

    @property
    def counting(self) -> list[Pair]:
        """The pairs whose product run was right to the last row; the others are no result."""
        return [pair for pair in self.pairs if pair.exact]

    @property
    def exact(self) -> bool:
        """Whether every run was right to the last row."""
        return len(self.counting) == len(self.pairs) and all(poison.exact for poison in self.poisons)

    @property
    def ratio(self) -> Spread | None:
        """Product over limit, pair by pair."""
        return Spread.of([pair.ratio for pair in self.counting])

    @property
    def drained_ratio(self) -> Spread | None:
        """The same until the deltas are through."""
        return Spread.of([pair.drained_ratio for pair in self.counting])

    @property
    def catalogue_ratio(self) -> Spread | None:
        """The whole catalogue over the main job alone, in events a second."""
        return Spread.of([pair.catalogue_ratio for pair in self.counting])

    @property
    def catalogue_cpu_ratio(self) -> Spread | None:
        """The same in processor time for each event."""
        return Spread.of([pair.catalogue_cpu_ratio for pair in self.counting])

    @property
    def restore_records_per_s(self) -> Spread | None:
        """Records a second of the restores that lasted long enough for the clock."""
        return Spread.of([rate for restore in self.restores if (rate := restore.records_per_s) is not None])

    def spread(self, of: str, figure: str) -> Spread | None:
        """Give one figure (a property of Figures) of ``product``, ``main`` or ``limit``."""
        return Spread.of([getattr(getattr(pair, of), figure) for pair in self.counting])

    def lines(self) -> list[str]:
        """Give the summary for people."""
        restored = max((restore.records_count for restore in self.restores), default=0)
        rows = [
            _row("product", self, "product"),
            _row("main job", self, "main"),
            _row("limit", self, "limit"),
            f"ratio    product / limit by pair: {_said(self.ratio, '.3f')} | until drained {_said(self.drained_ratio, '.3f')}",
            (
                f"catalogue / main job by pair: {_said(self.catalogue_ratio, '.3f')} in events/s | "
                f"{_said(self.catalogue_cpu_ratio, '.2f')} in CPU per event"
            ),
            f"restore  {_said(self.restore_records_per_s, ',.0f')} records/s, {len(self.restores)} times {restored:,} records",
        ]
        if self.poisons:
            lost = _said(slowdown_of(self.poisons), ".1%")
            rows.append(f"poison   {lost} of the good records' throughput is lost to a tenth of bad ones")
        exact = f"EXACT in {len(self.counting)} of {len(self.pairs)} product runs of {self.events_count:,} events"
        return [exact, *rows]

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        figures = (*DERIVED, "rss_bytes_max")
        medians = {of: {figure: _plain(self.spread(of, figure)) for figure in figures} for of in ("product", "main", "limit")}
        return {
            "exact": self.exact,
            "arguments": self.arguments,
            "events_count": self.events_count,
            "settings": {name: getattr(self.settings, name) for name in SETTINGS},
            "machine": machine(),
            "versions": versions(),
            "ratio": _plain(self.ratio),
            "drained_ratio": _plain(self.drained_ratio),
            "catalogue_ratio": _plain(self.catalogue_ratio),
            "catalogue_cpu_ratio": _plain(self.catalogue_cpu_ratio),
            **medians,
            "restore_records_per_s": _plain(self.restore_records_per_s),
            "poison_slowdown": _plain(slowdown_of(self.poisons)),
            "poisons": [poison.as_json() for poison in self.poisons],
            "pairs": [
                {
                    "product": pair.product.as_json(),
                    "main": pair.main.as_json(),
                    "limit": pair.limit.as_json(),
                    "limit_epochs_count": pair.limit_epochs_count,
                    "limit_aborts_count": pair.limit_aborts_count,
                    "ratio": pair.ratio,
                    "drained_ratio": pair.drained_ratio,
                    "catalogue_ratio": pair.catalogue_ratio,
                    "catalogue_cpu_ratio": pair.catalogue_cpu_ratio,
                    "exact": pair.exact,
                    "verdict": pair.verdict,
                    "output_per_event": pair.output_per_event,
                }
                for pair in self.pairs
            ],
            "restores": [asdict(restore) | {"records_per_s": restore.records_per_s} for restore in self.restores],
        }

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Give the versions of what does the work."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "confluent_kafka": confluent_kafka.version(),  # type: ignore[dict-item, unused-ignore]  # a text by its documentation
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA_VERSION,
    }


def machine() -> dict[str, Any]:
    """Give what the figures hold for."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {"cpu_count": os.cpu_count(), "cpu_model": models[0] if models else platform.processor(), "system": platform.system()}


def _row(label: str, report: Report, of: str) -> str:
    speed, cpu = report.spread(of, "events_per_s"), report.spread(of, "cpu_us_per_event")
    broker, rss = report.spread(of, "broker_cpu_us_per_event"), report.spread(of, "rss_bytes_max")
    memory = "-" if rss is None else f"{rss.high / (1 << 20):,.0f} MiB"
    return (
        f"{label:<8} {_said(speed, ',.0f')} events/s | {_said(cpu, '.1f')} µs CPU per event "
        f"| broker {_said(broker, '.1f')} µs | peak RSS {memory}"
    )


def _said(spread: Spread | None, form: str) -> str:
    return "-" if spread is None else f"{spread.median:{form}} ({spread.low:{form}}-{spread.high:{form}})"


def _plain(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)


def pair_lines(number: int, pair: Pair) -> list[str]:
    """Give the absolute figures of one pair as they come."""
    lines = [
        f"  {label} {number}: {run.events_per_s:,.0f} events/s in {run.seconds:.2f} s (drained {run.drained_seconds:.2f}), "
        f"{run.cpu_us_per_event:.1f} µs CPU per event, broker {run.broker_cpu_us_per_event:.1f} µs, "
        f"peak RSS {run.rss_bytes_max / (1 << 20):,.0f} MiB"
        for label, run in (("product", pair.product), ("main   ", pair.main), ("limit  ", pair.limit))
    ]
    records, size_bytes = totals(pair.output_per_event)
    return [
        *lines,
        (
            f"  ratio   {number}: {pair.ratio:.3f}, both wrote {records:.2f} records and {size_bytes:,.0f} bytes per event; "
            f"catalogue / main job {pair.catalogue_ratio:.3f}"
        ),
    ]
