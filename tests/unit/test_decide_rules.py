"""Every rule of settlement, with the smallest thing that breaks it and the largest that does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agents.outcomes import DUPLICATE, OTHER_CONTENT, Decision, Rejected
from agents.ports import DAY_MS
from agents.settlement.decide import (
    FIRST_TIME_MS,
    LAST_TIME_MS,
    MAX_AMOUNT_MINOR,
    MAX_EVENTS_PER_ORDER,
    MAX_ID_CHARACTERS,
    RULE_BOOK,
    Times,
    decide,
)
from agents.settlement.state import OrderState
from schemas.events import Event, OrderLine
from schemas.topics import MAX_CHANGELOG_BYTES
from tests.unit.orders import T0_MS, after, applied, cancelled, captured, failed, placed, refunded

LONG = "x" * (MAX_ID_CHARACTERS + 1)
FULL = OrderState(seen=tuple((f"{number:04d}", 0) for number in range(MAX_EVENTS_PER_ORDER)))
OLDEST_MS = T0_MS - 5 * DAY_MS
TIMES = Times(oldest_ms=OLDEST_MS)
PLACED = after(placed())
CAPTURED = after(placed(), captured())

IDS: tuple[tuple[Event, tuple[str, ...]], ...] = (
    (placed(), ("event_id", "order_id", "source", "customer_id", "merchant_id")),
    (cancelled(), ("event_id", "order_id", "source")),
    (captured(), ("event_id", "order_id", "source", "payment_id", "method")),
    (failed(), ("event_id", "order_id", "source", "payment_id", "method")),
    (refunded(), ("event_id", "order_id", "source", "payment_id", "refund_id")),
)
REFUND_AGAIN = refunded("b", refund_id="r-refunded", amount_minor=1)

BROKEN: list[tuple[str, OrderState | None, Event]] = [
    *(("bad_id", None, replace(event, **{name: text})) for event, names in IDS for name in names for text in ("", LONG)),
    ("bad_time", None, placed(at_ms=FIRST_TIME_MS - 1)),
    ("bad_time", None, cancelled(at_ms=LAST_TIME_MS + 1)),
    ("beyond_horizon", None, placed(at_ms=OLDEST_MS - 1)),
    ("beyond_horizon", PLACED, captured(at_ms=OLDEST_MS - 1)),
    ("beyond_horizon", PLACED, cancelled(at_ms=FIRST_TIME_MS)),
    ("order_full", FULL, captured()),
    ("order_full", FULL, placed()),
    ("amount_not_positive", None, placed(amount_minor=0)),
    ("amount_not_positive", None, placed(amount_minor=-1)),
    ("amount_mismatch", None, placed(lines=())),
    ("amount_not_positive", None, placed(lines=(OrderLine("a", 0, 5), OrderLine("b", 1, 100)))),
    ("amount_not_positive", None, placed(lines=(OrderLine("a", 1, -5), OrderLine("b", 1, 105)))),
    ("amount_not_positive", None, captured(amount_minor=0)),
    ("amount_not_positive", None, failed(amount_minor=-3)),
    ("amount_not_positive", CAPTURED, refunded(amount_minor=0)),
    ("amount_too_large", None, placed(amount_minor=MAX_AMOUNT_MINOR + 1)),
    ("amount_too_large", None, captured(amount_minor=MAX_AMOUNT_MINOR + 1)),
    ("unknown_currency", None, placed(currency="eur")),
    ("unknown_currency", None, captured(currency="XXX")),
    ("unknown_currency", None, failed(currency="")),
    ("amount_mismatch", None, placed(lines=(OrderLine("a", 2, 50), OrderLine("b", 1, 1)))),
    ("order_already_placed", PLACED, placed("again", amount_minor=101)),
    ("order_already_placed", PLACED, placed("again", at_ms=T0_MS + 1)),
    ("order_already_placed", PLACED, placed("again", merchant_id="m-2")),
    ("order_already_placed", PLACED, placed("again", customer_id="c-2")),
    ("order_already_placed", PLACED, placed("again", currency="USD")),
    ("order_already_placed", PLACED, placed("again", lines=(OrderLine("sku", 2, 50),))),
    ("currency_mismatch", PLACED, captured(currency="USD")),
    ("currency_mismatch", PLACED, failed(currency="USD")),
    ("currency_mismatch", CAPTURED, refunded(currency="USD")),
    ("payment_already_captured", CAPTURED, captured("other")),
    ("payment_already_captured", after(captured()), captured("other")),
    ("refund_already_booked", after(placed(), captured(), refunded(amount_minor=1)), REFUND_AGAIN),
    ("refund_already_booked", after(refunded(amount_minor=1)), REFUND_AGAIN),
    ("refund_exceeds_capture", CAPTURED, refunded(amount_minor=101)),
    ("refund_exceeds_capture", after(placed(), captured(), refunded(amount_minor=60)), refunded("b", amount_minor=41)),
    ("refund_exceeds_capture", after(captured()), refunded(amount_minor=101)),
    ("refund_exceeds_capture", after(captured(), refunded(amount_minor=60)), refunded("b", amount_minor=41)),
    ("already_cancelled", after(placed(), cancelled()), cancelled("again")),
    ("already_cancelled", after(cancelled()), cancelled("again")),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "state", "event"), BROKEN)
def test_a_broken_rule_rejects_with_its_reason_and_its_sentence(reason: str, state: OrderState | None, event: Event) -> None:
    (rule,) = (rule for rule in RULE_BOOK if rule.reason == reason)
    assert decide(state, event, TIMES) == Rejected(reason, rule.meaning)
    assert decide(state, event, TIMES) == Rejected(reason, rule.meaning), "sent again it is judged the same"


def test_the_first_and_the_last_time_are_those_that_the_rule_names() -> None:
    assert datetime.fromtimestamp(FIRST_TIME_MS / 1000, UTC) == datetime(2000, 1, 1, tzinfo=UTC)
    assert datetime.fromtimestamp(LAST_TIME_MS / 1000, UTC) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_every_rule_of_the_book_is_broken_above() -> None:
    assert {reason for reason, _, _ in BROKEN} == {rule.reason for rule in RULE_BOOK}


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (None, placed("x" * MAX_ID_CHARACTERS)),
        (None, placed(at_ms=LAST_TIME_MS)),
        (None, placed(at_ms=OLDEST_MS)),
        (PLACED, captured(at_ms=OLDEST_MS)),
        (OrderState(seen=FULL.seen[1:]), captured()),
        (None, placed(amount_minor=1)),
        (None, placed(amount_minor=MAX_AMOUNT_MINOR)),
        (None, placed(lines=(OrderLine("gift", 1, 0), OrderLine("a", 2, 50)))),
        (None, placed(currency="KWD")),
        (CAPTURED, captured("other", payment_id="p-2")),
        (CAPTURED, refunded(amount_minor=100)),
        (after(placed(), captured(), refunded(amount_minor=60)), refunded("b", amount_minor=40)),
        (after(captured(), refunded(amount_minor=60)), refunded("b", amount_minor=40)),
        (PLACED, captured(amount_minor=250)),
        (CAPTURED, failed(payment_id="p-1")),
        (PLACED, cancelled()),
    ],
)
def test_what_stands_just_inside_a_rule_is_applied(state: OrderState | None, event: Event) -> None:
    assert isinstance(decide(state, event, TIMES), Decision)


def test_while_no_time_is_known_an_event_may_be_as_old_as_events_are() -> None:
    assert isinstance(decide(None, placed(at_ms=FIRST_TIME_MS)), Decision)


TWO_BROKEN: list[tuple[str, OrderState | None, Event]] = [
    ("bad_id", None, placed("", at_ms=0)),
    ("bad_time", FULL, cancelled(at_ms=0)),
    ("beyond_horizon", FULL, captured(at_ms=OLDEST_MS - 1)),
    ("order_full", FULL, captured(amount_minor=0)),
    ("amount_not_positive", None, captured(amount_minor=0, currency="XXX")),
    ("amount_too_large", None, captured(amount_minor=MAX_AMOUNT_MINOR + 1, currency="XXX")),
    ("unknown_currency", None, placed(currency="XXX", lines=(OrderLine("a", 1, 1),))),
    ("amount_mismatch", PLACED, placed("again", lines=(OrderLine("a", 1, 1),))),
    ("currency_mismatch", CAPTURED, captured("other", currency="USD")),
    ("refund_already_booked", after(placed(), captured(), refunded()), refunded("b", refund_id="r-refunded", amount_minor=101)),
]


@pytest.mark.parametrize(("reason", "state", "event"), TWO_BROKEN)
def test_of_two_broken_rules_the_first_in_the_book_names_the_reason(reason: str, state: OrderState | None, event: Event) -> None:
    order = [rule.reason for rule in RULE_BOOK]
    outcome = decide(state, event, TIMES)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason
    asked = [rule for rule in RULE_BOOK if type(event) in rule.concerns]
    broken = [rule.reason for rule in asked if rule.is_broken(state or OrderState(), event, TIMES)]
    assert len(broken) > 1
    assert broken == sorted(broken, key=order.index)
    assert broken[0] == reason


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (PLACED, placed()),
        (PLACED, placed("sent under another id", source="another shop")),
        (CAPTURED, captured()),
        (after(captured()), captured()),
        (OrderState(seen=(*FULL.seen, *PLACED.seen)), placed()),
    ],
)
def test_what_was_seen_is_a_duplicate_before_any_rule_is_asked(state: OrderState, event: Event) -> None:
    assert decide(state, event) == DUPLICATE
    assert decide(state, event, Times(oldest_ms=LAST_TIME_MS)) == DUPLICATE, "however late it is repeated"


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (PLACED, placed(source="another shop")),
        (PLACED, captured("placed", amount_minor=-1)),
        (CAPTURED, captured(amount_minor=101)),
        (after(captured()), captured(at_ms=T0_MS + 1)),
    ],
)
def test_the_same_event_id_with_other_content_is_a_duplicate_that_is_told_apart(state: OrderState, event: Event) -> None:
    assert decide(state, event) == OTHER_CONTENT


def test_an_order_that_was_rejected_may_come_again_rightly_under_the_same_event_id() -> None:
    assert isinstance(decide(None, placed(currency="XXX")), Rejected)
    assert isinstance(decide(None, placed()), Decision)


def test_i5_the_fullest_state_with_the_longest_ids_fits_a_changelog_record() -> None:
    def longest(number: int) -> str:
        return "\U0001f600" * (MAX_ID_CHARACTERS - 8) + f"{number:08d}"

    state: OrderState | None = None
    for number in range(MAX_EVENTS_PER_ORDER):
        one = longest(number)
        event: Any = replace(
            refunded(one, refund_id=one, payment_id=one, amount_minor=MAX_AMOUNT_MINOR), order_id=longest(0), source=one
        )
        state = applied(state, event).state
    size_bytes = len(msgspec.msgpack.encode(state))
    assert size_bytes < MAX_CHANGELOG_BYTES * 3 // 4
