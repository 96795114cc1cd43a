"""A plan goes through a real broker and comes back record by record; readers finish behind transaction markers."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition

from connectors.cluster import Cluster
from connectors.reader import ReadError, end_offsets, latest_per_key, ranges_of, read_group_offsets, read_topic
from connectors.sources.generator import Plan, plan
from connectors.sources.publish import Publisher, publish
from connectors.world import read_world
from schemas import codec, events
from schemas.partitioning import partition_of
from schemas.topics import ORDERS, PAYMENTS, REVENUE_DELTAS
from streams.cli import generate, tail
from streams.errors import MissingTopic

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("topics")]
START_MS = 1_795_000_000_000


class Broker(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def cluster(self) -> Cluster: ...


def transactional(broker: Broker, prefix: str) -> Producer:
    producer = Producer({
        **broker.cluster.producer(),
        "transactional.id": f"{prefix}test",
        "partitioner": "murmur2_random",
        "transaction.timeout.ms": 60_000,
    })  # fmt: skip
    producer.init_transactions(30)
    return producer


def in_transaction(producer: Producer, topic: str, keys: list[str]) -> None:
    producer.begin_transaction()
    for key in keys:
        producer.produce(topic, key=key, value=b"v-" + key.encode(), partition=3)
    producer.flush(30)


def check_all_is_there(broker: Broker, prefix: str, sent: Plan) -> None:
    for topic in (ORDERS, PAYMENTS):
        per_key: dict[bytes | None, list[bytes | None]] = defaultdict(list)
        for each in sent.sent:
            if each.topic is topic:
                per_key[each.key].append(each.value)
        found: dict[bytes | None, list[bytes | None]] = defaultdict(list)
        misrouted = {each.key for each in sent.sent if each.topic is topic and each.partition is not None}
        for record in read_topic(broker.cluster, topic.named(prefix)):
            found[record.key].append(record.value)
            if record.key is not None and record.key not in misrouted:
                assert record.partition == partition_of(record.key.decode(), topic.partitions)
        assert found == per_key  # nothing lost, nothing repeated, and the order of each key kept


def test_a_plan_comes_back_whole_in_order_per_key_and_where_murmur2_puts_it(broker: Broker, prefix: str) -> None:
    sent = plan(300, 1, START_MS)
    counts = publish(sent, broker.cluster, prefix)
    assert counts == {topic.name: sum(each.topic is topic for each in sent.sent) for topic in (ORDERS, PAYMENTS)}
    check_all_is_there(broker, prefix, sent)


def test_a_plan_can_be_sent_in_a_paced_part_and_a_rest_and_stopped(broker: Broker, prefix: str) -> None:
    sent = plan(200, 2, START_MS)
    publisher = Publisher(broker.cluster, prefix)
    progress: list[int] = []
    assert publisher.send(sent.sent[:250], 2_000, progress.append) == 250
    assert progress == [100, 200, 250]
    stopped = publisher.send(sent.sent[250:], should_stop=lambda: True)
    assert publisher.send(sent.sent[250 + stopped :]) == len(sent.sent) - 250 - stopped
    assert sum(publisher.close().values()) == len(sent.sent)
    check_all_is_there(broker, prefix, sent)


def test_a_reader_leaves_out_aborted_records_and_ends_behind_transaction_markers(broker: Broker, prefix: str) -> None:
    topic = REVENUE_DELTAS.named(prefix)
    producer = transactional(broker, prefix)
    in_transaction(producer, topic, ["a", "b"])
    producer.commit_transaction(30)
    in_transaction(producer, topic, ["c"])
    producer.abort_transaction(30)
    ends = end_offsets(broker.cluster, topic)
    assert ends[3] == 5  # two records, a marker, an aborted record, a marker
    records = list(read_topic(broker.cluster, topic))
    assert [(record.partition, record.offset, record.key) for record in records] == [(3, 0, b"a"), (3, 1, b"b")]
    assert [record.key for record in read_topic(broker.cluster, topic, from_offsets={3: 1})] == [b"b"]
    assert list(read_topic(broker.cluster, topic, from_offsets={3: 2})) == []
    everything = [record.key for record in read_topic(broker.cluster, topic, committed_only=False)]
    assert everything == [b"a", b"b", b"c"]
    assert set(latest_per_key(records)) == {b"a", b"b"}


def test_an_open_transaction_is_not_waited_for_and_not_read(broker: Broker, prefix: str) -> None:
    topic = REVENUE_DELTAS.named(prefix)
    producer = transactional(broker, prefix)
    in_transaction(producer, topic, ["a"])
    producer.commit_transaction(30)
    in_transaction(producer, topic, ["open"])
    try:
        assert [record.key for record in read_topic(broker.cluster, topic)] == [b"a"]
        assert ranges_of(broker.cluster, topic)[3].end == 2
        assert ranges_of(broker.cluster, topic, committed_only=False)[3].end == 3
    finally:
        producer.abort_transaction(30)


def test_group_offsets_are_read_and_a_group_without_offsets_has_none(broker: Broker, prefix: str) -> None:
    place = TopicPartition(ORDERS.named(prefix), 5, 0)
    consumer = Consumer({**broker.cluster.consumer(), "group.id": f"{prefix}g", "enable.auto.commit": False})
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    assert read_group_offsets(broker.cluster, f"{prefix}g") == {(place.topic, 5): 0}
    assert read_group_offsets(broker.cluster, f"{prefix}nobody") == {}


def test_a_topic_that_is_not_there_is_a_sentence(broker: Broker, prefix: str) -> None:
    with pytest.raises(ReadError, match=r"no topic .*nothing.* `tally topics apply`"):
        list(read_topic(broker.cluster, f"{prefix}nothing"))


def test_a_world_of_empty_topics_can_be_read(broker: Broker, prefix: str) -> None:
    world = read_world(broker.cluster, prefix, f"{prefix}tally")
    assert not any(world.records.values())
    assert set(world.ends.values()) == {0}
    assert (world.committed, world.markers, world.shuffled) == ({}, {}, {})


def test_generate_sends_and_tail_shows_what_was_sent(broker: Broker, prefix: str) -> None:
    where = ["--prefix", prefix, "--bootstrap-servers", broker.bootstrap_servers]
    asked = ["--orders", "40", "--seed", "9", "--start", "2026-11-23T17:00:00Z", *where]
    sent = CliRunner().invoke(generate.command, asked)
    assert sent.exit_code == 0, sent.output
    assert "events: " in sent.output
    first = next(codec.decode(each.value) for each in plan(40, 9, START_MS).sent if each.topic is ORDERS and each.value)
    assert isinstance(first, events.OrderPlaced)
    shown = CliRunner().invoke(tail.command, ["orders", "--key", first.order_id, "--limit", "1", *where])
    assert shown.exit_code == 0, shown.output
    assert f"{first.order_id}  OrderPlaced event_id=" in shown.output
    nobody = CliRunner().invoke(tail.command, ["orders", "--key", "m-1", *where])
    assert (nobody.exit_code, nobody.stdout) == (0, "")
    assert nobody.stderr == f"no committed record of {prefix}orders has the key m-1: its keys are order_id\n"
    later = CliRunner().invoke(tail.command, ["orders", "--from", "2100-01-01T00:00:00Z", *where])
    assert later.stderr == f"no committed record of {prefix}orders is there\n"
    wrong = CliRunner().invoke(tail.command, ["order-statsu", *where])
    assert isinstance(wrong.exception, MissingTopic)
    assert "did you mean order-status" in str(wrong.exception)
