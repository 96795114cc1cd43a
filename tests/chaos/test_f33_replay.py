"""F33: dead letters replayed twice, under live workers, until they are parked; by two hands, and by one that dies half-way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from connectors.reader import read_topic
from schemas.codec import encode
from schemas.documents import document_of
from schemas.partitioning import partition_of
from streams.cli import command
from streams.errors import InboxTakenError
from streams.inbox.desk import Act, Desk
from streams.inbox.mailbox import Mailbox
from streams.inbox.routes import Routes
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.workers import Deployment, wait_for
from tests.unit.orders import captured, placed

NOW_MS = time.time_ns() // 1_000_000
PARTITION = partition_of("o-1", 12)
CUT_BYTES = 3 << 20
"""Of a value that compresses into an input's limit and is larger than its dead-letter topic takes."""


class Operator:
    """Runs the command as a person would, on one deployment."""

    def __init__(self, tally: Deployment) -> None:
        self.tally = tally
        self.settings = Settings(bootstrap_servers=tally.cluster.bootstrap_servers, prefix=tally.prefix)

    def run(self, line: str, *more: str, exit_code: int = 0) -> str:
        options = ["--prefix", self.tally.prefix, "--bootstrap-servers", self.tally.cluster.bootstrap_servers]
        result: Result = CliRunner().invoke(command, ["dlq", *line.split(), *more, *options], catch_exceptions=True)
        said = result.output + (f"tally: {result.exception}" if result.exception else "")
        code = getattr(result.exception, "exit_code", result.exit_code)
        assert code == exit_code, f"{line}: {code}\n{said}"
        return said

    def addresses(self, *more: str) -> list[str]:
        return [json.loads(line)["address"] for line in self.run("list --each --json", *more).splitlines()]

    def letter(self, address: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.run(f"show {address} --json"))
        return found


@pytest.fixture
def operator(broker: LocalBroker, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """A live worker, and in its dead letters one value that nobody can read and one capture without a key."""
    monkeypatch.setenv("TALLY_HOME", str(tmp_path / "operator"))
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "gzip", "message.max.bytes": 8 << 20})
    producer.produce(f"{topics}orders", encode(placed(at_ms=NOW_MS)), b"o-1", PARTITION)
    producer.produce(f"{topics}orders", b"{}", b"o-1", PARTITION, headers=[("trace", b"\xff")])
    producer.produce(f"{topics}payments", encode(captured(at_ms=NOW_MS)), None, PARTITION)
    assert producer.flush(30) == 0
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        tally.wait_consumed("orders", "payments")
        yield Operator(tally)
        assert worker.stop() == 0, worker.text[-3000:]


def test_f33_a_letter_is_replayed_once_dies_again_counts_and_is_parked_in_the_end(operator: Operator) -> None:
    tally = operator.tally
    summary = operator.run("list")
    assert "no_magic_byte" in summary
    assert "key_missing" in summary
    [poison] = operator.addresses("--reason", "no_magic_byte")
    assert operator.run(f"replay {poison} --by ada").endswith("1 replayed\n")
    again = operator.run(f"replay {poison}")
    assert re.search(r"left: was replayed to orders/\d+@\d+ by ada\n1 left", again), again
    tally.wait_consumed("orders")
    [poison] = operator.addresses("--reason", "no_magic_byte")
    letter = operator.letter(poison)
    assert (letter["attempt"], letter["headers"]) == (2, [["trace", "0xff"]])
    assert operator.run("replay --reason no_magic_byte --attempts-max 2").splitlines()[-1] == "1 parked"
    # A commit is answered before its markers stand everywhere, so a reader may see the note a moment later.
    wait_for("it is parked", lambda: operator.addresses("--reason", "no_magic_byte") == [])
    assert len(operator.addresses("--reason", "no_magic_byte", "--all")) == 2
    assert "was parked" in operator.run("show", poison)
    assert operator.run("mend", poison, "--set", "amount_minor=1", exit_code=2).count("give the whole document with --file") == 1
    file = tally.folder / "order.json"
    file.write_text(json.dumps(document_of(placed("other", order_id="o-2", at_ms=NOW_MS))))
    assert "would be mended: to" in operator.run("mend", poison, "--file", str(file), "--dry-run")
    assert "mended: to" in operator.run("mend", poison, "--file", str(file))
    assert "was mended" in operator.run("mend", poison, "--file", str(file), exit_code=2)
    assert operator.run("replay --all").endswith("1 replayed\n"), "the capture without a key"
    assert operator.run("replay --all") == "no such letters\n"
    tally.wait_consumed("orders", "payments")
    assert operator.run("list").startswith("no dead letters that nothing was done about")
    statuses = [row.key for row in read_topic(tally.cluster, f"{tally.prefix}order-status")]
    assert set(statuses) == {b"o-1", b"o-2"}


def test_f33_two_hands_and_one_that_dies_half_way_send_each_letter_once(operator: Operator) -> None:
    settings, counts = (
        operator.settings,
        {f"{operator.tally.prefix}{name}": 12 for name in ("orders", "payments", "payments.dlq")},
    )
    mailbox = Mailbox(settings.cluster, settings.prefix, counts)
    [letter] = list(mailbox.letters([f"{settings.prefix}payments.dlq"]))
    act = Act(letter, "replayed", Routes(settings.prefix, counts).back(letter))
    dies = Desk(settings, "one who dies")
    dies._producer.begin_transaction()
    assert act.sent is not None
    dies._producer.produce(act.sent.topic, act.sent.value, act.sent.key, act.sent.partition)
    assert dies._producer.flush(10) == 0
    first = Desk(settings, "first")
    assert first.done == {}, "what was not committed was not done"
    second = Desk(settings, "second")
    with pytest.raises(InboxTakenError):
        first.do([act])
    [note] = second.do([act])
    assert note.by == "second"
    assert Desk(settings, "third").done == {str(letter.address): note}
    sent = [record for record in read_topic(settings.cluster, f"{settings.prefix}payments") if record.key == b"o-1"]
    assert [f"payments/{record.partition}@{record.offset}" for record in sent] == [note.went_to]


def test_f20_a_letter_that_was_cut_is_replayed_whole(operator: Operator) -> None:
    tally = operator.tally
    value = encode(placed("large", amount_minor=5, at_ms=NOW_MS, source="s" * CUT_BYTES))
    producer = Producer(
        {"bootstrap.servers": tally.cluster.bootstrap_servers, "compression.type": "zstd", "message.max.bytes": 8 << 20}
    )
    producer.produce(f"{tally.prefix}orders", value, b"o-1", PARTITION, headers=[("trace", b"1")])
    assert producer.flush(30) == 0
    tally.wait_consumed("orders")
    [cut] = [address for address in operator.addresses() if operator.letter(address)["cut"]]
    assert operator.letter(cut)["event"] is None
    assert operator.run(f"replay {cut}").endswith("1 replayed\n")
    tally.wait_consumed("orders")
    rows = [row for row in read_topic(tally.cluster, f"{tally.prefix}orders") if row.value == value]
    assert [dict(row.headers).get("__tally.errors.attempt") for row in rows] == [None, b"1"]
    assert [row.headers[0] for row in rows] == [("trace", b"1")] * 2
    [again] = operator.addresses("--reason", "bad_id")
    assert operator.letter(again)["attempt"] == 2
