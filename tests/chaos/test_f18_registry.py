"""F18: the schema registry is a real one. It gives the ids, dies, comes back, and knows nothing of some."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from connectors.auditor import Auditor
from connectors.ground_truth import truth_of
from connectors.judge import read_world, verdict_on
from connectors.reader import ReadRecord, read_group_offsets, read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from connectors.sources.sent import Plan
from schemas.catalogue import NEWEST
from schemas.codec import PREFIXES, decode, encode
from schemas.events import OrderPlaced, OrderStatus
from schemas.partitioning import partition_of
from schemas.topics import ORDER_STATUS, ORDERS, PARTITIONS, PAYMENTS
from schemas.wire import ID_HEADER, prefix_of
from streams.kafka_runtime import find_java
from streams.local_broker import LocalBroker
from streams.registry import Registry
from streams.registry_client import RegistryClient
from streams.topology import TOPOLOGY
from tests.support.counts import TASKS
from tests.support.registry import LocalRegistry
from tests.support.waiting import wait_for
from tests.support.workers import Deployment
from tests.unit.orders import placed

START_MS = 1_795_000_000_000
WRITTEN = [topic for stage in TOPOLOGY for topic in stage.writes]
HELD, OTHER = 3, 4
"""Partitions of ``orders``: the one that meets the new id, and one that does not."""


@pytest.fixture
def registry(broker: LocalBroker, tmp_path: Path) -> Iterator[LocalRegistry]:
    if find_java() is None:
        pytest.skip("the registry runs on Java 17 or newer; the broker here runs in Docker")
    with LocalRegistry(tmp_path / "registry") as started:
        yield started


def order_of(partition: int, skip: int) -> OrderPlaced:
    """Give an order of this partition; ``skip`` makes it another one."""
    ids = (f"o-{number}" for number in count() if partition_of(f"o-{number}", PARTITIONS) == partition)
    order_id = [next(ids) for _ in range(skip + 1)][-1]
    return placed(f"e-{order_id}", order_id=order_id)


def newer_schema() -> dict[str, Any]:
    """Give OrderPlaced as a producer has it who is ahead of us."""
    declared: dict[str, Any] = json.loads(NEWEST[OrderPlaced].text)
    declared["fields"].append({"name": "channel", "type": "string", "default": "web"})
    return declared


def newer_datum(order: OrderPlaced) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(newer_schema()), {**msgspec.to_builtins(order), "channel": "app"})
    return stream.getvalue()


def statuses(broker: LocalBroker, prefix: str, registry: Registry) -> dict[str, str]:
    """Give the committed status of each order, read by the registry's ids."""
    found = {}
    for record in read_topic(broker.cluster, ORDER_STATUS.named(prefix)):
        row = decode(record.value, registry.learned(record.value, None))
        assert isinstance(row, OrderStatus)
        found[row.order_id] = row.status
    return found


def assert_exact_by_the_registry_s_ids(tally: Deployment, whole: Plan, registry: Registry) -> None:
    """Judge what is committed. The judge reads the catalogue's ids, so each of the registry's is put back before."""
    swaps = {prefix: PREFIXES[record] for some in registry.wire.prefixes.values() for record, prefix in some.items()}
    assert all(by_registry != by_catalogue for by_registry, by_catalogue in swaps.items())
    world = read_world(tally.cluster, tally.prefix, tally.group_id)
    rows = [record for topic in WRITTEN for record in world.records.get(topic.name, ())]
    assert rows
    assert {(record.value or b"")[:5] for record in rows} <= swaps.keys()

    def put_back(record: ReadRecord) -> ReadRecord:
        value = record.value
        return record if value is None else record._replace(value=swaps.get(value[:5], value[:5]) + value[5:])

    records = {name: [put_back(record) for record in some] for name, some in world.records.items()}
    verdict = verdict_on(replace(world, records=records), truth_of(whole))
    assert verdict.exact, verdict.headline()
    books = Auditor(tally.cluster, tally.prefix, lambda record: registry.learned(record.value, None)).cut(with_rows=True)
    assert (books.wrong, len(books.rows)) == ([], PARTITIONS)


