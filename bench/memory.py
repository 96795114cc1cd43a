"""`make bench-memory`: one backlog under a small memory budget and under the default, on one broker, interleaved."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figures, Spread
from bench.main_job import Bench, failures_said
from connectors.sources.generator import plan
from connectors.sources.large import with_large_orders
from streams.local_broker import LocalBroker
from streams.settings import Settings

LARGE_BYTES = 480_000
SMALL_BUDGET_MB = 64
BESIDE_MB = 150
DEFAULT_MB: int = Settings.model_fields["memory_mb"].default


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--orders", default=40_000, show_default=True, type=click.IntRange(min=100), help="Orders; about 3 events each.")
@click.option("--large", default=400, show_default=True, help="Of them half a megabyte large.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Pairs of runs.")
@click.option("--seed", default=1, show_default=True, help="Of the orders and payments.")
def main(orders: int, large: int, repeats: int, seed: int) -> None:
    """Measure memory and speed with a budget of 64 MB beside the default one, on a backlog larger than the budget.

    Exit codes: 0 within budget + 150 MB, 1 not so, or a run was not EXACT or failed, 3 Kafka cannot run on this machine.
    """
    with failures_said():
        runs = _measure(orders, large, repeats, seed)
    exact = all(is_exact for _, _, is_exact in runs)
    within = all(run.rss_bytes_max <= (memory_mb + BESIDE_MB) << 20 for memory_mb, run, _ in runs)
    for memory_mb in (SMALL_BUDGET_MB, DEFAULT_MB):
        of_budget = [run for budget_mb, run, _ in runs if budget_mb == memory_mb]
        rate = Spread.of([run.events_per_s for run in of_budget])
        rss = Spread.of([run.rss_bytes_max / (1 << 20) for run in of_budget])
        assert rate is not None  # noqa: S101 - one run of each at least
        assert rss is not None  # noqa: S101 - as above
        click.echo(
            f"{memory_mb:>4} MB  {rate.median:,.0f} ({rate.low:,.0f}-{rate.high:,.0f}) events/s | "
            f"peak RSS {rss.median:,.0f} ({rss.low:,.0f}-{rss.high:,.0f}) MiB"
        )
    click.echo(f"{'EXACT' if exact else 'WRONG'} | {'within' if within else 'ABOVE'} budget + {BESIDE_MB} MB")
    sys.exit(0 if exact and within else 1)


def _measure(orders: int, large: int, repeats: int, seed: int) -> list[tuple[int, Figures, bool]]:
    sent = with_large_orders(plan(orders, seed, duplicate_ratio=0, bad_ratio=0), large, LARGE_BYTES)
    click.echo(f"backlog: {sum(len(record.value or b'') for record in sent.sent) / (1 << 20):,.0f} MiB", err=True)
    runs = []
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder, LocalBroker(Path(folder) / "broker") as broker:
        bench = Bench(broker, Path(folder))
        for number in range(repeats):
            budgets = (SMALL_BUDGET_MB, DEFAULT_MB)
            for memory_mb in budgets if number % 2 == 0 else budgets[::-1]:
                figures, exact = bench.product(f"memory-{memory_mb}-{number}", sent, memory_mb=memory_mb)
                runs.append((memory_mb, figures, exact))
    return runs


if __name__ == "__main__":
    main()
