"""The ``tally`` command. Each subcommand lives in its own module and is imported when it is called for.

So ``tally --help`` is instant, and a command pays only for what it uses.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType

import click

from streams.errors import TallyError

COMMANDS = {
    "broker": ("streams.cli.broker", "The local Kafka: up, down, status."),
    "topics": ("streams.cli.topics", "The declared topics: apply, list, current, acls."),
    "worker": ("streams.cli.worker", "Process orders and payments."),
    "status": ("streams.cli.status", "Workers, tasks, how far behind, and what is in the way."),
    "audit": ("streams.cli.audit", "Prove that the books balance: where all money and all records are."),
    "generate": ("streams.cli.generate", "Send orders and payments."),
    "check": ("streams.cli.check", "Tell which rule each event of a JSON file would break."),
    "send": ("streams.cli.send", "Send the events of a JSON file."),
    "tail": ("streams.cli.tail", "Show a topic's committed records, decoded."),
    "tasks": ("streams.cli.tasks", "Tasks: pause one, resume a paused one."),
    "reprocess": ("streams.cli.reprocess", "A version beside the live one: start, compare, switch, drop."),
    "dlq": ("streams.cli.dlq", "Dead letters: list, show, mend, replay, park."),
    "schemas": ("streams.cli.schemas", "The Avro schemas: check."),
    "config": ("streams.cli.config", "Show every setting, its unit and its origin."),
    "demo": ("streams.cli.demo", "Run it all, kill a worker, judge every row."),
}
"""Name of a subcommand: the module whose ``command`` it is, and its line in the help."""


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one that is asked for."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help's list from the table, importing nothing."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tally", prog_name="tally")
def command() -> None:
    """Totals that are right to the minor unit, from orders and payments in Kafka.

    \b
    Examples:
      tally demo                         everything at once, judged at the end
      tally broker up                    a local Kafka for the commands below
      tally topics apply                 make the topics
      tally worker --id w1               process
      tally generate --orders 1000       send
      tally tail revenue-by-merchant-1m  look

    KAFKA_BOOTSTRAP_SERVERS names another cluster than the local one. Exit codes: 0 done, 1 failed or wrong,
    2 asked for wrongly, 3 not runnable on this machine, 4 another worker has this id.
    """  # noqa: D301 - \b is click's word for "keep these lines"


def main() -> None:
    """Run the command line; our own errors end it with one sentence and their exit code."""
    if os.getpid() == 1:
        # A container's first process is not ended by a signal that it does not ask for. A worker asks later, for a better end.
        signal.signal(signal.SIGTERM, _end)
    try:
        command(prog_name="tally")
    except TallyError as error:
        click.echo(f"tally: {error}", err=True)
        sys.exit(error.exit_code)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)
