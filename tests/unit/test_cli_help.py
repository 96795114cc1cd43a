"""The lists of commands in the help: a line that is cut, or a command that is not named, is found by nobody."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from streams.cli import COMMANDS, command

GROUPS = sorted(
    name for name in COMMANDS if isinstance(command.get_command(click.Context(command), name), click.Group)
)  # fmt: skip


def listed(*arguments: str) -> dict[str, str]:
    """Give each command of the help's list, in a terminal of 80 columns, with what it says."""
    said = CliRunner().invoke(command, [*arguments, "--help"], terminal_width=80).output
    return dict(re.findall(r"^  ([a-z]+) {2,}(\S.*)$", said.partition("\nCommands:\n")[2].partition("\n\n")[0], re.MULTILINE))


@pytest.mark.parametrize("name", GROUPS)
def test_no_line_of_a_list_of_commands_is_cut(name: str) -> None:
    lines = listed(name)
    assert lines
    assert not [line for line in lines.values() if line.endswith("...")]


@pytest.mark.parametrize("name", GROUPS)
def test_a_groups_line_names_all_that_is_in_it(name: str) -> None:
    line = listed()[name]
    assert not [inner for inner in listed(name) if inner not in line]
