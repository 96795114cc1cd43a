"""`tally send` and `tally check` as far as they go without a cluster: what they refuse, what they say, how they end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from schemas.codec import PREFIXES
from schemas.documents import document_of, parse_event
from schemas.events import OrderCancelled, OrderPlaced
from schemas.partitioning import partition_of
from schemas.topics import ORDERS
from schemas.wire import prefix_of
from streams.cli import check, send
from streams.cli.send import schema_prefixes
from streams.document_files import FileError, read_documents
from streams.errors import NoCluster, TallyError
from streams.settings import Settings
from tests.unit.fake_registry import FakeRegistry
from tests.unit.orders import captured, placed

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
ORDER = document_of(placed())
PAYMENT = document_of(captured())


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)


def run(command: Any, *arguments: str, documents: object = None) -> Result:
    return CliRunner().invoke(command, arguments, input=None if documents is None else json.dumps(documents))


def sentence(result: Result) -> str:
    """Give what the command ends with, and hold that it is one of our errors with the exit code of a failure."""
    assert isinstance(result.exception, TallyError)
    return f"{result.exception} ({result.exception.exit_code})"


# tally send


def test_every_document_is_checked_before_anything_is_sent() -> None:
    refused = run(send.command, "orders", "-", documents=[ORDER, ORDER | {"currency": 1}, PAYMENT])
    assert refused.stderr.splitlines() == [
        "document 2: currency must be text, and is 1",
        "document 3: type is PaymentCaptured, which goes to payments",
    ]
    assert sentence(refused) == "nothing was sent: 2 of 3 documents are no orders event (1)"
    assert refused.stdout == ""


def test_what_is_wrong_can_be_read_by_a_program_too() -> None:
    refused = run(send.command, "orders", "-", "--json", documents=[ORDER, ORDER | {"currency": 1}])
    assert json.loads(refused.stdout)["problems"] == [{"field": "currency", "sentence": "must be text, and is 1"}]
    assert sentence(refused) == "nothing was sent: 1 of 2 documents is no orders event (1)"


def test_without_a_cluster_a_good_file_is_refused_with_what_to_run() -> None:
    assert isinstance(run(send.command, "orders", "-", documents=ORDER).exception, NoCluster)


def test_a_dry_run_needs_no_cluster_and_tells_the_partition() -> None:
    told = run(send.command, "orders", "-", "--dry-run", documents=ORDER)
    partition = partition_of("o-1", 12)
    assert (told.exit_code, told.output) == (0, f"document 1: OrderPlaced placed would go to orders, partition {partition}\n")
    as_json = run(send.command, "staging.orders", "-", "--dry-run", "--json", documents=ORDER)
    assert json.loads(as_json.output) == {
        "document": 1, "type": "OrderPlaced", "event_id": "placed", "order_id": "o-1",
        "topic": "orders", "partition": partition, "offset": None,
    }  # fmt: skip


@pytest.mark.parametrize("topic", ["order-status", "orders.dlq", "revenue-deltas", "settlement-changelog", "order", "nothing"])
def test_only_inputs_are_sent_to(topic: str) -> None:
    refused = run(send.command, topic, "-", documents=ORDER)
    assert refused.exit_code == 2
    assert f"events are sent to orders or payments, and {topic} is no input" in refused.stderr


@pytest.mark.parametrize("command", [send.command, check.command])
def test_a_file_that_is_not_there_and_one_that_is_no_json_are_told(command: Any, tmp_path: Path) -> None:
    topic = ["orders"] if command is send.command else []
    missing = run(command, *topic, str(tmp_path / "missing.json"))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
    broken = run(command, *topic, str(ROOT / "README.md"))
    assert isinstance(broken.exception, FileError)
    assert sentence(broken) == "document 1 is no JSON: Expecting value: line 1 column 1 (char 0) (1)"


def test_an_event_id_cannot_steer_the_terminal() -> None:
    told = run(send.command, "orders", "-", "--dry-run", documents=ORDER | {"event_id": "\x1b[2J\n"})
    assert "OrderPlaced \\x1b[2J\\n would go" in told.output
    told = run(check.command, "-", documents=ORDER | {"event_id": "\x1b[2J\n"})
    assert "OrderPlaced \\x1b[2J\\n would be applied" in told.output


def test_schema_ids_come_from_the_registry_if_there_is_one() -> None:
    with FakeRegistry() as registry:
        prefixes = schema_prefixes(Settings(schema_registry_url=registry.url), ORDERS, "t.orders")
    ids = {each: registry.subjects[f"t.orders-tally.{each.__name__}"][0] for each in (OrderPlaced, OrderCancelled)}
    assert prefixes == {each: prefix_of(schema_id) for each, schema_id in ids.items()}
    assert schema_prefixes(Settings(), ORDERS, "t.orders") is PREFIXES


# tally check


def test_each_document_is_told_what_would_become_of_it() -> None:
    history = [ORDER, PAYMENT, PAYMENT, PAYMENT | {"event_id": "again"}, PAYMENT | {"amount_minor": 1}, {"type": "Order"}]
    told = run(check.command, "-", documents=history)
    assert told.output.splitlines() == [
        "document 1: OrderPlaced placed would be applied",
        "document 2: PaymentCaptured captured would be applied",
        "document 3: PaymentCaptured captured would be dropped as a duplicate",
        (
            "document 4: PaymentCaptured again would be rejected; payment_already_captured: the payment was captured before; "
            "what to do: nothing if it is a repeat; a second charge needs its own payment_id"
        ),
        (
            "document 5: PaymentCaptured captured would be dropped as a duplicate; other_content: another event came under "
            "this event_id before: what is corrected needs a new one"
        ),
        (
            "document 6: type must be OrderPlaced or OrderCancelled or PaymentCaptured or PaymentFailed or PaymentRefunded, "
            'and is "Order"'
        ),
        "2 applied, 2 duplicate, 1 rejected, 1 invalid",
    ]
    assert told.exit_code == 1


@pytest.mark.parametrize(
    ("documents", "exit_code"),
    [
        ([ORDER, PAYMENT, PAYMENT], 0),
        ([PAYMENT], 0),
        ([ORDER, PAYMENT | {"currency": "SEK"}], 1),
        ([PAYMENT | {"currency": "SEK"}, ORDER], 1),
        ([ORDER, {}], 1),
        ([ORDER | {"occurred_at": "9000-01-01T00:00:00Z"}], 1),
    ],
    ids=["booked", "waiting", "rejected", "unmatched", "invalid", "from the future"],
)
def test_it_ends_with_1_if_somebody_has_to_mend_something(documents: list[Any], exit_code: int) -> None:
    assert run(check.command, "-", documents=documents).exit_code == exit_code


def test_a_check_for_one_topic_takes_its_events_only() -> None:
    told = run(check.command, "-", "--topic", "orders", documents=[ORDER, PAYMENT])
    assert "document 2: type is PaymentCaptured, which goes to payments" in told.output
    assert told.exit_code == 1


def test_a_check_as_json_is_one_object_for_each_document() -> None:
    told = run(check.command, "-", "--json", documents=[ORDER, PAYMENT | {"currency": "SEK"}, {}])
    applied, rejected, invalid = (json.loads(line) for line in told.output.splitlines())
    about = {"document": 1, "type": "OrderPlaced", "event_id": "placed", "order_id": "o-1", "outcome": "applied"}
    assert applied == about
    assert (rejected["outcome"], rejected["reason"], rejected["meaning"], rejected["remedy"]) == (
        "rejected", "currency_mismatch", "the currency is not the order's", "report the amount in the order's currency",
    )  # fmt: skip
    assert (invalid["document"], invalid["outcome"], invalid["problems"][0]["field"]) == (3, "invalid", "type")


def test_the_limits_of_the_environment_are_those_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    late = PAYMENT | {"event_id": "late", "occurred_at": ORDER["occurred_at"], "payment_id": "p-late"}
    history = [ORDER, PAYMENT | {"occurred_at": "2026-11-18T11:07:01Z"}, late]
    assert run(check.command, "-", documents=history).exit_code == 0
    monkeypatch.setenv("TALLY_DEDUP_HORIZON_MS", "999")
    assert (
        "document 3: PaymentCaptured late would be rejected; beyond_horizon" in run(check.command, "-", documents=history).output
    )


# The README's examples


def test_the_examples_show_what_the_readme_says_of_them() -> None:
    malformed = run(send.command, "payments", str(EXAMPLES / "payment-malformed.json"))
    assert "payment is no field of PaymentCaptured; did you mean payment_id?" in malformed.stderr
    together = [json.loads((EXAMPLES / f"{name}.json").read_text()) for name in ("order", "payment-refused", "payment-mended")]
    told = run(check.command, "-", documents=together)
    assert re.findall(r"would be \w+", told.output) == ["would be applied", "would be rejected", "would be applied"]
    alone = run(check.command, str(EXAMPLES / "payment-mended.json"))
    assert "would wait for what it refers to" in alone.output


def test_two_files_in_a_row_are_one_history() -> None:
    text = (EXAMPLES / "order.json").read_text() + (EXAMPLES / "payment-mended.json").read_text()
    told = CliRunner().invoke(check.command, ["-"], input=text)
    assert (told.exit_code, told.output.splitlines()[-1]) == (0, "2 applied")


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_an_event_unless_its_name_says_otherwise(path: Path) -> None:
    with path.open("rb") as file:
        (document,) = read_documents(file)
    assert (document.event is None) == ("malformed" in path.name)
    if document.event is not None:
        assert parse_event(document_of(document.event), [type(document.event)]) == document.event


def test_the_command_line_ends_with_the_exit_code_and_one_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from streams.cli import main; main()", "send", "payments", "-"],
        input=json.dumps(ORDER), capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == "tally: nothing was sent: 1 of 1 documents is no payments event"
