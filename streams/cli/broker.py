"""``tally broker``: the local Kafka of this home folder."""

from __future__ import annotations

import sys

import click

from streams.home_broker import BrokerStatus, broker_down, broker_status, broker_up
from streams.settings import load_settings

MEBIBYTE = 1 << 20


@click.group()
def command() -> None:
    """Start and stop a real Apache Kafka on this machine.

    \b
    Example:
      tally broker up && tally topics apply && tally broker status

    It runs on Java 17+ (its jars come through Maven, once), or else in Docker. The data is in .tally/broker
    (TALLY_HOME moves it). After 30 minutes without a client it stops by itself.
    """  # noqa: D301 - \b is click's word for "keep these lines"


@command.command()
def up() -> None:
    """Start the broker, unless it runs, and wait until it answers.

    \b
    Example:
      tally broker up
    """  # noqa: D301 - as above
    status, started = broker_up(load_settings())
    click.echo(f"{'started' if started else 'already running'}: {_sentence(status)}")


@command.command()
def down() -> None:
    """Stop the broker; its data stays for the next `up`.

    \b
    Example:
      tally broker down
    """  # noqa: D301 - as above
    click.echo("stopped; its data stays for the next `tally broker up`" if broker_down(load_settings()) else "not running")


@command.command(short_help="Say whether the broker runs, and where.")
def status() -> None:
    """Say whether the broker runs, and where; exit code 1 when it does not.

    \b
    Example:
      tally broker status
    """  # noqa: D301 - as above
    found = broker_status(load_settings())
    if not found.running:
        click.echo(f"not running: start it with `tally broker up` ({_size(found)} in {found.folder})")
        sys.exit(1)
    clients = "1 client connection" if found.clients_count == 1 else f"{found.clients_count} client connections"
    click.echo(f"running: {_sentence(found)}, {clients}, {_size(found)} in {found.folder}")


def _sentence(status: BrokerStatus) -> str:
    return (
        f"Kafka {status.kafka_version} at {status.bootstrap_servers} (pid {status.kafka_pid}, supervisor {status.supervisor_pid})"
    )


def _size(status: BrokerStatus) -> str:
    return f"{status.folder_bytes / MEBIBYTE:,.1f} MiB"