def test_f18_the_registry_gives_the_ids_and_while_it_is_dead_one_new_id_holds_one_task(
    broker: LocalBroker, topics: str, tmp_path: Path, registry: LocalRegistry
) -> None:
    registry.wait_until_ready()
    client = SchemaRegistryClient({"url": registry.url})
    # Others use it too, so that its ids are not by chance those of the catalogue.
    for number in range(3):
        client.register_schema(f"other-{number}", Schema(json.dumps({"type": "record", "name": f"Other{number}", "fields": []})))
    ours = Registry(RegistryClient(registry.url))
    ours.enter(topics, writes=[ORDERS, PAYMENTS])
    producer = Producer({**broker.cluster.producer(), "acks": "all"})

    def send(order: OrderPlaced, value: bytes, headers: list[tuple[str, str | bytes | None]] | None = None) -> None:
        key = order.order_id.encode()
        producer.produce(f"{topics}orders", value, key, partition_of(order.order_id, PARTITIONS), headers=headers or [])

    def committed(partition: int) -> int:
        return read_group_offsets(broker.cluster, f"{topics}tally").get((f"{topics}orders", partition), 0)

    whole = plan(orders=600, seed=18, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1", {"SCHEMA_REGISTRY_URL": registry.url})
        wait_for("w1 has every task", lambda: len(worker.tasks()) == TASKS)
        publisher = Publisher(broker.cluster, topics, ours.wire)
        publisher.send(whole.sent)
        publisher.close()
        tally.wait_consumed("orders", "payments")
        tally.wait_consumed("revenue-deltas")

        registered = {f"{topics}{topic.name}-{NEWEST[record].full_name}" for topic in WRITTEN for record in topic.values}
        assert registered <= set(client.get_subjects()), "the worker had not registered what it writes"
        ours.enter(topics, writes=WRITTEN)
        assert_exact_by_the_registry_s_ids(tally, whole, ours)

        # A producer registers a newer version, then the registry dies.
        new_id = client.register_schema(f"{topics}orders-tally.OrderPlaced", Schema(json.dumps(newer_schema())))
        registry.kill()
        met_new, behind, beside, by_header = order_of(HELD, 0), order_of(HELD, 1), order_of(OTHER, 0), order_of(OTHER, 1)
        before = committed(HELD)
        known = ours.wire.prefixes["orders"][OrderPlaced]
        send(met_new, prefix_of(new_id) + newer_datum(met_new))
        send(behind, encode(behind, ours.wire.prefixes["orders"]))
        send(beside, encode(beside, ours.wire.prefixes["orders"]))
        send(by_header, encode(by_header)[5:], [(ID_HEADER, known)])
        assert producer.flush(10) == 0
        wait_for("the task that met the new id is held", lambda: worker.tasks("held") == [f"settlement/{HELD}"])
        wait_for("it says why", lambda: "cannot be looked up" in worker.task_pages()[f"settlement/{HELD}"]["reason"])
        page = worker.task_pages()[f"settlement/{HELD}"]
        assert f"schema id {new_id} cannot be looked up: the schema registry at {registry.url} does not answer" in page["reason"]
        assert page["retry_at_ms"] > START_MS
        wait_for("the others go on", lambda: {beside.order_id, by_header.order_id} <= statuses(broker, topics, ours).keys())
        assert len(worker.tasks()) == TASKS - 1
        assert committed(HELD) == before
        assert not {met_new.order_id, behind.order_id} & statuses(broker, topics, ours).keys()

        # It comes back, and nobody needs to do anything.
        registry.launch()
        wait_for("the task goes on by itself", lambda: len(worker.tasks()) == TASKS)
        tally.wait_consumed("orders")
        assert {met_new.order_id, behind.order_id} <= statuses(broker, topics, ours).keys()
        assert worker.stop() == 0, worker.text[-3000:]
