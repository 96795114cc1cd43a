"""``tally worker``: one worker process."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click

from streams.cli.shared import version_option
from streams.logs import end_in_json, is_json, set_up
from streams.settings import load_cluster_settings
from streams.worker import run_worker


@click.command(name="worker")
@click.option("--id", "worker_id", help="Name of the worker (default: the host's name).")
@click.option("--web-port", type=int, help="Port of its status page (default: by the id, w1 has 6067, w2 6068).")
@click.option("--prefix", help="Put before every topic, group and transactional id.")
@version_option
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False), default="INFO",
    show_default=True, help="The least that is said.",
)  # fmt: skip
def command(worker_id: str | None, web_port: int | None, prefix: str | None, version: str | None, log_level: str) -> None:
    """Run one worker until SIGTERM.

    The id names the transactional id and the folder of the stores: a worker that is started again
    under the same id finds its stores. SIGTERM finishes the epoch, commits, leaves the group and exits 0.

    \b
    Examples:
      tally worker --id w1
      tally worker --id w2 --web-port 8080
      tally worker --id w101 --as v2         of a version that `tally reprocess start` made
    """  # noqa: D301 - \b is click's word for "keep these lines"
    settings = load_cluster_settings(worker_id=worker_id, web_port=web_port, prefix=prefix, version=version)
    set_up(settings, log_level)
    with end_in_json() if is_json(settings, sys.stderr) else nullcontext():
        run_worker(settings)
