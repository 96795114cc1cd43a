"""``tally audit``: proves that the books balance, once or all the time, and says which line does not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connectors.audit import STAGES, Cut, Line
from connectors.auditor import Auditor
from connectors.balance import outcomes_of
from connectors.reader import ReadError
from schemas.codec import Undecodable
from schemas.topics import REVENUE_BY_MERCHANT_1M, REVENUE_DELTAS
from streams.cli.shared import cluster_options, table_console
from streams.cli.tail import time_text
from streams.errors import NotAudited, RegistryAwayError
from streams.printable import printable
from streams.registry import connect, wire_of
from streams.settings import Settings, load_cluster_settings

EVERY_S = 5.0
"""Between two cuts, unless it is said otherwise."""
BALANCE = "the books balance"


@click.command(name="audit")
@click.option("--follow", is_flag=True, help="One line for each cut, until one does not balance, or Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    default=EVERY_S,
    show_default=True,
    help="Seconds between two cuts of --follow.",
)
@click.option("--rows", "with_rows", is_flag=True, help="Add up the rows of revenue-by-merchant-1m too; reads them all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each cut; amounts in minor units.")
@cluster_options
def command(
    *, follow: bool, every_s: float, with_rows: bool, as_json: bool, prefix: str | None, bootstrap_servers: str | None
) -> None:
    """Prove that the books balance: that all money and all records that were accepted are somewhere, and once.

    For each currency and measure, over all tasks: accepted = windowed (final and provisional) + in flight (sent to the
    windows and not yet read) + waiting + adjusted (too late for its window) + unmatched. For each settlement task: accepted =
    booked + waiting + adjusted + unmatched. For each task: consumed = applied + duplicates + dead, and the dead are those of
    all reasons. Counters come from the tasks' newest committed markers, all of one moment; what is in flight is summed from
    the records themselves. It changes nothing, and may run beside workers under load, or without any.

    With --rows, for each revenue task: windowed = the rows of revenue-by-merchant-1m that are final + those that are
    provisional, as a reader finds them. Left out are tasks that went on meanwhile, and rows of which retention took the oldest.

    Exit code 0: every line holds. 1: a line does not; it is printed, with its task and by how much. 3: the cluster does
    not answer, or a marker is missing, so nothing is said of the books.

    \b
    Examples:
      tally audit
      tally audit --rows
      tally audit --follow --every 10
      tally audit --json | jq '.totals[] | select(.currency == "EUR")'
    """  # noqa: D301 - \b is click's word for "keep these lines"
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    wrong: list[Line] = []
    try:
        for cut in _cuts(auditor_of(settings), follow=follow, every_s=every_s, with_rows=with_rows):
            wrong = cut.wrong
            if as_json:
                click.echo(json.dumps(as_plain(cut, _now_ms()), ensure_ascii=False))
            elif follow:
                click.echo(f"{time_text(_now_ms())}  {headline(cut)}")
            else:
                show(cut, table_console(), with_rows=with_rows)
            if wrong:
                break
    except KeyboardInterrupt:
        return
    if wrong:
        for line in wrong if not as_json else ():
            click.secho(printable(line.sentence()), fg="red")
        sys.exit(1)


def auditor_of(settings: Settings) -> Auditor:
    """Give the auditor of a deployment, which reads with the ids of its schema registry, if it has one."""
    return Auditor(settings.cluster, settings.own_prefix, partial(wire_of, connect(settings)))


def look(auditor: Auditor, *, with_rows: bool) -> Cut:
    """Give the books as they are now.

    Raises:
        NotAudited: the cluster or the registry does not answer, or the moment could not be looked at.
    """
    try:
        return auditor.cut(with_rows=with_rows)
    except Undecodable as error:
        raise NotAudited(
            f"a record of {REVENUE_DELTAS.name} or a marker cannot be read, is this tally too old? {error}"
        ) from error
    except (ReadError, RegistryAwayError) as error:
        raise NotAudited(str(error)) from error


def _cuts(auditor: Auditor, *, follow: bool, every_s: float, with_rows: bool) -> Iterator[Cut]:
    while True:
        try:
            yield look(auditor, with_rows=with_rows)
        except NotAudited as error:
            if not follow:
                raise
            click.echo(f"tally: {error}", err=True)
        if not follow:
            return
        time.sleep(every_s)


def headline(cut: Cut) -> str:
    """Say in one line whether the books balance, and how much is in them."""
    wrong = cut.wrong
    said = BALANCE if not wrong else f"the books do not balance: {len(wrong)} of {len(cut.lines)} lines"
    totals = cut.totals
    open_count = sum(dict(line.terms)["in flight"] != 0 for line in totals)
    return f"{said}   {outcomes_of(cut.summed('settlement'))}   {open_count} of {len(totals)} sums in flight"


def show(cut: Cut, console: Console, *, with_rows: bool = False) -> None:
    """Print where the money and the records are."""
    totals = cut.totals
    if totals:
        table = Table(box=None, pad_edge=False, highlight=False)
        table.add_column("currency")
        table.add_column("measure")
        for heading in ("accepted", *(name for name, _ in totals[0].terms)):
            table.add_column(heading, justify="right", no_wrap=True)
        for line in totals:
            amounts = [line.total[1], *(amount for _, amount in line.terms)]
            style = "bold red" if line.difference else ""
            table.add_row(*(Text(printable(text)) for text in (*line.of, *map(line.said, amounts))), style=style)
        console.print(table)
        console.print()
    for stage in STAGES:
        tasks_count = sum(task.startswith(f"{stage}/") for task in cut.counters)
        console.print(f"{stage}, {tasks_count} tasks: {outcomes_of(cut.summed(stage))}", highlight=False, soft_wrap=True)
    if with_rows:
        tasks_count = sum(task.startswith("revenue/") for task in cut.counters)
        said = f"rows of {REVENUE_BY_MERCHANT_1M.name} were added up for {len(cut.rows)} of {tasks_count} revenue tasks"
        console.print(said, highlight=False, soft_wrap=True)
    hold = f"{BALANCE}: all {len(cut.lines)} lines hold" if not cut.wrong else headline(cut)
    console.print(hold, highlight=False, style="bold red" if cut.wrong else "bold", soft_wrap=True)


def as_plain(cut: Cut, at_ms: int) -> dict[str, Any]:
    """Give the cut as plain values; amounts are in minor units, or counts."""
    wrong = cut.wrong
    return {
        "at_ms": at_ms,
        "balanced": not wrong,
        "lines_count": len(cut.lines),
        "rows_of": sorted(cut.rows),
        "wrong": [_line_as_plain(line) for line in wrong],
        "totals": [dict(zip(("currency", "measure"), line.of, strict=True)) | _amounts(line) for line in cut.totals],
        "outcomes": {stage: vars(outcomes_of(cut.summed(stage))) for stage in STAGES},
    }


def _line_as_plain(line: Line) -> dict[str, Any]:
    total, amount = line.total
    return {
        "where": line.where,
        "of": list(line.of),
        "total": {total: amount},
        "terms": dict(line.terms),
        "difference": line.difference,
    }


def _amounts(line: Line) -> dict[str, int]:
    return {name.replace(" ", "_"): amount for name, amount in (line.total, *line.terms)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
