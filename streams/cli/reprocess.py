"""``tally reprocess``: history through a changed rule, beside the live version; compared, switched to, dropped."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click
from rich.table import Table

from connectors.compare_versions import Difference, TopicCompared
from schemas.codec import Undecodable
from schemas.topics import LIVE
from streams import reprocess
from streams.cli.moments import duration_ms, moment_ms
from streams.cli.shared import cluster_answers, cluster_options, table_console
from streams.cli.tail import time_text
from streams.errors import ClusterError
from streams.printable import printable
from streams.registry import connect, wire_of
from streams.settings import Settings, load_cluster_settings
from streams.versions import read_versions

as_option = click.option("--as", "version", required=True, metavar="NAME", help="The version, such as v2.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
EXAMPLES = """
\b
Examples, in order:
  tally reprocess start --as v2 --from earliest      make its topics; nothing of the live version changes
  tally worker --as v2 --id w101                     from the release that has the changed rule
  tally reprocess compare --as v2                    which rows differ, when it has caught up
  tally reprocess switch --as v2                     readers read v2 from now on; --as v1 is the way back
  tally reprocess drop --as v2 --yes                 delete a version that nobody reads
"""


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Read history again through a changed rule, beside the live version, and compare.

    A version has topics, group, state and dead letters of its own, named like v2.order-status; it reads the deployment's
    inputs. The live one is called v1.
    """


