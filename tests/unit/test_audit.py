"""The audit: every term of every line is broken once in code that runs, and the next epoch's books name the line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from agents.ports import Limits, Row, Tick
from agents.testing import MemoryBatch, MemoryRow
from connectors.audit import ALL, Cut, Line, audited, carried, closed, in_flight
from connectors.verdict import Outcomes, Rows, Verdict
from schemas.events import Cell, Deltas, FlowDeltas, Source
from schemas.topics import ORDERS, PAYMENTS, REVENUE_DELTAS
from tests.support.audited import Books
from tests.unit.orders import MINUTE_MS, T0_MS, captured, failed, placed

LATER_MS = T0_MS + 60 * MINUTE_MS
LIMITS = Limits(grace_ms=MINUTE_MS, idle_delay_ms=0)
BOTH = frozenset({ORDERS.name, PAYMENTS.name})
FAST, SLOW = 3, 5
"""Two tasks; the slow one was idle while the fast one came to be an hour ahead."""
SLOW_ORDER = placed("slow", order_id="o-s", amount_minor=7)
"""Not late for its own task, and in a minute that is final in the windows."""


def before() -> Books:
    """Books with something in every account, all of it right."""
    books = Books(LIMITS)
    others = [Tick(number, MINUTE_MS, BOTH) for number in range(ORDERS.partitions) if number != FAST]
    books.settle((FAST, placed()), (FAST, captured()), *others)
    books.hand_over()
    epoch(books, "a", {}, {})
    books.settle((SLOW, SLOW_ORDER))
    books.hand_over()
    return books


def epoch(books: Books, name: str, settling: dict[str, Any], reading: dict[str, Any]) -> None:
    """Settle something of every kind, hand it over, and settle something more, which stays in flight."""
    order, other = f"o-{name}", f"u-{name}"
    now_ms = LATER_MS + 10 * MINUTE_MS * ord(name)
    booked = placed(f"p{name}", order_id=order, at_ms=now_ms)
    books.settle(
        (FAST, booked),
        (FAST, captured(f"c{name}", order_id=order, payment_id=f"p-{name}", at_ms=now_ms)),
        (FAST, booked),  # a duplicate
        (FAST, placed(f"d{name}", order_id=f"d-{name}", amount_minor=0, lines=(), at_ms=now_ms)),  # dead
        (FAST, captured(f"w{name}", order_id=f"w-{name}", at_ms=now_ms, amount_minor=30)),  # waits
        (FAST, placed(f"l{name}", order_id=f"l-{name}", at_ms=T0_MS, amount_minor=9)),  # late
        (FAST, captured(f"x{name}", order_id=other, currency="USD", at_ms=now_ms, amount_minor=4)),
        (FAST, placed(f"y{name}", order_id=other, at_ms=now_ms)),  # so that the dollars are unmatched
        **settling,
    )
    books.hand_over(**reading)
    books.settle((FAST, placed(f"z{name}", order_id=f"z-{name}", at_ms=now_ms, amount_minor=11)), **settling)


def test_the_books_balance_with_something_in_every_account() -> None:
    books = before()
    epoch(books, "b", {}, {})
    assert books.cut.wrong == []
    terms: Counter[str] = Counter()
    for line in books.cut.lines:
        terms.update({name: abs(amount) for name, amount in (line.total, *line.terms)})
    empty = {name for name, amount in terms.items() if not amount}
    assert empty == set()
    assert {"accepted", "booked", "windowed", "in flight", "waiting", "adjusted", "unmatched"} <= terms.keys()
    assert {"consumed", "applied", "duplicates", "dead", "amount_not_positive"} <= terms.keys()
    assert books.revenue.world.totals["adjusted|EUR|gross_minor"] == 7, "what met a final window"


def losing(counter: str) -> dict[str, Any]:
    """Give an agent that loses what it should enter in one account."""
    return {"enter": lambda _, name, amount: 0 if name == counter else amount}


def twice(counter: str) -> dict[str, Any]:
    return {"enter": lambda _, name, amount: 2 * amount if name == counter else amount}


def with_first_cell(times: int) -> dict[str, Any]:
    """Give a revenue stage that adds the first money of the first record that has any so many times, and all else once."""

    def rows(rows: Sequence[Row]) -> Sequence[Row]:
        kept = list(rows)
        place = next(place for place, row in enumerate(kept) if any(part.flow == "money" for part in row.event.flows))
        flows = {part.flow: part.cells for part in kept[place].event.flows}
        flows["money"] = flows["money"][:1] * times + flows["money"][1:]
        said = tuple(FlowDeltas(flow, cells) for flow, cells in flows.items())
        kept[place] = MemoryRow(kept[place].partition, msgspec.structs.replace(kept[place].event, flows=said))
        return kept

    return {"rows": rows}


def counting(counter: str, more: int) -> Callable[[MemoryBatch], None]:
    """Give a runtime that counts otherwise what is in a counter."""

    def spoil(batch: MemoryBatch) -> None:
        counters = batch.counters[FAST]
        if counters[counter]:
            counters[counter] += more

    return spoil


@dataclass(frozen=True)
class Break:
    """What is wrong, and the lines that must say so."""

    named: set[tuple[str, str]]
    settling: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    counting: Callable[[MemoryBatch], None] = lambda _: None


TASK = f"settlement/{FAST}"
CELL = ("orders_count", "gross_minor", "captured_minor")
"""What the first cell of the epoch is about."""
BREAKS = {
    "accepted is entered twice": Break({(TASK, "gross_minor"), (ALL, "gross_minor")}, twice("accepted|EUR|gross_minor")),
    "booked is not entered": Break({(TASK, "gross_minor")}, losing("booked|EUR|gross_minor")),
    "waiting is not entered": Break({(TASK, "captured_minor"), (ALL, "captured_minor")}, losing("waiting|EUR|captured_minor")),
    "late is not entered": Break({(TASK, "gross_minor"), (ALL, "gross_minor")}, losing("adjusted|EUR|gross_minor")),
    "unmatched is not entered": Break(
        {(TASK, "captured_minor"), (ALL, "captured_minor")}, losing("unmatched|USD|captured_minor")
    ),
    "windowed is not entered": Break({(ALL, "captured_minor")}, reading=losing("windowed|EUR|captured_minor")),
    "windowed is entered twice": Break({(ALL, "orders_count")}, reading=twice("windowed|EUR|orders_count")),
    "revenue overlooks a cell": Break({(ALL, of) for of in CELL}, reading=with_first_cell(0)),
    "revenue adds a cell twice": Break({(ALL, of) for of in CELL}, reading=with_first_cell(2)),
    "deltas are not written": Break({(ALL, of) for of in CELL}, {"writes": lambda topic: topic is not REVENUE_DELTAS}),
    "consumed is counted twice": Break({(TASK, "records")}, counting=counting("consumed", 1)),
    "applied is counted twice": Break({(TASK, "records")}, counting=counting("applied", 1)),
    "a duplicate is counted twice": Break({(TASK, "records")}, counting=counting("duplicates", 1)),
    "a dead letter is not counted": Break({(TASK, "records"), (TASK, "dead letters")}, counting=counting("dead", -1)),
    "a reason is not counted": Break({(TASK, "dead letters")}, counting=counting("dead|amount_not_positive", -1)),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_term_that_is_broken_is_seen_within_the_epoch_and_its_line_is_named(name: str) -> None:
    books, broken = before(), BREAKS[name]
    assert books.cut.wrong == []
    books.settlement.spoil = broken.counting
    epoch(books, "b", broken.settling, broken.reading)
    wrong = books.cut.wrong
    assert {(line.where, line.of[-1]) for line in wrong} == broken.named
    assert all("!=" in line.sentence() and line.where in line.sentence() for line in wrong)


def test_what_met_a_final_window_and_is_not_entered_is_missing() -> None:
    books = before()
    books.settle((SLOW, placed("slower", order_id="o-t", amount_minor=8)))
    assert books.cut.wrong == []
    books.hand_over(**losing("adjusted|EUR|gross_minor"))
    (line,) = books.cut.wrong
    assert (line.where, line.of, line.difference) == (ALL, ("EUR", "gross_minor"), 8)


def test_a_record_that_is_lost_while_it_is_in_flight_is_missing() -> None:
    books = before()
    books.settle((SLOW, placed("slower", order_id="o-t", amount_minor=8)))
    books.lose_in_flight()
    assert {(line.where, line.of, line.difference) for line in books.cut.wrong} == {
        (ALL, ("EUR", "orders_count"), 1),
        (ALL, ("EUR", "gross_minor"), 8),
    }


def test_a_failed_payment_moves_nothing_and_is_a_record_all_the_same() -> None:
    books = Books(LIMITS)
    books.settle((FAST, failed()))
    assert [line.of for line in books.cut.lines] == [("records",), ("dead letters",)]
    assert books.cut.wrong == []


def deltas(*sources: tuple[int, int], amount: int = 1) -> Deltas:
    cell = Cell(("m-1", "EUR"), T0_MS, (1, amount, 0, 0, 0))
    told = tuple(Source(partition, number, 0, idle=False) for partition, number in sources)
    return Deltas(told, (FlowDeltas("products", (cell,)), FlowDeltas("money", (cell, cell))))


def test_a_record_is_carried_as_the_sums_of_its_money_alone() -> None:
    assert +carried(deltas((0, 1), amount=5)).money == Counter({("EUR", "orders_count"): 2, ("EUR", "gross_minor"): 10})


@pytest.mark.parametrize(
    ("epochs", "said", "expected"),
    [
        ({0: 4, 1: 7}, [deltas((0, 4), (1, 7))], {0: 4, 1: 7}),
        ({0: 4, 1: 7}, [deltas((0, 5), (1, 8))], {0: 4, 1: 7}),
        ({0: 5, 1: 7}, [deltas((0, 5), (1, 8))], {0: 5, 1: 8}),
        ({0: 5}, [deltas((0, 5), (1, 1))], {0: 5, 1: 1}),
        ({0: 5, 1: 7, 2: 1}, [deltas((1, 8), (2, 2)), deltas((0, 5), (1, 8))], {0: 5, 1: 8, 2: 2}),
        ({0: 5, 1: 7, 2: 1}, [deltas((2, 2)), deltas((0, 6), (1, 8))], {0: 5, 1: 7, 2: 1}),
    ],
)
def test_a_cut_goes_as_far_as_the_transactions_that_it_would_split(
    epochs: dict[int, int], said: list[Deltas], expected: dict[int, int]
) -> None:
    assert closed(epochs, map(carried, said)) == expected


def test_only_what_the_cut_has_is_in_flight() -> None:
    unread = [carried(deltas((0, 4), amount=1)), carried(deltas((0, 5), amount=10)), carried(deltas((0, 6), amount=100))]
    assert in_flight({0: 5}, unread)["EUR", "gross_minor"] == 22


def test_a_line_is_said_with_the_decimals_of_its_currency_and_by_how_much_it_is_off() -> None:
    line = Line("settlement/7", ("KWD", "gross_minor"), ("accepted", 12_345), (("booked", 12_340), ("waiting", 0)))
    assert line.sentence() == (
        "settlement/7, KWD gross_minor: accepted KWD 12.345 != booked KWD 12.340 + waiting KWD 0.000 (off by KWD 0.005)"
    )
    assert Line("revenue/1", ("records",), ("consumed", 1_000), (("applied", 1_000),)).sentence() == (
        "revenue/1, records: consumed 1,000 = applied 1,000"
    )


def test_tasks_are_said_in_the_order_of_stages_and_numbers() -> None:
    names = ["revenue/1", "settlement/10", "settlement/9", "customers/0"]
    said = Cut({name: {"consumed": 1} for name in names}, Counter()).wrong
    assert [line.where for line in said] == ["settlement/9", "settlement/10", "revenue/1", "customers/0"]


def test_a_verdict_that_covers_the_books_is_exact_only_if_they_balance() -> None:
    outcomes = Outcomes(1, 1, 0, 0)
    exact = Verdict({"revenue-by-merchant-1m": Rows(1, 1), "order-status": Rows(1, 1)}, outcomes, outcomes, ())
    right = audited(exact, Cut({"revenue/1": {"consumed": 1, "applied": 1}}, Counter()))
    assert (right.exact, right.books) == (True, Rows(2, 2))
    assert right.summary().endswith("as sent, 2 of 2 lines of the books balance")
    assert right.as_json()["books"] == {"right_count": 2, "expected_count": 2}
    wrong = audited(exact, Cut({"revenue/1": {"consumed": 1_000}}, Counter()))
    assert wrong.summary().startswith("WRONG ")
    assert wrong.summary().endswith("1 of 2 lines of the books balance")
    (sentence,) = wrong.sentences()
    assert sentence == (
        "conflicting in the books, revenue/1, records: expected a line that holds, "
        "found consumed 1,000 != applied 0 + duplicates 0 + dead 0 (off by 1,000)"
    )
    assert exact.as_json()["books"] is None
