"""`tally audit`: what it prints, and its exit code, which tells a script whether the books balance."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from connectors.audit import Cut
from connectors.auditor import Auditor, NoCutError
from connectors.reader import ReadError
from schemas.codec import Undecodable
from streams.cli import command

BOOKED = {"consumed": 3, "applied": 1, "duplicates": 1, "dead": 1, "dead|early": 1}
MONEY = {"accepted|KWD|gross_minor": 1_500, "booked|KWD|gross_minor": 1_500}
RIGHT = Cut(
    {"settlement/7": BOOKED | MONEY, "revenue/1": {"consumed": 1, "applied": 1, "windowed|KWD|gross_minor": 1_200}},
    Counter({("KWD", "gross_minor"): 300}),
)
WRONG = Cut(RIGHT.counters, Counter())


def run(monkeypatch: pytest.MonkeyPatch, *cuts: Cut | Exception, options: tuple[str, ...] = ()) -> Result:
    """Audit a cluster that gives these cuts, one after the other, and then Ctrl-C."""
    coming = [*cuts, KeyboardInterrupt()]

    def cut(_: Auditor, *, with_rows: bool) -> Cut:
        assert with_rows == ("--rows" in options)
        found = coming.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(Auditor, "cut", cut)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return CliRunner().invoke(command, ["audit", "--bootstrap-servers", "127.0.0.1:1", *options])


def test_books_that_balance_are_shown_with_the_decimals_of_their_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, RIGHT)
    assert found.exit_code == 0
    head, row, _, settlement, revenue, customers, last = found.output.splitlines()
    assert " ".join(head.split()) == "currency measure accepted windowed in flight waiting adjusted unmatched"
    assert " ".join(row.split()) == "KWD gross_minor KWD 1.500 KWD 1.200 KWD 0.300 KWD 0.000 KWD 0.000 KWD 0.000"
    assert settlement == "settlement, 1 tasks: 3 events = 1 applied + 1 duplicates + 1 dead letters"
    assert (revenue, customers) == (
        "revenue, 1 tasks: 1 events = 1 applied + 0 duplicates + 0 dead letters",
        "customers, 0 tasks: 0 events = 0 applied + 0 duplicates + 0 dead letters",
    )
    assert last == "the books balance: all 6 lines hold"


def test_a_line_that_does_not_hold_is_said_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, WRONG)
    assert found.exit_code == 1
    assert found.output.splitlines()[-1] == (
        "all tasks, KWD gross_minor: accepted KWD 1.500 != windowed KWD 1.200 + in flight KWD 0.000 + waiting KWD 0.000 "
        "+ adjusted KWD 0.000 + unmatched KWD 0.000 (off by KWD 0.300)"
    )


def test_json_has_amounts_in_minor_units(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = (json.loads(run(monkeypatch, cut, options=("--json",)).output) for cut in (RIGHT, WRONG))
    assert (right["balanced"], right["wrong"], wrong["balanced"]) == (True, [], False)
    assert right["totals"] == [
        {
            "currency": "KWD", "measure": "gross_minor", "accepted": 1_500, "windowed": 1_200, "in_flight": 300,
            "waiting": 0, "adjusted": 0, "unmatched": 0,
        }
    ]  # fmt: skip
    assert right["outcomes"]["settlement"] == {"consumed": 3, "applied": 1, "duplicates": 1, "dead": 1}
    (line,) = wrong["wrong"]
    assert (line["where"], line["of"], line["total"], line["difference"]) == (
        "all tasks", ["KWD", "gross_minor"], {"accepted": 1_500}, 300,
    )  # fmt: skip


def test_follow_gives_a_line_for_each_cut_and_ends_well_on_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, RIGHT, NoCutError("torn"), RIGHT, options=("--follow",))
    assert found.exit_code == 0
    said = [line.split("  ", 1)[-1] for line in found.stdout.splitlines()]
    assert said == ["the books balance   3 events = 1 applied + 1 duplicates + 1 dead letters   1 of 1 sums in flight"] * 2
    assert found.stderr == "tally: torn\n"


def test_follow_ends_with_1_at_the_first_line_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, RIGHT, WRONG, RIGHT, options=("--follow",))
    assert found.exit_code == 1
    assert "the books do not balance: 1 of 6 lines" in found.output.splitlines()[1]
    assert found.output.splitlines()[2].startswith("all tasks, KWD gross_minor: accepted KWD 1.500 != ")


@pytest.mark.parametrize("error", [ReadError("away"), NoCutError("torn"), Undecodable("truncated", "too short")])
def test_books_that_cannot_be_looked_at_end_with_3_and_no_alarm(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    found = run(monkeypatch, error)
    assert found.exception is not None
    assert getattr(found.exception, "exit_code", None) == 3
    assert str(error) in str(found.exception)
    assert found.output == ""


def test_rows_that_are_not_what_was_counted_are_said_with_their_status(monkeypatch: pytest.MonkeyPatch) -> None:
    money = {"final": Counter({("KWD", "gross_minor"): 1_000}), "provisional": Counter({("KWD", "gross_minor"): 200})}
    right = replace(RIGHT, rows={"revenue/1": money})
    found = run(monkeypatch, right, options=("--rows",))
    assert found.exit_code == 0
    assert found.output.splitlines()[-2:] == [
        "rows of revenue-by-merchant-1m were added up for 1 of 1 revenue tasks",
        "the books balance: all 7 lines hold",
    ]
    wrong = replace(RIGHT, rows={"revenue/1": {**money, "provisional": Counter()}})
    found = run(monkeypatch, wrong, options=("--rows",))
    assert found.exit_code == 1
    assert found.output.splitlines()[-1] == (
        "revenue/1, KWD gross_minor: windowed KWD 1.200 != final KWD 1.000 + provisional KWD 0.000 (off by KWD 0.200)"
    )
