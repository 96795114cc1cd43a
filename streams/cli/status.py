"""``tally status``: the workers and tasks of a deployment, how far behind they are, and what is in the way."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.admin import admin_client, partition_counts
from streams.cli.shared import cluster_options, table_console, version_option
from streams.cli.tail import time_text
from streams.errors import ClusterError, MissingTopic
from streams.fleet import committed_offsets, find_workers
from streams.lag import LagReader
from streams.newest_markers import newest_markers
from streams.overview import SILENT, Overview, TaskRow, as_plain, overview, without_page
from streams.printable import printable
from streams.settings import Settings, load_cluster_settings
from streams.task_names import tasks_text
from streams.topology import topology_of

WATCH_S = 2.0
"""Between two looks."""


class Looker:
    """Looks at a deployment, again and again; a context manager that lets the connections go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = admin_client(settings)
        self._lag_reader = LagReader(settings.cluster, settings.group_id)
        self._topology = topology_of(settings.version)
        self._inputs = [
            (topic.named(settings.prefix), partition)
            for stage in self._topology
            for topic in stage.reads
            for partition in range(topic.partitions)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lag_reader.close()

    def look(self) -> Overview:
        """Give everything as it is now.

        Raises:
            ClusterError: the cluster does not answer.
            MissingTopic: a topic was not made yet.
        """
        settings = self._settings
        counts = partition_counts(self._admin, {name for name, _ in self._inputs})
        missing = sorted(name for name, count in counts.items() if count is None)
        if missing:
            raise MissingTopic(f"topic {', '.join(missing)} does not exist: run `tally topics apply`, or check --prefix")
        workers = find_workers(self._admin, settings)
        try:
            lags = self._lag_reader.read(committed_offsets(settings, self._inputs))
            silent = without_page(self._topology, settings.prefix, workers)
            markers = newest_markers(settings.cluster, settings.group_id, silent)
        except KafkaException as refused:
            raise ClusterError(f"the cluster did not tell how far the tasks are: {refused.args[0].str()}") from refused
        now_ms = time.time_ns() // 1_000_000
        return overview(self._topology, settings.prefix, settings.group_id, workers, lags, markers, now_ms)


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; names end with their units.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@version_option
@cluster_options
def command(*, as_json: bool, watch: bool, version: str | None, prefix: str | None, bootstrap_servers: str | None) -> None:
    """Show workers and tasks, how far behind they are, and what is in the way.

    Workers are found through the cluster and asked on their status pages; what a page does not tell comes from the cluster, so
    this works without any worker too. Lag is counted from the committed offsets: in records, and in seconds since the oldest
    unprocessed record was appended (by the broker's clock; this machine's clock says what time it is now).

    Exit code 1 when a task is paused or stopped, or nobody owns it; 0 otherwise, also while a task is held or restored, which
    passes by itself.

    \b
    Examples:
      tally status
      tally status --watch
      tally status --as v2
      tally status --json | jq '.tasks[] | select(.state != "running")'
    """  # noqa: D301 - \b is click's word for "keep these lines"
    settings = load_cluster_settings(version=version, prefix=prefix, bootstrap_servers=bootstrap_servers)
    console = table_console()
    problems: list[str] = []
    try:
        with Looker(settings) as looker:
            for seen in _looks(looker, watch=watch):
                problems = seen.problems
                if watch and console.is_terminal and not as_json:
                    console.clear()
                if as_json:
                    click.echo(json.dumps(as_plain(seen), ensure_ascii=False))
                else:
                    show(seen, console)
    except KeyboardInterrupt:
        pass
    if problems:
        sys.exit(1)


def _looks(looker: Looker, *, watch: bool) -> Iterator[Overview]:
    while True:
        try:
            yield looker.look()
        except ClusterError as error:
            if not watch:
                raise
            click.echo(f"tally: {error}", err=True)
        if not watch:
            return
        time.sleep(WATCH_S)


def show(seen: Overview, console: Console) -> None:
    """Print the overview for people."""
    console.print(_workers(seen))
    console.print()
    console.print(_tasks(seen))
    console.print()
    counters = seen.counters
    known = {"consumed": "consumed", "applied": "applied", "duplicates": "duplicates", "dead": "dead letters"}
    console.print("   ".join(f"{said} {counters[name]:,}" for name, said in known.items()), highlight=False)
    behind = "lag unknown" if seen.lag_records is None else f"lag {seen.lag_records:,} records"
    if seen.lag_seconds:
        behind += f", the oldest {_duration(seen.lag_seconds)} old"
    states = ", ".join(f"{count} {state}" for state, count in sorted(seen.states.items(), key=lambda item: -item[1]))
    console.print(f"{_several(len(seen.workers), 'worker')}   {len(seen.tasks)} tasks: {states}   {behind}", highlight=False)
    for note in seen.notes:
        console.print(_plain(f"note: {note}"))
    for problem in seen.problems:
        console.print(_plain(f"problem: {problem}"), style="bold red")
    if paused := next((task.task for task in seen.tasks if task.state == "paused"), None):
        console.print(f"next: mend what is wrong, then tally tasks resume {paused}", highlight=False)


def _workers(seen: Overview) -> Table:
    table = _table("worker", "page", "state", "epochs>", "aborts>", "since", "tasks")
    state_of = {task.task: task.state for task in seen.tasks if task.state != SILENT}
    for row in seen.workers:
        counts = _count(row.epochs_count), _count(row.aborts_count)
        tasks = tasks_text((name, state_of.get(name, "running")) for name in row.tasks if "/" in name)
        since = "-" if row.started_at_ms is None else _duration((seen.at_ms - row.started_at_ms) / 1000)
        table.add_row(_plain(row.worker), _plain(row.place), row.state, *counts, since, _plain(tasks or "none"))
    if not seen.workers:
        table.add_row("none")
    return table


def _tasks(seen: Overview) -> Table:
    table = _table("task", "owner", "state", "lag>", "oldest>", "newest event", "")
    for row in seen.tasks:
        seconds = "-" if row.lag_seconds is None else _duration(row.lag_seconds) if row.lag_seconds else ""
        newest = "-" if row.newest_event_ms is None else time_text(row.newest_event_ms)
        remark = _plain(_remark(row, seen.at_ms))
        table.add_row(row.task, _plain(row.owner or "-"), row.state, _count(row.lag_records), seconds, newest, remark)
    return table


def _plain(text: str) -> Text:
    """Give text from outside: no markup, and nothing that steers a terminal."""
    return Text(printable(text))


def _remark(row: TaskRow, at_ms: int) -> str:
    if row.state == "restoring" and not row.reason and row.restored_records is not None:
        return f"restored {row.restored_records:,} records, {row.restore_left_records or 0:,} left"
    if row.state == "running" and row.probe_left_records:
        return f"on probe: whatever dies, it goes on for {row.probe_left_records:,} records"
    if row.retry_at_ms is not None:
        return f"{row.reason} (tried again in {_duration(max(row.retry_at_ms - at_ms, 0) / 1000)})"
    return row.reason


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, highlight=False)
    for heading in headings:
        right = heading.endswith(">")
        last = heading in {"", "tasks"}
        table.add_column(heading.rstrip(">"), justify="right" if right else "left", no_wrap=not last, overflow="fold")
    return table


def _several(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _duration(seconds: float) -> str:
    """Give a duration in its largest fitting unit: ``0.4 s``, ``12 min``, ``3.5 h``, ``2.1 d``."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"
