"""``tally generate``: sends made-up orders and payments, with the faults of real producers among them."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from connectors.reader import list_topics
from connectors.sources.generator import Dead, DeadOrUnmatched, Duplicate, Late, Plan, plan
from connectors.sources.publish import Publisher
from schemas import codec, events
from schemas.topics import ORDERS, PAYMENTS
from schemas.wire import FIXED
from streams.cli.shared import cluster_answers, cluster_options
from streams.errors import MissingTopic
from streams.registry import connect
from streams.settings import Settings, load_cluster_settings

EXAMPLES = """
\b
Examples:
  tally generate                                  20,000 orders, about 61,000 events, as fast as it goes
  tally generate --orders 1000 --seed 7           the same bytes for the same seed and start
  tally generate --rate 500                       500 events a second
  tally generate --start 2026-11-23T17:00:00Z     event times end then, not now
"""


def _start_ms(_: click.Context, __: click.Parameter, value: str | None) -> int:
    if value is None:
        return time.time_ns() // 1_000_000
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no time; write it as 2026-11-23T17:00:00Z") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command("generate", epilog=EXAMPLES, short_help="send made-up orders and payments")
@click.option(
    "--orders", type=click.IntRange(1), default=20_000, show_default=True, help="Orders to place; about three events each."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed and start give the same bytes.")
@click.option("--rate", type=click.FloatRange(1), default=None, help="Events per second; without it as fast as it goes.")
@click.option(
    "--late-ratio",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    help="Of the orders, the share that is sent an hour and more late; four at least, 0 for none.",
)
@click.option("--start", "start_ms", callback=_start_ms, default=None, help="Latest event time, ISO 8601; default now.")
@cluster_options
def command(
    orders: int,
    seed: int,
    rate: float | None,
    late_ratio: float,
    start_ms: int,
    prefix: str | None,
    bootstrap_servers: str | None,
) -> None:
    """Send made-up orders and payments to the input topics.

    Some are sent twice, some payments before their orders, and one in a thousand, but one of
    each kind at least, cannot be decoded or breaks a rule. Late orders change no window: they become rows of
    revenue-adjustments. The same seed and start send the same events again: duplicates.
    """
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    with cluster_answers():
        _check_topics(settings)
        made = plan(orders, seed, start_ms, late_ratio=late_ratio)
        counts = _send(made, settings, rate)
    click.echo(summary(made, counts))


def _check_topics(settings: Settings) -> None:
    there = list_topics(settings.cluster)
    for topic in (ORDERS, PAYMENTS):
        if topic.named(settings.prefix) not in there:  # else the broker might create it with one partition
            raise MissingTopic(f"the cluster has no topic {topic.named(settings.prefix)}: run `tally topics apply`")


def _send(made: Plan, settings: Settings, rate: float | None) -> dict[str, int]:
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    registry = connect(settings)
    if registry is not None:
        registry.enter(settings.prefix, writes=[ORDERS, PAYMENTS])
    publisher = Publisher(settings.cluster, settings.prefix, registry.wire if registry else FIXED)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=len(made.sent))
        publisher.send(made.sent, rate, lambda done: progress.update(task, completed=done))
        return publisher.close()


def summary(made: Plan, counts: dict[str, int]) -> str:
    """Say what was sent, by topic, and what is among it; ``counts`` are the records per topic."""
    kinds = Counter(type(sent.expected) for sent in made.sent)
    bad = kinds[Dead] + kinds[DeadOrUnmatched]
    topics = ", ".join(f"{count:,} to {topic}" for topic, count in sorted(counts.items()))
    among = f"{kinds[Duplicate]:,} duplicates, {bad:,} bad records and {_late_orders(made):,} late orders"
    return f"sent {sum(counts.values()):,} events: {topics}; among them {among}"


def _late_orders(made: Plan) -> int:
    """Count orders, and not what followed them."""
    late = (codec.decode(sent.value) for sent in made.sent if isinstance(sent.expected, Late))
    return sum(isinstance(event, events.OrderPlaced) for event in late)
