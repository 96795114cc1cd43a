"""`tally tail` from a time on, and with what no transaction committed."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from connectors.reader import read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from schemas.topics import ORDER_STATUS, ORDERS
from streams.cli import command
from streams.local_broker import LocalBroker
from tests.support.waiting import wait_for

START_MS = 1_795_000_000_000


def tail(broker: LocalBroker, prefix: str, *arguments: str) -> list[dict[str, object]]:
    options = ["--json", "--prefix", prefix, "--bootstrap-servers", broker.bootstrap_servers]
    done = CliRunner().invoke(command, ["tail", *arguments, *options])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_time_shows_what_came_at_it_or_later(broker: LocalBroker, topics: str) -> None:
    publish(plan(orders=60, seed=81, start_ms=START_MS), broker.cluster, topics)
    before = list(read_topic(broker.cluster, ORDERS.named(topics)))
    since_ms = max(record.timestamp_ms for record in before) + 1
    wait_for("the broker's clock has gone on", lambda: time.time_ns() // 1_000_000 > since_ms)
    publish(plan(orders=40, seed=82, start_ms=START_MS), broker.cluster, topics)
    later = len(list(read_topic(broker.cluster, ORDERS.named(topics)))) - len(before)

    shown = tail(broker, topics, "orders", "--from", datetime.fromtimestamp(since_ms / 1000, UTC).isoformat())
    assert len(shown) == later > 0
    assert all(record["timestamp_ms"] >= since_ms for record in shown)  # type: ignore[operator]
    assert len(tail(broker, topics, "orders", "--from", "-1h")) == len(before) + later
    assert tail(broker, topics, "orders", "--from", "2100-01-01") == []


def test_what_no_transaction_committed_is_shown_only_when_asked_for(broker: LocalBroker, topics: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{topics}tail"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(ORDER_STATUS.named(topics), b"never true", b"o-1")
    producer.flush(30)
    producer.abort_transaction(30)

    assert tail(broker, topics, "order-status") == []
    assert [record["key"] for record in tail(broker, topics, "order-status", "--uncommitted")] == ["o-1"]


@pytest.mark.parametrize("given", ["yesterday", "15", "-15x", ""])
def test_what_is_no_time_is_a_usage_error_with_an_example(given: str) -> None:
    done = CliRunner().invoke(command, ["tail", "orders", "--from", given])
    assert done.exit_code == 2
    assert "2026-11-23T17:00:00Z" in done.output
