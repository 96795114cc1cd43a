"""Events sent by hand: what was written in a file stands in its topic, and the README's walk does what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connectors.reader import read_topic
from schemas.codec import decode
from schemas.documents import document_of
from schemas.events import Event
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS
from streams.cli import command
from streams.cli.send import command as send
from streams.errors import MissingTopic
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for
from tests.unit.orders import captured, failed

README = Path(__file__).parents[2] / "README.md"


def test_events_of_a_file_stand_in_their_topic_where_send_says(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    events: list[Event] = [captured(f"e-{number}", order_id=f"o-{number}") for number in range(20)]
    events += [failed("e-ü"), captured("e-same-order", payment_id="p-2")]
    file = tmp_path / "events.json"
    file.write_text("\n".join(json.dumps(document_of(event)) for event in events))
    where = ["--bootstrap-servers", broker.bootstrap_servers]
    sent = CliRunner().invoke(send, ["payments", str(file), "--json", "--prefix", topics, *where])
    assert sent.exit_code == 0, sent.output
    said = [json.loads(line) for line in sent.output.splitlines()]
    records = {(record.partition, record.offset): record for record in read_topic(broker.cluster, f"{topics}payments")}
    assert len(records) == len(events)
    for event, place in zip(events, said, strict=True):
        record = records[place["partition"], place["offset"]]
        assert (decode(record.value), record.key) == (event, event.order_id.encode())
        assert place["partition"] == partition_of(event.order_id, PARTITIONS)
    missing = CliRunner().invoke(send, ["payments", str(file), "--prefix", "nobodys.", *where])
    assert isinstance(missing.exception, MissingTopic)
    assert "run `tally topics apply`" in str(missing.exception)


def test_the_walk_of_the_readme(broker: LocalBroker, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(README.parent)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("TALLY_PREFIX", topics)
    section = README.read_text(encoding="utf-8").partition("### Send an event by hand")[2]
    block = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()

    def run(line: str) -> Result:
        return CliRunner().invoke(command, shlex.split(line)[1:])

    def shows(line: str, words: str) -> bool:
        return words in run(line).output

    with Deployment(tmp_path, broker.cluster, topics) as tally:
        tally.start("w1")
        order, malformed, refused, dead, check, mended, status = lines
        assert f"document 1: OrderPlaced by-hand-1 is in {topics}orders, partition 11, offset 0" in run(order).output
        assert "payment is no field of PaymentCaptured; did you mean payment_id?" in run(malformed).stderr
        assert f"is in {topics}payments, partition 11, offset 0" in run(refused).output
        wait_for("it is refused", lambda: shows(dead, "currency_mismatch: the currency is not the order's"))
        assert "would wait for what it refers to" in run(check).output
        assert run(mended).exit_code == 0
        wait_for("the order is paid", lambda: shows(status, "status=captured"))
