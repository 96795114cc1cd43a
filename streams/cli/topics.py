"""``tally topics``: make the declared topics, and look at them."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics, list_topics
from streams.settings import load_settings

WIDTH_WITHOUT_TERMINAL = 160
"""Columns of the table when its output is not a terminal: no row is cut."""

prefix_option = click.option("--prefix", help="put before every topic's name; without it TALLY_PREFIX, or the last demo's")


@click.group()
def command() -> None:
    """Make and list the topics that schemas/topics.py declares.

    \b
    Example:
      tally topics apply && tally topics list
    """  # noqa: D301 - \b is click's word for "keep these lines"


@command.command()
@prefix_option
def apply(prefix: str | None) -> None:
    """Make the topics that are missing; exit code 1 when one exists otherwise than declared.

    What exists is never changed.

    \b
    Example:
      tally topics apply --prefix staging.
    """  # noqa: D301 - as above
    settings = load_settings(prefix=prefix)
    changes = apply_topics(admin_client(settings), TOPICS, settings.prefix)
    for change in changes:
        click.echo(change.sentence)
    if any(change.action == "differs" for change in changes):
        sys.exit(1)


@command.command(name="list")
@prefix_option
def list_command(prefix: str | None) -> None:
    """Show each topic: what it is for, its partitions, about how many records, how long they stay.

    \b
    Example:
      tally topics list
    """  # noqa: D301 - as above
    settings = load_settings(prefix=prefix)
    table = Table(box=None, pad_edge=False)
    for heading in ("topic", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("partitions", "records"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("kept")
    table.add_column("meaning")
    for row in list_topics(admin_client(settings), TOPICS, settings.prefix):
        numbers = ("-" if number is None else f"{number:,}" for number in (row.partitions, row.records))
        table.add_row(row.name, row.kind, *numbers, row.policy, row.meaning)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)).print(table)
