"""``tally send``: sends events that somebody wrote as JSON, all of them or none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import BinaryIO

import click
from msgspec.structs import replace

from connectors.reader import list_topics
from connectors.sources.deliver import Delivery, Outgoing, deliver
from schemas.codec import PREFIXES, encode
from schemas.events import Event
from schemas.partitioning import partition_of
from schemas.topics import BY_NAME, INPUTS, Kind, Topic
from streams.cli.shared import cluster_answers, cluster_options
from streams.cli.tail import find_topic
from streams.document_files import Document, FileError, problem_lines, read_documents
from streams.errors import ClusterError
from streams.printable import printable
from streams.registry import connect
from streams.settings import Settings, load_cluster_settings

EXAMPLES = """
\b
Examples:
  tally send orders order.json                 one event after the other, or an array of them
  tally send payments payments.json --dry-run  only check them, and say where they would go
  tally check order.json                       which rule an event would break
  tally dlq list --key o-by-hand --each        why it was refused, if it was
"""


@click.command("send", epilog=EXAMPLES, short_help="send events from a JSON file")
@click.argument("topic")
@click.argument("file", type=click.File("rb"))
@click.option("--now", "as_of_now", is_flag=True, help="Say that everything occurred now, whatever occurred_at says.")
@click.option("--dry-run", is_flag=True, help="Check everything and send nothing; needs no cluster.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each event.")
@cluster_options
def command(
    topic: str, file: BinaryIO, as_of_now: bool, dry_run: bool, as_json: bool, prefix: str | None, bootstrap_servers: str | None
) -> None:
    """Send the events of FILE (- is standard input) to TOPIC: orders or payments.

    Every document is checked first; if one is no event of the topic, none is sent. Each goes under its order_id
    to its order's partition. Sending a file again changes nothing: known event_ids are dropped.
    """
    declared = input_topic(topic)
    events = checked(read_documents(file, declared), declared, as_json=as_json)
    if as_of_now:
        now_ms = time.time_ns() // 1_000_000
        events = [replace(event, occurred_at_ms=now_ms) for event in events]
    if dry_run:
        for number, event in enumerate(events, 1):
            where = outgoing(event, declared.partitions).partition
            click.echo(line(number, event, declared.name, where, None, as_json=as_json))
        return
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    name, partitions_count = full_name(topic, settings)
    prefixes = schema_prefixes(settings, declared, name)
    records = [outgoing(event, partitions_count, prefixes) for event in events]
    deliveries = deliver(settings.cluster, name, records)
    for number, (event, record, delivery) in enumerate(zip(events, records, deliveries, strict=True), 1):
        click.echo(line(number, event, name, record.partition, delivery, as_json=as_json))
    if lost := sum(delivery.offset is None for delivery in deliveries):
        raise ClusterError(f"{lost} of {len(events)} events were not confirmed: send the file again, none counts twice")


def input_topic(asked: str) -> Topic:
    """Give the declared input that a name means, with a prefix or without.

    Raises:
        click.UsageError: it is none; a sentence.
    """
    ends = [topic for topic in BY_NAME.values() if asked.endswith(topic.name)]
    found = max(ends, key=lambda topic: len(topic.name), default=None)
    if found is None or found.kind is not Kind.INPUT:
        raise click.UsageError(f"events are sent to {' or '.join(each.name for each in INPUTS)}, and {asked} is no input")
    return found


def checked(documents: list[Document], topic: Topic, *, as_json: bool) -> list[Event]:
    """Give the events of all documents.

    Raises:
        FileError: one is no event of the topic; what is wrong is printed.
    """
    for problem in problem_lines(documents, as_json=as_json):
        click.echo(problem, err=not as_json)
    events = [document.event for document in documents if document.event is not None]
    if wrong := len(documents) - len(events):
        raise FileError(
            f"nothing was sent: {wrong} of {len(documents)} documents {'is' if wrong == 1 else 'are'} no {topic.name} event"
        )
    return events


def full_name(asked: str, settings: Settings) -> tuple[str, int]:
    """Give a topic's name on the cluster and its number of partitions.

    Raises:
        MissingTopic: it is not there; a sentence with what to run.
        ClusterError: the cluster does not answer.
    """
    with cluster_answers():
        there = list_topics(settings.cluster)
    name, _ = find_topic(asked, settings, there)
    return name, there[name]


def schema_prefixes(settings: Settings, topic: Topic, name: str) -> Mapping[type, bytes]:
    """Give what stands before each type of record: a schema id of the registry, if there is one, or of the catalogue.

    Raises:
        RegistryAwayError, RegistryRefusedError: the registry did not give it.
    """
    registry = connect(settings)
    if registry is None:
        return PREFIXES
    registry.enter(name.removesuffix(topic.name), writes=[topic])
    return registry.wire.prefixes[topic.name]


def outgoing(event: Event, partitions_count: int, prefixes: Mapping[type, bytes] = PREFIXES) -> Outgoing:
    """Give the record of an event: under its order_id, on the partition that murmur2 gives it."""
    return Outgoing(partition_of(event.order_id, partitions_count), event.order_id.encode(), encode(event, prefixes))


def line(number: int, event: Event, topic: str, partition: int, delivery: Delivery | None, *, as_json: bool) -> str:
    """Give what became of an event as one line; without ``delivery`` what would become of it."""
    if as_json:
        about = {"document": number, "type": type(event).__name__, "event_id": event.event_id, "order_id": event.order_id}
        place = {"topic": topic, "partition": partition, "offset": delivery.offset if delivery else None}
        error = {"error": delivery.error} if delivery and delivery.error else {}
        return json.dumps({**about, **place, **error}, ensure_ascii=False)
    if delivery is None:
        became = f"would go to {topic}, partition {partition}"
    elif delivery.offset is None:
        became = f"was not confirmed by {topic}, partition {partition}: {delivery.error}"
    else:
        became = f"is in {topic}, partition {partition}, offset {delivery.offset}"
    return printable(f"document {number}: {type(event).__name__} {event.event_id} {became}")
