"""Settlement in columns, by example: for each rule what is left to the rule book, and that all else really is booked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import polars as pl
import pytest
from msgspec.structs import fields, replace

from agents.flows import CUSTOMERS
from agents.ports import DAY_MS, Columns, Found, Limits, Tick
from agents.settlement import lifecycle
from agents.settlement.agent import declare
from agents.settlement.clocks import Clocks
from agents.settlement.column_batch import KINDS
from agents.settlement.column_lifecycle import pass_over
from agents.settlement.column_rules import BESIDES, OF_EVENTS, OF_ORDERS
from agents.settlement.columns import Booked
from agents.settlement.decide import FIRST_TIME_MS, LAST_TIME_MS, MAX_AMOUNT_MINOR, RULE_BOOK
from agents.settlement.state import ORDER_STATE, OrderState, Placed
from agents.testing import Item, MemoryBatch, MemoryRuntime
from schemas.events import Event, OrderCancelled, OrderLine, OrderPlaced, PaymentFailed
from schemas.packed import PackedColumns
from schemas.topics import ORDERS, PAYMENTS, UNPAID_ORDERS
from tests.support.both_ways import DEFAULT, booked, both, said
from tests.support.columns import NEEDS_EXTENSION
from tests.unit.orders import MINUTE_MS, T0_MS, cancelled, captured, failed, placed, refunded

pytestmark = NEEDS_EXTENSION
WEEK_MS = 7 * DAY_MS
HOUR_MS = 60 * MINUTE_MS
LINE = OrderLine("sku", 1, 100)
UNPAID_MS = T0_MS + 41 * MINUTE_MS
"""When it is sure that an order of T0 was not paid: half an hour, its minute, and ten minutes of grace later."""


def of_task(events: Sequence[Any]) -> list[Item]:
    return [(0, event) for event in events]


def other(event_id: str, at_ms: int = T0_MS) -> OrderPlaced:
    return placed(event_id, order_id=f"of {event_id}", at_ms=at_ms)


def paid(event_id: str, at_ms: int = T0_MS) -> Event:
    return captured(f"paid {event_id}", order_id=f"of {event_id}", at_ms=at_ms)


def told_of(did: Booked, batch: Sequence[Any]) -> list[str]:
    """Give the ids of the events that the columns leave to the rule book."""
    assert len(did.told) + len(did.applied) + len(did.dropped) == len(batch)
    return [batch[at].event_id for at in did.told["at"]]


def told(before: Sequence[Sequence[Any]], batch: Sequence[Any], limits: Limits = DEFAULT) -> list[str]:
    """Give the same, once it is sure that both ways say the same of all batches."""
    by_rows, in_columns = both([of_task(each) for each in [*before, batch]], limits)
    assert in_columns == by_rows
    return told_of(booked([of_task(each) for each in before], of_task(batch), limits), batch)


def reasons(before: Sequence[Sequence[Any]], batch: Sequence[Any]) -> list[str]:
    runtime = MemoryRuntime(reads=KINDS)
    runtime.run(declare, [of_task(each) for each in before])
    known = len(runtime.world.dead_letters)
    return [letter.reason for letter in runtime.run(declare, [of_task(batch)]).dead_letters[known:]]


def test_each_reason_of_the_rule_book_is_a_rule_in_columns_where_the_extension_is_built() -> None:
    assert [*OF_EVENTS, *OF_ORDERS] == [rule.reason for rule in sorted(RULE_BOOK, key=lambda rule: rule.reason not in OF_EVENTS)]
    assert {rule.__name__ for rule in BESIDES} == {"must_wait", "closed", "due", "late"}


SAMPLES: dict[type, tuple[Sequence[Any], Any]] = {
    type(event): (before, event)
    for before, event in (
        ([], placed()), ([placed()], cancelled()), ([placed()], captured()), ([placed()], failed()),
        ([placed(), captured()], refunded()),
    )
}  # fmt: skip
"""By type, an event that breaks no rule, and what came before it."""


def changes() -> Iterator[tuple[type, str, Any]]:
    """Give a type, a field, and what may stand in it: at a bound, or just beyond it."""
    for kind in KINDS:
        ids = [field.name for field in fields(kind) if field.name.endswith("_id") or field.name in ("source", "method")]
        yield from product([kind], ids, ["", "x", "\U0001f600" * 128, "x" * 129])
        times = [FIRST_TIME_MS - 1, FIRST_TIME_MS, LAST_TIME_MS, LAST_TIME_MS + 1, -(2**63), 2**63 - 1]
        yield from product([kind], ["occurred_at_ms"], times)
        if kind is not OrderCancelled:
            yield from product([kind], ["currency"], ["XXX", "", "eur", "EUR", *(["KWD"] if kind is OrderPlaced else [])])
        if kind not in (OrderPlaced, OrderCancelled):
            yield from product([kind], ["amount_minor"], [-1, 0, 1, 2**63 - 1, -(2**63)])
    yield PaymentFailed, "amount_minor", MAX_AMOUNT_MINOR
    yield PaymentFailed, "amount_minor", MAX_AMOUNT_MINOR + 1


def lines() -> Iterator[tuple[int, list[OrderLine]]]:
    """Give amounts and lines of an order, at bounds and beyond."""
    yield from ((amount, [LINE]) for amount in (99, 100, 101, 0, -100))
    yield from ((sum(each.quantity * each.unit_price_minor for each in some), some) for some in (
        [], [LINE, LINE], [OrderLine("a", 0, 5), LINE], [OrderLine("a", 1, 0), LINE], [OrderLine("a", -1, 5), LINE],
        [OrderLine("a", 2, -1), LINE], [OrderLine("a", 1, 0)], [OrderLine("a", 1, MAX_AMOUNT_MINOR)],
        [OrderLine("a", 1, MAX_AMOUNT_MINOR), OrderLine("b", 1, 1)],
    ))  # fmt: skip
    wraps = [OrderLine("a", 2**31 - 1, 2**33), LINE]
    yield (2**31 - 1) * 2**33 + 100 - 2**64, wraps
    wraps_to_right = [OrderLine("a", 2**30, 2**34), LINE]
    yield 100, wraps_to_right


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_told_if_and_only_if_it_is_beyond_a_bound_where_the_extension_is_built(kind: type) -> None:
    wrong = []
    for _, name, value in (change for change in changes() if change[0] is kind):
        before, event = SAMPLES[kind]
        event = replace(event, **{name: value})
        if name == "order_id":
            before = [replace(each, order_id=value) for each in before]
        if kind.__name__ == "PaymentRefunded" and name == "payment_id":
            before = [*before[:1], replace(before[1], payment_id=value)] if 0 < len(value) <= 128 else before
        found = told([before], [event, other("beside")] if name != "occurred_at_ms" else [event])
        rejected = reasons([before], [event])
        if (event.event_id in found) != bool(rejected) or "beside" in found:
            wrong.append((name, value, found, rejected))
    assert wrong == []


def test_an_order_is_told_if_and_only_if_its_lines_are_wrong_where_the_extension_is_built() -> None:
    for amount_minor, some in lines():
        event = placed(amount_minor=amount_minor, lines=tuple(some))
        is_rejected = bool(reasons([], [event, other("beside")]))
        assert told([], [event, other("beside")]) == ["placed"] * is_rejected, event


class Example(NamedTuple):
    """``reason`` is what the rule book says of some event of order o-1 in ``batch``; empty: the columns book it all."""

    reason: str
    before: list[Event]
    batch: list[Event]


FULL: list[Event] = [placed(), *(failed(f"f-{number}") for number in range(998))]
PAID: list[Event] = [placed(), captured()]
EXAMPLES = [
    Example("order_full", [*FULL, failed("f-998")], [failed()]),
    Example("order_full", FULL, [failed(), failed("too many")]),
    Example("order_full", [], [*FULL, failed(), failed("too many")]),
    Example("", FULL, [failed(), failed("f-1")]),
    Example("order_already_placed", [placed()], [placed("again", customer_id="c-2")]),
    Example("order_already_placed", [], [placed(), placed("again", customer_id="c-2")]),
    Example("currency_mismatch", [placed()], [captured(currency="USD")]),
    Example("currency_mismatch", [placed()], [failed(currency="USD")]),
    Example("currency_mismatch", [], [placed(), failed(currency="USD")]),
    Example("currency_mismatch", PAID, [refunded(currency="USD")]),
    Example("payment_already_captured", PAID, [captured("again")]),
    Example("payment_already_captured", [placed()], [captured(), captured("again")]),
    Example("", PAID, [captured("again", payment_id="p-2"), failed()]),
    Example("refund_already_booked", [*PAID, refunded(amount_minor=1)], [refunded("b", refund_id="r-refunded", amount_minor=1)]),
    Example("refund_already_booked", PAID, [refunded(each, refund_id="r", amount_minor=1) for each in ("a", "b")]),
    Example(
        "refund_already_booked", [*PAID, captured("two", payment_id="p-2"), refunded(amount_minor=1)],
        [refunded("again", refund_id="r-refunded", payment_id="p-2", amount_minor=1)],
    ),
    Example("refund_exceeds_capture", PAID, [refunded(amount_minor=101)]),
    Example("refund_exceeds_capture", [*PAID, refunded(amount_minor=60)], [refunded("more", amount_minor=41)]),
    Example("refund_exceeds_capture", [placed()], [captured(), refunded(amount_minor=60), refunded("more", amount_minor=41)]),
    Example("", [*PAID, refunded(amount_minor=50)], [refunded("more", amount_minor=30), refunded("rest", amount_minor=20)]),
    Example("already_cancelled", [placed(), cancelled()], [cancelled("again")]),
    Example("already_cancelled", [placed()], [cancelled(), cancelled("again")]),
    Example("", [], [placed(), cancelled(), captured(), refunded(amount_minor=1), failed()]),
    Example("", [], [placed(), cancelled(), captured(), refunded()]),
    Example("", [], [placed(), captured(), refunded(amount_minor=99)]),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.reason or "none")
def test_an_order_is_told_if_and_only_if_a_rule_is_broken_where_the_extension_is_built(example: Example) -> None:
    batch = [*example.batch, other("beside")]
    assert told([example.before], batch) == ([event.event_id for event in example.batch] if example.reason else [])
    assert reasons([example.before], batch) == ([example.reason] if example.reason else [])


def test_what_waits_is_told_and_what_came_in_order_is_not_where_the_extension_is_built() -> None:
    assert told([], [captured()]) == ["captured"]
    assert told([], [captured(), placed()]) == ["captured", "placed"]
    assert told([[captured()]], [placed()]) == ["placed"]
    assert told([[captured()]], [captured()]) == [], "a repeat"
    assert told([[placed()]], [refunded(amount_minor=1), captured()]) == ["refunded", "captured"]
    assert told([[placed(), refunded()]], [failed()]) == ["failed"]
    assert told([[placed()]], [captured(), refunded(amount_minor=1)]) == []
    assert told([], [placed(at_ms=T0_MS + 9), captured(at_ms=T0_MS), refunded(at_ms=T0_MS + 1)]) == []


def test_an_event_at_the_horizon_is_booked_and_one_before_it_is_told_where_the_extension_is_built() -> None:
    now = other("now", T0_MS + WEEK_MS)
    early = [[other("a", T0_MS - WEEK_MS), paid("a", T0_MS - WEEK_MS)]]
    assert told(early, [now, placed(at_ms=T0_MS)]) == ["placed"], "late for its windows"
    lasting = Limits(grace_ms=30 * DAY_MS)
    assert told(early, [now, placed(at_ms=T0_MS)], lasting) == []
    assert told(early, [now, placed(at_ms=T0_MS - 1)], lasting) == ["placed"]
    assert told(early, [placed(at_ms=T0_MS - 1), now], lasting) == [], "it came before"
    assert told([*early, [now]], [placed(at_ms=T0_MS - 1)], lasting) == ["placed"]


def test_an_event_is_told_from_the_very_minute_on_that_it_is_late_for_where_the_extension_is_built() -> None:
    for reached_ms, expected in ((T0_MS + 11 * MINUTE_MS - 1, []), (T0_MS + 11 * MINUTE_MS, ["captured"])):
        before = [[placed(), other("a")]]
        assert told(before, [paid("a", reached_ms), captured(at_ms=T0_MS + MINUTE_MS - 1)]) == expected
        assert told(before, [captured(at_ms=T0_MS + MINUTE_MS - 1), paid("a", reached_ms)]) == []
        assert told([[other("a")]], [paid("a", reached_ms), placed(at_ms=reached_ms), captured(at_ms=T0_MS)]) == []


def test_only_a_time_within_bounds_moves_the_clocks_where_the_extension_is_built() -> None:
    assert told([], [other("last", LAST_TIME_MS), other("beside")]) == ["beside"]
    assert told([], [other("wrong", LAST_TIME_MS + 1), other("beside")]) == ["wrong"]


def far(at_ms: int) -> list[Event]:
    """Give the events that move the watermark to a time."""
    return [other(f"far {at_ms}", at_ms), paid(f"far {at_ms}", at_ms)]


def test_an_order_is_told_from_the_very_time_on_that_it_is_due_where_the_extension_is_built() -> None:
    late_ms = T0_MS + 40 * MINUTE_MS
    for watermark_ms, expected in ((UNPAID_MS - 1, []), (UNPAID_MS, ["captured"])):
        far_away = far(watermark_ms)
        assert told([[placed()]], [*far_away, captured(at_ms=late_ms)]) == expected
        assert told([[placed()]], [captured(at_ms=T0_MS), *far_away]) == []
        assert told([], [placed(), *far_away, captured(at_ms=late_ms)]) == ["placed"] * len(expected) + expected
    more = captured("more", payment_id="p-2", at_ms=late_ms)
    for in_time in (captured(at_ms=T0_MS + 30 * MINUTE_MS), cancelled(at_ms=T0_MS + 30 * MINUTE_MS)):
        for before in ([placed(), in_time], [placed(), in_time, more]):
            assert told([before], [*far(UNPAID_MS), failed(at_ms=late_ms)]) == []
    too_late = [placed(), captured(at_ms=T0_MS + 30 * MINUTE_MS + 1)]
    assert told([too_late], [*far(UNPAID_MS), failed(at_ms=late_ms)]) == ["failed"]
    assert told([[placed()], far(UNPAID_MS)], [captured(at_ms=late_ms)]) == [], "that it is unpaid was said before"


CLOSING_MS = (T0_MS + WEEK_MS) // HOUR_MS * HOUR_MS + HOUR_MS


def test_a_repeat_for_an_order_that_is_closed_by_then_is_no_repeat_where_the_extension_is_built() -> None:
    assert told([PAID], [*far(CLOSING_MS - 1), placed()]) == []
    assert told([PAID], [*far(CLOSING_MS), placed()]) == ["placed"]
    assert reasons([PAID], [*far(CLOSING_MS), placed()]) == ["beyond_horizon"]
    assert told([], [*PAID, *far(CLOSING_MS), placed()]) == ["placed", "captured", "placed"]
    assert told([PAID], [placed(), *far(CLOSING_MS)]) == []
    limits = Limits(dedup_horizon_ms=HOUR_MS, unpaid_after_ms=DAY_MS)
    assert told([], [*PAID, *far(T0_MS + 3 * HOUR_MS), placed()], limits) == ["placed", "captured", "placed"]


def test_a_closed_order_is_told_and_one_with_news_since_is_not_where_the_extension_is_built() -> None:
    before = [PAID, far(CLOSING_MS)]
    at_ms = CLOSING_MS
    assert told(before, [failed("news", at_ms=at_ms)]) == ["news"]
    assert told([*before, [failed("news", at_ms=at_ms)]], [failed("more", at_ms=at_ms)]) == []
    assert told([*before, [failed("news", at_ms=at_ms)]], [refunded(at_ms=at_ms)]) == ["refunded"]


def test_an_order_is_closed_though_the_horizon_was_raised_since_where_the_extension_is_built() -> None:
    worlds = []
    for reads in ((), KINDS):
        runtime = MemoryRuntime(Limits(dedup_horizon_ms=HOUR_MS), reads=reads)
        runtime.run(declare, [of_task(PAID), of_task(far(T0_MS + 3 * HOUR_MS))])
        runtime.limits = DEFAULT
        worlds.append(said(runtime.run(declare, [of_task([failed(at_ms=T0_MS + 3 * HOUR_MS)])])))
    assert worlds[0] == worlds[1]


def test_an_order_that_comes_after_its_payment_was_given_up_is_due_in_time_where_the_extension_is_built() -> None:
    given_up_ms, late_ms = T0_MS + DAY_MS + 1, T0_MS + DAY_MS + 2 * HOUR_MS
    story: list[list[Event]] = [[captured()], far(given_up_ms), [placed(at_ms=given_up_ms)], far(late_ms)]
    assert told(story[:2], story[2]) == []
    batches = [of_task(each) for each in story]
    by_rows, in_columns = both(batches)
    assert in_columns == by_rows
    world = MemoryRuntime(reads=KINDS).run(declare, batches)
    assert [emitted.value.order_id for emitted in world.rows[UNPAID_ORDERS.name]] == ["o-1"]


def test_times_and_ids_may_come_in_any_order_where_the_extension_is_built() -> None:
    before: list[list[Any]] = [
        [placed(), captured("b", payment_id="p-2", at_ms=T0_MS + 5)],
        [refunded("r", payment_id="p-2", amount_minor=1)],
    ]
    batch = [
        captured("z", payment_id="p-9", at_ms=T0_MS + 1), captured("a", payment_id="p-1", at_ms=T0_MS + 9),
        captured("at once", payment_id="p-0", at_ms=T0_MS + 9),
        refunded("y", refund_id="z", payment_id="p-2", amount_minor=1, at_ms=T0_MS + 3),
        refunded("x", refund_id="a", payment_id="p-2", amount_minor=1, at_ms=T0_MS - 2),
        failed("c", at_ms=T0_MS - MINUTE_MS), cancelled("d", at_ms=T0_MS - 5),
    ]  # fmt: skip
    assert told(before, batch) == []
    assert told([*before, batch], [failed("e", at_ms=T0_MS - 9), refunded("w", payment_id="p-2", amount_minor=1)]) == []
    lasting = Limits(grace_ms=DAY_MS)
    assert told([[*PAID, failed("new", at_ms=T0_MS + 2 * HOUR_MS)]], [failed("old")], lasting) == [], "closed by the newest"


def test_repeats_are_dropped_in_columns_and_those_with_other_content_counted_where_the_extension_is_built() -> None:
    before = [[placed(), captured()]]
    batch = [placed(), captured(amount_minor=7), failed(), failed(), failed(amount_minor=8), failed("new"), other("beside")]
    did = booked([of_task(each) for each in before], of_task(batch))
    assert told(before, batch) == []
    assert list(did.outcomes()) == [(0, 3, 4, 2)]
    assert did.orders["failures_count"].to_list() == [2, 0]
    twice = [captured(amount_minor=7), captured(amount_minor=7)]
    assert told(before, twice) == []
    assert list(booked([of_task(each) for each in before], of_task(twice)).outcomes()) == [(0, 0, 2, 2)], "than the first of all"


def test_the_agent_asks_the_columns_first_where_the_extension_is_built() -> None:
    world = MemoryRuntime(reads=KINDS).run(declare, [of_task([placed(), placed()])])
    assert (world.totals["duplicates"], world.dropped) == (1, []), "columns count repeats, the rule book names them"


def test_flows_that_nobody_sums_are_not_said_and_the_books_have_the_money_where_the_extension_is_built() -> None:
    worlds = [
        said(MemoryRuntime(reads=reads).run(partial(declare, flows=(CUSTOMERS,)), [of_task([*PAID, refunded()])]))
        for reads in ((), KINDS)
    ]
    assert worlds[0] == worlds[1]


def test_a_repeat_across_types_of_events_is_a_repeat_where_the_extension_is_built() -> None:
    did = booked([of_task([placed("x")])], of_task([captured("x"), failed("y"), cancelled("y")]))
    assert told([[placed("x")]], [captured("x"), failed("y"), cancelled("y")]) == []
    assert list(did.outcomes()) == [(0, 1, 2, 2)]


def test_the_same_order_under_another_event_id_is_left_to_the_rule_book_where_the_extension_is_built() -> None:
    assert told([[placed()]], [placed("again", source="other")]) == ["again"]
    assert reasons([[placed()]], [placed("again", source="other")]) == []


def test_who_is_told_sees_the_clocks_as_they_were_at_its_turn_where_the_extension_is_built() -> None:
    lasting = Limits(grace_ms=30 * DAY_MS)
    early: Event = replace(cancelled("early", at_ms=T0_MS - WEEK_MS), order_id="o-2")
    later: Event = replace(cancelled("later", at_ms=T0_MS - WEEK_MS), order_id="o-3")
    batch = [other("a"), early, other("b", T0_MS + 1), other("c"), later]
    assert told([], batch, lasting) == ["early", "later"]
    world = MemoryRuntime(lasting, reads=KINDS).run(declare, [of_task(batch)])
    assert [(letter.event.event_id, letter.reason) for letter in world.dead_letters] == [("later", "beyond_horizon")]
    assert world.counters[0]["newest_ms|orders"] == T0_MS + 1
    at_horizon: Event = replace(early, event_id="at horizon", occurred_at_ms=T0_MS - WEEK_MS + 1)
    batch = [other("a"), cancelled(at_ms=T0_MS + 1), early, at_horizon, other("b", T0_MS + WEEK_MS)]
    assert told([[placed()]], batch, lasting) == ["early", "at horizon"]


def test_the_clocks_of_tasks_and_inputs_are_apart_where_the_extension_is_built() -> None:
    old_ms = T0_MS - WEEK_MS - 1
    items: list[Item] = [(0, other("a")), (1, other("b", old_ms)), (0, paid("a", old_ms)), (1, paid("b", T0_MS))]
    by_rows, in_columns = both([items])
    assert in_columns == by_rows
    assert booked([], items).told.is_empty()
    items = [(1, other("far", T0_MS + 2 * WEEK_MS)), (0, other("a")), (0, cancelled("waits"))]
    by_rows, in_columns = both([items])
    assert in_columns == by_rows
    assert booked([], items).told.rows() == [(2, 0)]
    batch = [other("a", T0_MS + WEEK_MS), paid("a", T0_MS), captured("waits", at_ms=T0_MS - 1)]
    assert told([], batch, Limits(grace_ms=30 * DAY_MS)) == ["waits"]


def test_one_order_id_in_two_tasks_is_two_orders_where_the_extension_is_built() -> None:
    items: list[Item] = [(0, placed()), (1, placed()), (0, captured()), (1, placed("again", customer_id="c-2"))]
    by_rows, in_columns = both([items])
    assert in_columns == by_rows
    assert booked([], items).told.rows() == [(1, 1), (3, 1)]


def test_ids_of_events_payments_and_refunds_are_those_of_their_order_where_the_extension_is_built() -> None:
    events = [placed(), captured(), refunded(amount_minor=90)]
    others: list[Event] = [
        replace(each, order_id="o-2") for each in (placed(), captured(amount_minor=50), refunded(amount_minor=1))
    ]
    assert told([], [*events, *others]) == []
    assert told([events], [*others, failed()]) == []
    assert told([events, others[:1]], others[2:]) == ["refunded"], "its own capture has not come"


def test_a_tick_of_the_same_batch_makes_orders_due_and_an_idle_input_holds_nothing_back_where_the_extension_is_built() -> None:
    idle = Tick(0, T0_MS, frozenset({PAYMENTS.name}))
    batch = [other("now", UNPAID_MS), cancelled(at_ms=T0_MS + 40 * MINUTE_MS)]
    before: list[list[Item]] = [of_task([placed(), paid("a")]), [idle]]
    by_rows, in_columns = both([*before, of_task(batch)])
    assert in_columns == by_rows
    assert told_of(booked(before, of_task(batch)), batch) == ["cancelled"]
    assert told([], [placed(), paid("a"), *batch]) == ["paid a"], "payments hold the watermark back"
    all_idle = Tick(0, UNPAID_MS + 10 * MINUTE_MS, frozenset({"orders", "payments"}))
    last: list[Event] = [cancelled(at_ms=T0_MS + 40 * MINUTE_MS)]
    by_rows, in_columns = both([of_task([placed()]), [*of_task(last), all_idle]])
    assert in_columns == by_rows
    assert told_of(booked([of_task([placed()])], [*of_task(last), all_idle]), last) == ["cancelled"]


def test_a_payment_is_late_by_the_watermark_when_its_input_wakes_up_where_the_extension_is_built() -> None:
    idle = Tick(0, T0_MS, frozenset({PAYMENTS.name}))
    before: list[list[Item]] = [of_task([placed(), paid("a")]), [idle], of_task([other("now", T0_MS + 20 * MINUTE_MS)])]
    batch = [captured()]
    by_rows, in_columns = both([*before, of_task(batch)])
    assert in_columns == by_rows
    assert told_of(booked(before, of_task(batch)), batch) == ["captured"]


def test_records_with_and_without_columns_wake_their_inputs_up_where_the_extension_is_built() -> None:
    runtime = MemoryRuntime(reads=KINDS)
    runtime.run(declare, [of_task([other("a"), paid("a")]), [Tick(0, T0_MS, frozenset({ORDERS.name, PAYMENTS.name}))]])
    records = MemoryBatch(of_task([other("b"), paid("b")]), runtime.world, reads=KINDS)
    assert records.columns is not None
    frames = {kind: frame.filter(frame["at"] == 0) for kind, frame in records.columns.frames.items()}
    records.columns = Columns(frames, {1: records.rows[1]})
    [(_, newest_ms, _)] = Clocks(records, DEFAULT).standing()
    assert newest_ms == {ORDERS.name: T0_MS, PAYMENTS.name: T0_MS}


def test_an_order_whose_state_or_event_has_no_columns_is_told_where_the_extension_is_built() -> None:
    empty, _ = PackedColumns(ORDER_STATE.row).decode([])
    batch: list[Event] = [placed(), other("beside")]
    assert told_of(booked([], of_task(batch), found=Found(empty, [], [0])), batch) == ["placed"]
    assert told_of(booked([], of_task(batch), found=Found(empty, [], [])), batch) == []
    batch = [other("a"), captured(), placed(), other("b")]
    assert told_of(booked([], of_task(batch), others=[0, 2]), batch) == ["a", "captured", "placed"]
    assert told_of(booked([], of_task(batch), others=range(4)), batch) == ["a", "captured", "placed", "b"]


def test_what_has_no_columns_moves_the_clocks_and_is_of_its_own_task_where_the_extension_is_built() -> None:
    assert booked([], of_task([placed(), cancelled()]), others=[1]).told["at"].to_list() == [0, 1]
    batch = [*far(UNPAID_MS), cancelled(at_ms=T0_MS + 40 * MINUTE_MS)]
    did = booked([of_task([placed()])], of_task(batch), others=[0, 1])
    assert did.told["at"].to_list() == [0, 1, 2]
    items: list[Item] = [(0, placed()), (1, placed()), (1, cancelled())]
    assert booked([], items, others=[1]).told["at"].to_list() == [1, 2]


def test_a_batch_that_is_wholly_the_rule_books_books_nothing_where_the_extension_is_built() -> None:
    did = booked([], of_task([captured()]))
    assert (len(did.orders), len(did.applied), did.due("due_ms"), list(did.outcomes()), list(did.newest())) == (0, 0, {}, [], [])
    assert all(isinstance(frame, pl.DataFrame) and frame.is_empty() for frame in did.moved.values())


def test_a_closed_order_is_forgotten_when_it_was_kept_long_enough_where_the_extension_is_built() -> None:
    table = MemoryRuntime().table(ORDER_STATE)
    order = OrderState(Placed("m", "c", "EUR", 5, T0_MS, b""), booked_count=1, updated_at_ms=T0_MS, newest_ms=T0_MS)
    table.put_many({(0, b"o-1"): order})
    keys, kept_until_ms = {0: [b"o-1"]}, lifecycle.due_ms(order, Limits())
    assert kept_until_ms is not None
    early, late = (pass_over(keys, table.get_columns(keys), {0: at_ms}, Limits()) for at_ms in (kept_until_ms - 1, kept_until_ms))
    assert (len(early.closed), early.forgotten, early.others) == (0, {}, keys)
    assert (len(late.closed), late.forgotten, late.others) == (0, keys, {})
