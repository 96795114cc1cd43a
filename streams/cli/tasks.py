"""``tally tasks``: pause a task, and let a paused one go on, through the page of the worker that owns it."""

from __future__ import annotations

import json
from typing import Any

import click

from streams.admin import admin_client
from streams.cli.shared import cluster_options
from streams.errors import AnswerError
from streams.fleet import ask_page, find_workers, owner_of
from streams.printable import printable
from streams.settings import Settings, load_cluster_settings
from streams.task_names import tasks_in
from streams.task_pages import BECAUSE_CHARS_MAX, PROBE_RECORDS_MAX
from streams.topology import TOPOLOGY, topology_of

EXAMPLES = """
\b
Examples:
  tally status                                 which task rests, and why
  tally tasks resume settlement/7              go on; what is wrong was mended
  tally tasks resume settlement/7 --probe 200  process 200 records whatever becomes of them, then judge again
  tally tasks pause settlement/7 --because "the shop sends nonsense"
"""


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Pause a task, or let a paused one go on; `tally status` lists them.

    A pause is kept with the task's state: it survives restarts, and moves with the task to other workers.
    """


@command.command(short_help="Let a paused or stopped task go on.")
@click.argument("task")
@click.option(
    "--probe", type=click.IntRange(1, PROBE_RECORDS_MAX), default=None, metavar="N",
    help="Process N records whatever becomes of them (what dies is buried), then judge the task by these.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@cluster_options
def resume(task: str, probe: int | None, as_json: bool, prefix: str | None, bootstrap_servers: str | None) -> None:
    """Let TASK, such as settlement/7, go on from where it was paused; a stopped one is restored and judged again.

    Of a task that runs on a probe, a resume without one ends the probe.
    """
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    _ask(settings, task, "resume", {"probe": probe or 0}, as_json=as_json)


@command.command(short_help="Pause a task.")
@click.argument("task")
@click.option("--because", required=True, metavar="TEXT", help="Why; whoever looks at the task reads it.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@cluster_options
def pause(task: str, because: str, as_json: bool, prefix: str | None, bootstrap_servers: str | None) -> None:
    """Pause TASK between two epochs; its records wait in the input, every other task goes on."""
    if not 0 < len(because.strip()) <= BECAUSE_CHARS_MAX:
        raise click.BadParameter(f"must have 1 to {BECAUSE_CHARS_MAX:,} characters", param_hint="--because")
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    _ask(settings, task, "pause", {"because": because.strip()}, as_json=as_json)


def _ask(settings: Settings, task: str, what: str, document: dict[str, Any], *, as_json: bool) -> None:
    """Ask the owner's page and say what became of it.

    Raises:
        click.BadParameter: there is no such task.
        AnswerError: nobody owns it, its owner's page does not answer, or it could not be done.
    """
    if task not in (known.name for known in tasks_in(TOPOLOGY)):
        raise click.BadParameter(f"{task!r} is no task; they are called {_examples()}", param_hint="TASK")
    workers = find_workers(admin_client(settings), settings)
    owner = owner_of(task, workers, settings.prefix, topology_of(settings.version))
    if owner is None:
        known = f"the workers are {', '.join(worker.member.worker for worker in workers)}" if workers else "no worker runs"
        raise AnswerError(f"nobody owns {task} just now, and {known}: start one, or ask again when its tasks have moved")
    if not owner.member.page:
        raise AnswerError(f"{task} is owned by {owner.member.worker}, which has no page to ask: it is no worker of Tally's")
    status, answer = ask_page(f"{owner.member.page}/tasks/{task}/{what}", document)
    if answer is None:
        raise AnswerError(
            f"{owner.member.worker} owns {task} and its page at {owner.member.place} does not answer: run this on a host that "
            "reaches it (TALLY_WEB_HOST says where a worker listens), or end the worker, and ask again when the task has moved"
        )
    said = str(answer.get("said") or f"HTTP status {status}")
    if status != 200:  # noqa: PLR2004 - HTTP's own
        raise AnswerError(said)
    if as_json:
        click.echo(json.dumps({"task": task, "worker": owner.member.worker, "said": said}, ensure_ascii=False))
    else:
        click.echo(f"{printable(said)} ({owner.member.worker})")


def _examples() -> str:
    return " and ".join(f"{stage.name}/0 to {stage.name}/{stage.changelog.partitions - 1}" for stage in TOPOLOGY)