def _since_ms(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if value == "earliest":
        return 0
    return moment_ms(context, parameter, value) or 0


@command.command(short_help="Make a version; its workers do the rest.")
@as_option
@click.option(
    "--from", "since_ms", required=True, metavar="earliest|TIME", callback=_since_ms,
    help="Windows from this TIME on are compared (2026-11-23T17:00:00Z, or -3d); earliest: all that the inputs still have.",
)  # fmt: skip
@click.option(
    "--lead", "lead_ms", metavar="DURATION", callback=duration_ms, default=None,
    help="Read from so much earlier, such as 7d: later events speak of earlier orders (default: the dedup horizon).",
)  # fmt: skip
@dry_run_option
@cluster_options
def start(
    version: str, since_ms: int, lead_ms: int | None, prefix: str | None, bootstrap_servers: str | None, *, dry_run: bool
) -> None:
    """Make the topics of a version and set where it begins to read; nothing of the live version is touched.

    \b
    Examples:
      tally reprocess start --as v2 --from earliest --dry-run
      tally reprocess start --as v2 --from 2026-11-01T00:00:00Z --lead 14d
    """  # noqa: D301 - \b is click's word for "keep these lines"
    settings = _settings(version, prefix, bootstrap_servers)
    with cluster_answers():
        lead = settings.dedup_horizon_ms if lead_ms is None else lead_ms
        plan = reprocess.plan_start(settings, since_ms, lead, reprocess.now_ms())
        began = plan.started.read_from_ms
        where = f"from what came at {time_text(began)} on" if began else "from the beginning"
        click.echo(f"{version} reads the inputs {where}: {plan.records_count:,} records until now")
        compared = f"from {time_text(since_ms)} on are" if since_ms else "are all"
        click.echo(
            f"its rows {compared} compared; its {len(plan.topics)} topics are called like {plan.topics[0].named(settings.prefix)}"
        )
        if dry_run:
            return
        made = reprocess.start(settings, plan)
    click.echo(f"started: {len(made)} topics were made, and the group {settings.group_id}")
    click.echo(f"run its workers, from the release that has the changed rule: tally worker --as {version} --id w101")


@command.command(short_help="Tell which rows of a version differ.")
@as_option
@click.option("--with", "other", default=None, metavar="NAME", help="Compare with this version (default: v1).")
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Differing rows to show of each topic.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@cluster_options
def compare(
    version: str, other: str | None, limit: int, prefix: str | None, bootstrap_servers: str | None, *, as_json: bool
) -> None:
    """Compare every row of a version with the live one's, by key, in what is committed now.

    `revision` is not compared. Windows that are not final in both, and rows from before --from, are counted apart. Says how
    far both are behind: of a version that has not read everything, missing rows say nothing. Exit code 0: equal; 1: not.

    \b
    Examples:
      tally reprocess compare --as v2
      tally reprocess compare --as v2 --limit 3
      tally reprocess compare --as v2 --json | jq '.topics[] | select(.different)'
    """  # noqa: D301 - as above
    settings = _settings(version, prefix, bootstrap_servers)
    live = settings.model_copy(update={"version": other or LIVE})
    with cluster_answers():
        versions = read_versions(settings.cluster, settings.prefix)
        for each in (settings, live):
            reprocess.check_known(each.version, versions)
        behind = {each.version: reprocess.behind(each, reprocess.now_ms()).records for each in (live, settings)}
        started = [versions.started[name] for name in behind if name in versions.started]
        since_ms = max((each.since_ms for each in started), default=0)
        try:
            topics = list(reprocess.compare(live, settings, since_ms, partial(wire_of, connect(settings))))
        except Undecodable as error:
            raise ClusterError(f"a row cannot be read, is this tally too old? {error}") from error
    names = live.version, settings.version
    if as_json:
        click.echo(json.dumps(as_plain(topics, names, behind, since_ms, limit), ensure_ascii=False))
    else:
        show(topics, names, behind, since_ms, limit)
    sys.exit(1 if any(topic.differences for topic in topics) else 0)


@command.command(short_help="Let readers read a version from now on.")
@as_option
@click.option("--force", is_flag=True, help="Though it has not read everything yet.")
@cluster_options
def switch(version: str, prefix: str | None, bootstrap_servers: str | None, *, force: bool) -> None:
    """Say which version is the current one: one record in the topic versions, so at once for all who ask.

    `tally tail` and `tally topics current` follow it. Readers that have resolved a name keep it until they ask again.

    \b
    Examples:
      tally reprocess switch --as v2
      tally reprocess switch --as v1
    """  # noqa: D301 - as above
    settings = _settings(version, prefix, bootstrap_servers)
    with cluster_answers():
        versions = read_versions(settings.cluster, settings.prefix)
        reprocess.check_known(version, versions)
        if versions.current == version:
            click.echo(f"{version} is the current version already")
            return
        now_ms = reprocess.now_ms()
        reprocess.switch(settings, versions, reprocess.behind(settings, now_ms), now_ms, force=force)
    click.echo(f"readers read {version} now; `tally reprocess switch --as {versions.current}` is the way back")


@command.command(short_help="Delete a version's topics, group and state.")
@as_option
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def drop(version: str, prefix: str | None, bootstrap_servers: str | None, *, dry_run: bool, yes: bool) -> None:
    """Delete what a version has on the cluster, and its stores on this machine; its workers must be stopped.

    \b
    Examples:
      tally reprocess drop --as v2 --dry-run
      tally reprocess drop --as v2 --yes
    """  # noqa: D301 - as above
    settings = _settings(version, prefix, bootstrap_servers)
    with cluster_answers():
        plan = reprocess.plan_drop(settings, read_versions(settings.cluster, settings.prefix))
        for name in plan.topics:
            click.echo(f"delete topic {name}")
        click.echo(f"delete group {plan.group}")
        click.echo(f"delete {settings.version_folder} on this machine; stores on other machines stay: delete them there")
        if dry_run:
            return
        if not yes:
            click.confirm(f"delete {version} for ever?", abort=True)
        had_stores = reprocess.drop(settings, plan)
    click.echo(f"{version} is gone: {len(plan.topics)} topics" + (", and its stores on this machine" if had_stores else ""))


def _settings(version: str, prefix: str | None, bootstrap_servers: str | None) -> Settings:
    return load_cluster_settings(version=version, prefix=prefix, bootstrap_servers=bootstrap_servers)


def show(topics: list[TopicCompared], names: tuple[str, str], behind: dict[str, int], since_ms: int, limit: int) -> None:
    """Print how each topic stands, then the first rows that differ, both values."""
    ours, theirs = names
    table = Table(box=None, pad_edge=False, highlight=False)
    table.add_column("topic", no_wrap=True)
    for heading in ("equal", "different", f"only {ours}", f"only {theirs}", "not final yet", "before"):
        table.add_column(heading, justify="right", no_wrap=True)
    for topic in topics:
        table.add_row(topic.topic.name, *(f"{count:,}" for count in _counts(topic).values()))
    console = table_console()
    console.print(table)
    for topic in topics:
        for each in topic.differences[:limit]:
            click.echo(printable(f"{topic.topic.name}  {each.key}  {said(each, names)}"))
        if left := len(topic.differences[limit:]):
            click.echo(f"{topic.topic.name}  and {left:,} more (--limit)")
    for name, count in behind.items():
        if count:
            click.echo(f"{name} has {count:,} records to read: until then rows that are missing or differ say little")
    if since_ms:
        click.echo(f"compared are rows from {time_text(since_ms)} on")
    differing = sum(len(topic.differences) for topic in topics)
    equal = sum(topic.equal_count for topic in topics)
    click.echo(
        f"{differing:,} rows differ, {equal:,} are equal" if differing else f"EQUAL: {equal:,} rows in {len(topics)} topics"
    )


def said(each: Difference, names: tuple[str, str]) -> str:
    """Say what differs: the fields that do, with both values; or the row that one side lacks."""
    if each.ours is None or each.theirs is None:
        name, row = (names[1], each.theirs) if each.ours is None else (names[0], each.ours)
        return f"only {name}: {json.dumps(row, ensure_ascii=False)}"
    fields = [field for field in each.ours if each.ours[field] != each.theirs.get(field)]
    return ", ".join(f"{field} {each.ours[field]} in {names[0]}, {each.theirs.get(field)} in {names[1]}" for field in fields)


def as_plain(
    topics: list[TopicCompared], names: tuple[str, str], behind: dict[str, int], since_ms: int, limit: int
) -> dict[str, Any]:
    """Give the comparison as plain values; times are milliseconds since 1970, amounts in minor units."""
    return {
        "ours": names[0],
        "theirs": names[1],
        "since_ms": since_ms,
        "lag_records": behind,
        "equal": not any(topic.differences for topic in topics),
        "topics": [
            {
                "topic": topic.topic.name,
                **_counts(topic),
                "rows": [each._asdict() for each in topic.differences[:limit]],
            }
            for topic in topics
        ],
    }


def _counts(topic: TopicCompared) -> dict[str, int]:
    return {
        "equal": topic.equal_count,
        "different": topic.different_count,
        "only_ours": topic.only_ours_count,
        "only_theirs": topic.only_theirs_count,
        "not_final_yet": topic.open_count,
        "before": topic.before_count,
    }
