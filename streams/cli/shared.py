"""What several commands have in common: the options that say which deployment is meant, and where tables are printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

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


def table_console(width_without_terminal: int = WIDTH_WITHOUT_TERMINAL) -> Console:
    """Give the console for tables: as wide as the terminal, or wide enough for every row where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=width_without_terminal)
