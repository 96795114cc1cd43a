"""``tally topics``: make the declared topics, look at them, and say which one to read and who needs which rights on them."""

from __future__ import annotations

import json
import sys

import click
from rich.table import Table

from connectors.reader import list_topics as list_names
from schemas.topics import TOPICS
from streams.acls import Role, commands, rights_of
from streams.admin import admin_client, alter_topics, apply_topics, find_topics, list_topics
from streams.cli.shared import cluster_answers, cluster_options, refuse_version, table_console
from streams.cli.tail import find_topic
from streams.settings import load_cluster_settings, load_settings
from streams.topic_plan import Durability, plan_topics, warnings
from streams.versions import read_versions

prefix_option = click.option("--prefix", help="put before every topic's name; without it TALLY_PREFIX, or the last demo's")


@click.group()
def command() -> None:
    """Make and list the topics that schemas/topics.py declares, and print the rights on them.

    \b
    Example:
      tally topics apply && tally topics list
    """  # noqa: D301 - \b is click's word for "keep these lines"


@command.command(short_help="Make the topics that are missing.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--alter", is_flag=True, help="Set what differs of existing topics' configurations, too.")
@click.option("--replication-factor", type=click.IntRange(1), help="Of new topics (default: 3, or as many as there are brokers).")
@click.option("--min-isr", type=click.IntRange(1), help="min.insync.replicas (default: 2 for new topics, 1 below 3 replicas).")
@prefix_option
def apply(prefix: str | None, replication_factor: int | None, min_isr: int | None, *, dry_run: bool, alter: bool) -> None:
    """Show what is missing or differs, then make the topics that are missing.

    What exists is never changed without --alter, and its partitions never. Exit code 1 when one stays otherwise than declared.

    \b
    Examples:
      tally topics apply --dry-run
      tally topics apply --prefix staging. --replication-factor 3 --min-isr 2
      tally topics apply --alter
    """  # noqa: D301 - as above
    settings = load_settings(prefix=prefix)
    refuse_version(settings, "makes the topics of the live version; `tally reprocess start` makes those of others")
    admin = admin_client(settings)
    found, brokers = find_topics(admin, TOPICS, settings.prefix)
    made = Durability.on(brokers, replication_factor, min_isr)
    steps = plan_topics(TOPICS, settings.prefix, found, made, min_isr)
    for step in steps:
        click.echo(step.sentence)
    for warning in warnings(steps, found, made, alter=alter):
        click.echo(warning, err=True)
    differing = [step for step in steps if step.action == "differs"]
    if not dry_run:
        for change in apply_topics(admin, TOPICS, settings.prefix, made):
            if change.action == "created":
                click.echo(change.sentence)
        if alter:
            alter_topics(admin, {step.name: step.alter for step in differing if step.alter})
            for step in differing:
                for key, value in step.alter.items():
                    click.echo(f"{step.name}: {key} set to {value}")
            differing = [step for step in differing if step.wrong]
    if differing:
        sys.exit(1)


@command.command(name="list", short_help="Show each topic, and what it is for.")
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
    own = [topic.of(settings.version) for topic in TOPICS]
    for row in list_topics(admin_client(settings), own, settings.prefix):
        numbers = ("-" if number is None else f"{number:,}" for number in (row.partitions, row.records))
        table.add_row(row.name, row.kind, *numbers, row.policy, row.meaning)
    table_console().print(table)


@command.command(short_help="Print the name of the topic to read.")
@click.argument("topic")
@cluster_options
def current(topic: str, prefix: str | None, bootstrap_servers: str | None) -> None:
    """Print the full name of TOPIC, of the version that readers are to read (see `tally reprocess switch`).

    \b
    Example:
      kafka-console-consumer.sh --isolation-level read_committed --topic "$(tally topics current order-status)" ...
    """  # noqa: D301 - as above
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    with cluster_answers():
        there, versions = list_names(settings.cluster), read_versions(settings.cluster, settings.prefix)
    click.echo(find_topic(topic, settings, there, versions)[0])


@command.command(short_help="Print the commands that give a role its rights.")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Who connects.")
@click.option("--principal", help="Its name on the cluster (default: User:tally-ROLE).")
@click.option("--json", "as_json", is_flag=True, help="One JSON list, an object for each right.")
@prefix_option
def acls(role: str, principal: str | None, as_json: bool, prefix: str | None) -> None:
    """Print the kafka-acls.sh commands that give a role exactly the rights it needs; changes nothing.

    \b
    worker    reads inputs and changelogs, writes all else, in its group and under its transactional ids
    producer  writes the inputs
    reader    reads the outputs
    operator  makes and describes topics, reads all of them, sends dead letters back to the inputs

    \b
    Examples:
      tally topics acls --role worker
      tally topics acls --role reader --principal User:CN=reports --prefix staging.
      tally topics acls --role producer --json
    """  # noqa: D301 - as above
    settings = load_settings(prefix=prefix)
    rights = rights_of(Role(role), settings)
    owner = principal or f"User:tally-{role}"
    if as_json:
        rows = [
            {
                "principal": owner,
                "resource_type": right.resource,
                "resource_name": right.name,
                "pattern_type": "prefixed" if right.prefixed else "literal",
                "operation": right.operation,
                "permission": "Allow",
            }
            for right in rights
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for line in commands(rights, owner):
        click.echo(line)
