"""What several commands have in common: which deployment is meant, how a cluster that fails is said, where tables are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console

from connectors.reader import ReadError
from connectors.sources.publish import PublishError
from streams.errors import ClusterError, RefusedError
from streams.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

WIDTH_WITHOUT_TERMINAL = 160
"""Columns of a table when its output is not a terminal: no row is cut."""


def cluster_options(function: F) -> F:
    """Add the options that say which deployment is meant."""
    for option in (
        click.option("--bootstrap-servers", default=None, help="The cluster; default the local broker."),
        click.option("--prefix", default=None, help="Put before every topic's name; default that of the last demo."),
    ):
        function = option(function)
    return function


version_option = click.option("--as", "version", help="Version of the outputs, such as v2; without it TALLY_VERSION, or v1.")


def refuse_version(settings: Settings, does: str) -> None:
    """Refuse a version to a command that knows the live one only; ``does`` says what it does.

    Raises:
        RefusedError: there is one.
    """
    if settings.has_version:
        raise RefusedError(f"this {does} (TALLY_VERSION is {settings.version})")


@contextmanager
def cluster_answers() -> Iterator[None]:
    """Say what the readers and senders of ``connectors`` raise as every command says it: ``tally: <sentence>``, exit code 1.

    Raises:
        ClusterError: the cluster refused, or did not answer.
    """
    try:
        yield
    except (ReadError, PublishError) as error:
        raise ClusterError(str(error)) from error


def table_console(width_without_terminal: int = WIDTH_WITHOUT_TERMINAL) -> Console:
    """Give the console for tables: as wide as the terminal, or wide enough for every row where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=width_without_terminal)
