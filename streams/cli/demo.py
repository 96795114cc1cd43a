"""``tally demo``: the main job at once, with a worker killed in the middle and every row judged at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from streams.demo.main import DemoOptions, run_demo
from streams.demo.watch import WORKERS_MAX

EXAMPLES = """
\b
Examples:
  tally demo                              20,000 orders, two workers, one of them killed half-way
  tally demo --seed 7 --workers 3         other orders, one worker more
  tally demo --orders 3000 --no-kill      small, and nobody dies
  tally demo --report demo.json           the verdict, the kill and the times as JSON too
\b
Exit codes:
  0  EXACT    every row, dead letter, offset and amount is right, and the kill happened
  1  WRONG    something is not; up to 20 rows are shown
  3  NOT RUN  no verdict: this machine lacks something, it was ended early, or the kill did not happen
"""


@click.command("demo", epilog=EXAMPLES, short_help="run it all, kill a worker, judge every row")
@click.option(
    "--orders", type=click.IntRange(1), default=20_000, show_default=True, help="Orders to place; about three events each."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed gives the same orders.")
@click.option("--workers", type=click.IntRange(1, WORKERS_MAX), default=2, show_default=True, help="Worker processes.")
@click.option("--no-kill", is_flag=True, help="Let every worker live.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write the same as JSON to this file."
)
@click.option(
    "--rate", type=click.FloatRange(1), default=None, help="Events per second of the first part (default: it takes 8 s)."
)
@click.option("--keep", is_flag=True, help="Leave topics and group on your own cluster; on the local broker they always stay.")
def command(orders: int, seed: int, workers: int, no_kill: bool, report: Path | None, rate: float | None, keep: bool) -> None:
    """Run orders and payments through real Kafka, kill a worker, and judge every row.

    A local Kafka is started unless it runs, and stays up for a look afterwards. If KAFKA_BOOTSTRAP_SERVERS
    names a cluster of yours, the demo says what it will make there, goes on only if TALLY_ALLOW_CLUSTER is that
    cluster's id (else it ends with 2), and takes it away at the end. The topics are made anew under a prefix of their own. At the
    end everything committed is compared with what was sent, by code that shares nothing with the
    agents or the engine.

    In a terminal, k kills a worker by hand and q ends the demo.
    """
    options = DemoOptions(orders=orders, seed=seed, workers=workers, kill=not no_kill, events_per_s=rate, keep=keep)
    result = run_demo(options, Console(highlight=False))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    click.echo(result.last_lines())
    sys.exit(result.exit_code)
