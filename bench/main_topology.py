"""The main job alone: settlement and the minutes of merchants, without the rest of the catalogue; and a worker that runs it."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.flows import MONEY
from agents.revenue import agent as revenue
from agents.revenue.windows import REVENUE, WATERMARKS
from agents.settlement import agent as settlement
from schemas.topics import CUSTOMER_DELTAS, REVENUE_ADJUSTMENTS, REVENUE_BY_MERCHANT_1M
from streams.errors import TallyError
from streams.logs import set_up
from streams.settings import load_cluster_settings
from streams.topology import TOPOLOGY, Stage, Topology
from streams.worker import run_worker

MINUTES = tuple(window for window in REVENUE if window.topic is REVENUE_BY_MERCHANT_1M)


def main_job(topology: Topology) -> Topology:
    """Give the topology with one flow and one window, and without stages that only others need."""
    stages: dict[str, Stage] = {stage.name: stage for stage in topology}
    orders, merchants = stages["settlement"], stages["revenue"]
    return (
        replace(
            orders,
            writes=tuple(topic for topic in orders.writes if topic is not CUSTOMER_DELTAS),
            declare=partial(settlement.declare, flows=(MONEY,)),
        ),
        replace(
            merchants,
            keeps=(WATERMARKS, *(window.table for window in MINUTES)),
            writes=tuple(t for t in merchants.writes if t is REVENUE_BY_MERCHANT_1M or t not in {w.topic for w in REVENUE}),
            declare=partial(revenue.declare, windows=MINUTES),
        ),
    )


MAIN_JOB = main_job(TOPOLOGY)
_WRITES = {topic.name for stage in MAIN_JOB for topic in stage.writes}
NOT_IN_MAIN = {topic.name for stage in TOPOLOGY for topic in stage.writes if topic.name not in _WRITES} | {
    REVENUE_ADJUSTMENTS.name
}
"""What a judge of the whole catalogue misses. Of adjustments too: those of other flows; those of money are in the books."""
MAIN_WORKER = (sys.executable, "-m", "bench.main_topology")


@click.group()
def main() -> None:
    """Stand in for ``tally`` where the bench starts a worker."""


@main.command(name="worker")
@click.option("--id", "worker_id")
@click.option("--prefix")
@click.option("--web-port", type=int)
def worker(worker_id: str, prefix: str, web_port: int) -> None:
    """Run one worker of the main job until SIGTERM, as ``tally worker`` does of all."""
    settings = load_cluster_settings(worker_id=worker_id, prefix=prefix, web_port=web_port)
    set_up(settings, "INFO")
    try:
        run_worker(settings, MAIN_JOB)
    except TallyError as error:
        click.echo(f"tally: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
