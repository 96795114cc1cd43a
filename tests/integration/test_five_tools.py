"""What docs/topics.md tells readers to run, run: the Python program without and with a registry, and each topic's tally tail."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from connectors.reader import read_topic
from schemas.catalogue import NEWEST
from schemas.codec import PREFIXES, encode
from schemas.topics import ALERTS, CONTROL_TOTALS, ORDER_STATUS, REVENUE_BY_MERCHANT_1H, TOPICS, Kind, Topic
from schemas.wire import prefix_of
from streams.cli import command
from streams.local_broker import LocalBroker
from streams.sample_rows import sample_rows
from streams.topics_page import printed
from tests.unit.fake_registry import FakeRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8")
FOR_READERS = [topic for topic in TOPICS if topic.kind in {Kind.OUTPUT, Kind.INPUT}]


@pytest.fixture
def write(broker: LocalBroker, topics: str) -> Callable[[Topic, dict[type, bytes]], None]:
    """Write a topic's sample rows in one transaction, and what never became true in another."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{topics}samples"})
    producer.init_transactions(30)

    def written(topic: Topic, prefixes: dict[type, bytes]) -> None:
        rows = sample_rows()[topic]
        producer.begin_transaction()
        for row in rows:
            producer.produce(topic.named(topics), encode(row.value, prefixes), row.key, partition=row.partition)
        producer.commit_transaction(30)
        producer.begin_transaction()
        for key in (b"never true", rows[-1].key):
            producer.produce(topic.named(topics), encode(rows[0].value, prefixes), key, partition=rows[-1].partition)
        producer.flush(30)
        producer.abort_transaction(30)

    return written


def table_of(topic: Topic) -> list[str]:
    """Give the lines of a topic's table: the last row of each key."""
    last = {row.key: row.value for row in sample_rows()[topic]}
    return [printed(key, last[key]) for key in sorted(last, key=bytes.decode)]


def test_the_python_program_prints_the_table_of_a_topic(
    broker: LocalBroker, topics: str, write: Callable[[Topic, dict[type, bytes]], None], tmp_path: Path
) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "read_table.py").write_text(program, encoding="utf-8")

    def read(topic: Topic, **more: str) -> list[str]:
        environment = {name: text for name, text in os.environ.items() if name != "SCHEMA_REGISTRY_URL"} | more
        environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        words = [sys.executable, str(tmp_path / "read_table.py"), topic.named(topics)]
        done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    for topic in (REVENUE_BY_MERCHANT_1H, ORDER_STATUS, CONTROL_TOTALS):
        write(topic, dict(PREFIXES))
        assert read(topic) == table_of(topic)
    with FakeRegistry() as registry:
        [record_type] = ALERTS.values
        theirs = registry.add(NEWEST[record_type].text)
        write(ALERTS, {record_type: prefix_of(theirs)})
        assert read(ALERTS, SCHEMA_REGISTRY_URL=registry.url) == table_of(ALERTS)


def test_the_line_of_each_topic_shows_its_committed_rows(
    broker: LocalBroker, topics: str, write: Callable[[Topic, dict[type, bytes]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("TALLY_PREFIX", topics)
    lines = re.findall(r"^- \*\*Read it\*\*: `(tally tail .*?)` \(isolation.level=read_committed\)", PAGE, re.MULTILINE)
    assert len(lines) == len(FOR_READERS)
    for line in lines:
        words = shlex.split(line)[1:]
        [topic] = [topic for topic in FOR_READERS if topic.name == words[1]]
        write(topic, dict(PREFIXES))
        done = CliRunner().invoke(command, words)
        assert done.exit_code == 0, done.output
        shown = [json.loads(each) for each in done.stdout.splitlines()]
        assert len(shown) == min(5, len(sample_rows()[topic]))
        assert all(each["value"]["type"] in {value.__name__ for value in topic.values} for each in shown)
        assert "never true" not in {each["key"] for each in shown}
        if topic.is_compacted:
            records = sorted(read_topic(broker.cluster, topic.named(topics)), key=lambda each: (each.timestamp_ms, each.offset))
            newest = [each.timestamp_ms for each in records[-5:]]
            assert [each["timestamp_ms"] for each in shown] == newest, "of a table the newest rows are shown"
