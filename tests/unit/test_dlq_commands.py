"""What the inbox's commands take, and how they show letters; nothing here asks a cluster."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from agents.rehearsal import Outcome
from schemas.documents import document_of
from schemas.events import DeadLetterDone, Event
from streams.cli import command, dlq, dlq_text
from streams.cli.moments import moment_ms
from streams.errors import RefusedError
from streams.inbox.desk import Act
from streams.inbox.letters import DeadLetter, letter_of
from streams.inbox.mending import broken_rule
from streams.inbox.replay import Left
from streams.inbox.routes import Outgoing, Routes, event_of
from tests.unit.letters import PREFIX, buried, record
from tests.unit.orders import captured, deltas

NOW_MS = 1_795_600_000_000
EVIL = b"k\x1b[2J\nnext"


def test_a_time_is_iso_8601_or_so_long_ago() -> None:
    assert moment_ms(None, None, None) is None
    assert moment_ms(None, None, "2026-11-23T17:04:00Z") == 1_795_453_440_000
    assert moment_ms(None, None, "2026-11-23T18:04:00+01:00") == 1_795_453_440_000
    assert moment_ms(None, None, "2026-11-23T17:04:00") == 1_795_453_440_000
    for text, ago_ms in (("90m", 5_400_000), ("-90m", 5_400_000), ("2d", 172_800_000), ("3h", 10_800_000), ("0s", 0)):
        before_ms = time.time_ns() // 1_000_000
        found_ms = moment_ms(None, None, text)
        assert found_ms is not None
        assert before_ms <= found_ms + ago_ms <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("text", ["yesterday", "5", "5w", "--2d", "", "2026-13-01"])
def test_what_is_no_time_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 2026-11-23T17:00:00Z, or 90m or 2d"):
        moment_ms(None, None, text)


@pytest.mark.parametrize("name", ["list", "show", "mend", "replay", "park"])
def test_every_command_has_help_with_examples(name: str) -> None:
    said = CliRunner().invoke(command, ["dlq", name, "--help"])
    assert said.exit_code == 0
    assert f"tally dlq {name}" in said.output.partition("xample")[2]


def test_a_letter_is_one_line_that_cannot_steer_a_terminal() -> None:
    letter = buried(reason="bad\x1bid", key=EVIL)
    line = dlq_text.letter_line(letter, None)
    assert line.isprintable()
    assert line.startswith("payments.dlq/7@123  2026-11-18T")
    assert "key k\\x1b[2J\\nnext" in line
    assert "from t.payments/3@41  death 1" in line
    done = DeadLetterDone("a/0@0", "", "parked", 1, "a\x1bda", "", "")
    assert dlq_text.letter_line(letter, done).endswith("[was parked by a\\x1bda]")


def test_a_letter_as_text_has_all_of_it_and_every_line_can_be_printed() -> None:
    letter = buried(captured(), "payment_already_captured", key=EVIL, original=(("trace\x1b", b"\xff\x00"), ("note", b"a\nb")))
    text = dlq_text.letter_text(letter, None, "would be replayed: to t.payments, partition 1", "")
    assert all(line.isprintable() for line in text.split("\n"))
    assert "came from   t.payments/3@41" in text
    assert "producer    nothing if it is a repeat; a second charge needs its own payment_id" in text
    assert "done        nothing yet" in text
    assert "trace\\x1b: 0xff00" in text
    assert "note: a\\nb" in text
    assert json.loads(text[text.index("\n{") :]) == document_of(captured())


def test_a_replay_that_would_be_in_vain_says_so() -> None:
    letter, sent = buried(captured(amount_minor=0)), Outgoing("t.payments", 1, None, b"", ())
    event = event_of(letter)
    assert event is not None
    broken = broken_rule(event, NOW_MS, 0)
    replayed = Act(letter, "replayed", sent)
    assert dlq_text.next_text(replayed, broken).endswith(
        "to t.payments, partition 1; and would die again, of amount_not_positive"
    )
    assert dlq_text.next_text(replayed, None) == "would be replayed: to t.payments, partition 1"
    assert dlq_text.next_text(Left(letter, "was parked"), broken) == "would be left: was parked"
    assert dlq_text.today_text(event, broken) == "breaks amount_not_positive: an amount or a quantity is not positive"
    assert dlq_text.today_text(event, None).startswith("breaks no rule by itself")
    assert dlq_text.today_text(None, None) == ""


class InboxOfOne:
    """Has one letter, of which something may have been done."""

    def __init__(self, letter: DeadLetter, *done: DeadLetterDone) -> None:
        self._letter = letter
        self._done = {note.address: note for note in done}
        self.routes = Routes(PREFIX, {f"{PREFIX}payments": 12})

    def letter(self, _: str) -> DeadLetter:
        return self._letter

    whole = letter

    def done(self) -> dict[str, DeadLetterDone]:
        return self._done

    def broken_rule(self, event: Event) -> Outcome | None:
        return broken_rule(event, NOW_MS, 0)


def mend(monkeypatch: pytest.MonkeyPatch, inbox: InboxOfOne, *arguments: str) -> Result:
    monkeypatch.setattr(dlq, "Inbox", lambda *_: inbox)
    monkeypatch.setattr(time, "time_ns", lambda: NOW_MS * 1_000_000)
    return CliRunner().invoke(command, ["dlq", "mend", "payments.dlq/7@123", "--dry-run", *arguments])


def test_a_letter_is_mended_to_have_occurred_now(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Event] = []
    inbox = InboxOfOne(buried(captured(), "beyond_horizon"))

    def event(_: DeadLetter, event: Event) -> Outgoing:
        sent.append(event)
        return Outgoing("t.payments", 1, None, b"", ())

    monkeypatch.setattr(inbox, "routes", SimpleNamespace(event=event))
    assert "would be mended: to t.payments" in mend(monkeypatch, inbox, "--now").output
    assert sent == [replace(captured(), occurred_at_ms=NOW_MS)]
    assert mend(monkeypatch, inbox).exit_code == 2


def test_a_letter_that_was_sent_says_where_its_next_death_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = buried(captured())
    note = DeadLetterDone(str(letter.address), letter.digest, "replayed", 1, "ada", "", "t.payments/1@5")
    said = mend(monkeypatch, InboxOfOne(letter, note), "--set", "amount_minor=7").exception
    assert isinstance(said, RefusedError)
    assert str(said).endswith("nothing was sent: if it died again, `tally dlq list --each` has it anew")


def test_a_value_that_is_no_event_is_shown_as_hex_with_the_reason() -> None:
    body = dlq_text.body_text(buried(b"{}\x1b" + b"x" * 600))
    assert body.startswith("no_magic_byte: the value begins with 7b7d1b7878")
    assert "000000  7b 7d 1b 78 78" in body
    assert "{}.xxxxxxxxxxxxx" in body
    assert body.endswith("... and 91 bytes")
    assert (
        dlq_text.body_text(letter_of(record((), value=None), PREFIX))
        == "null_value: the value is null, so there is nothing to read"
    )
    delta = deltas()
    assert dlq_text.body_text(buried(delta)).startswith("a Deltas, which no input carries\n000000  00 00")


def test_a_letter_as_json_has_the_event_or_its_bytes() -> None:
    note = DeadLetterDone("payments.dlq/7@123", "", "replayed", 1, "ada", "", "payments/1@2")
    whole = json.loads(json.dumps(dlq_text.letter_json(buried(captured()), note)))
    assert (whole["address"], whole["reason"], whole["attempt"]) == ("payments.dlq/7@123", "amount_not_positive", 1)
    assert whole["event"] == document_of(captured())
    assert whole["value_hex"] is None
    assert whole["source"] == {"topic": "t.payments", "partition": 3, "offset": 41}
    assert whole["headers"] == [["trace", "0xff00"], ["trace", "2"], ["nothing", None]]
    assert whole["done"]["went_to"] == "payments/1@2"
    assert dlq_text.letter_json(buried(b"\x00\xff"), None)["value_hex"] == "00ff"


def test_what_is_done_is_said_and_what_would_be() -> None:
    sent = Outgoing("t.orders", -1, None, b"", (), ("under the key o-1",))
    act = Act(buried(), "replayed", sent)
    assert dlq_text.step_line(act) == "payments.dlq/7@123  replayed: to t.orders, any partition, under the key o-1"
    assert dlq_text.step_line(Act(buried(), "parked"), would=True) == "payments.dlq/7@123  would be parked: no reason was given"
    assert dlq_text.step_line(Left(buried(), "gone\x1b")) == "payments.dlq/7@123  left: gone\\x1b"
