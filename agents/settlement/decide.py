"""The rule book of settlement: what one event does to one order. Pure; no clock, no I/O.

Read top to bottom: :func:`decide`, the rules in the order in which they are asked, what waits, what is booked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from zlib import crc32

import msgspec
from msgspec.structs import replace

from agents.flows import Movement, adjustment
from agents.outcomes import DUPLICATE, OTHER_CONTENT, Decision, Duplicate, Rejected
from agents.ports import Limits
from agents.settlement.booking import book, capture_of, fingerprint, waiting_capture_of, with_item
from agents.settlement.lifecycle import is_due, unmatched, wake
from agents.settlement.state import OrderState
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.currencies import DECIMALS
from schemas.events import Event, OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded, UnmatchedPayment

# Limits of the rule book are no settings: producers rely on them, and the size of a state, which topics and queues are made
# for, follows from them.
MAX_EVENTS_PER_ORDER = 1_000
"""Events of one order that are told apart; with ids at their longest, of four bytes a character, its state is 3.1 MB."""
MAX_ID_CHARACTERS = 128
"""Of every id; they are kept in the state."""
MAX_AMOUNT_MINOR = 10**12
"""Of one event: ten billion in a currency with cents; nine million of them still fit one 64-bit total."""
FIRST_TIME_MS = 946_684_800_000
"""2000-01-01: before it no event of ours occurred."""
LAST_TIME_MS = 253_402_300_799_000
"""The end of the year 9999: after it a time has no four-digit year."""

NEW_ORDER = OrderState()
_packed = msgspec.msgpack.Encoder().encode


class Times(NamedTuple):
    """What time it is in the events, in milliseconds; 0 while nothing is known.

    ``watermark_ms`` is the task's, which wakes orders (``lifecycle.py``). Of the event's own input: what occurred before
    ``oldest_ms`` is too old to tell whether it is new; what moves in a minute that began at ``over_ms`` or before is late
    for its windows.
    """

    watermark_ms: int = 0
    oldest_ms: int = 0
    over_ms: int = 0


TIMELESS = Times()
UNLIMITED = Limits()


def decide(
    state: OrderState | None, event: Event, times: Times = TIMELESS, limits: Limits = UNLIMITED
) -> Decision[OrderState] | Duplicate | Rejected:
    """Give what ``event`` does to the order, once time has done what it had to do with it.

    ``outputs`` are :class:`Movement` values, ``RevenueAdjustment`` for those that are late, and what time said.
    """
    order = state or NEW_ORDER
    outputs: tuple[Output, ...] = ()
    if state is not None and is_due(state, times.watermark_ms, limits):
        woken = wake(state, event.order_id.encode(), times.watermark_ms, limits)
        order, outputs = woken.state or NEW_ORDER, woken.outputs
    content = _content_seen(order, event.event_id)
    if content is not None:
        return DUPLICATE if content == _content(event) else OTHER_CONTENT
    if _repeats_the_order(order, event):
        return DUPLICATE
    for rule in RULES[type(event)]:
        if rule.is_broken(order, event, times):
            return Rejected(rule.reason, rule.meaning)
    seen = with_item(order.seen, (event.event_id, _content(event)))
    order = replace(order, seen=seen, newest_ms=max(order.newest_ms, event.occurred_at_ms))
    if _must_wait(order, event):
        return Decision(replace(order, waiting=with_item(order.waiting, event, key=_waiting_order)), outputs)
    order, moved = _book(order, event, times)
    outputs += moved
    if order.waiting:
        order, moved = _book_what_waited(order, times)
        outputs += moved
    return Decision(order, outputs)


Output: TypeAlias = Movement | RevenueAdjustment | UnmatchedPayment | UnpaidOrder


def _book(order: OrderState, event: Event, times: Times) -> tuple[OrderState, tuple[Output, ...]]:
    """Book an event. What moves too late for its windows moves all the same, and is said apart."""
    order, movements = book(order, event)
    return order, tuple(
        movement if movement.minute_ms > times.over_ms else adjustment(movement, "late", event) for movement in movements
    )


# Rules, in the order in which they are asked; the first that is broken names the reason.


class Rule(NamedTuple):
    """One reason to reject, whom it concerns, and how it is recognised."""

    reason: str
    meaning: str
    concerns: tuple[type, ...]
    is_broken: Callable[[OrderState, Event, Times], bool]


def _bad_id(_: OrderState, event: Event, _times: Times) -> bool:
    ids: tuple[str, ...] = (event.event_id, event.order_id, event.source)
    match event:
        case OrderPlaced():
            ids += (event.customer_id, event.merchant_id)
        case PaymentCaptured() | PaymentFailed():
            ids += (event.payment_id, event.method)
        case PaymentRefunded():
            ids += (event.payment_id, event.refund_id)
    lengths = [len(text) for text in ids]
    return min(lengths) == 0 or max(lengths) > MAX_ID_CHARACTERS


def _bad_time(_: OrderState, event: Event, _times: Times) -> bool:
    return not FIRST_TIME_MS <= event.occurred_at_ms <= LAST_TIME_MS


def _beyond_horizon(_: OrderState, event: Event, times: Times) -> bool:
    return event.occurred_at_ms < times.oldest_ms


def _order_full(order: OrderState, _: Event, _times: Times) -> bool:
    return len(order.seen) >= MAX_EVENTS_PER_ORDER


def _amount_not_positive(_: OrderState, event: Event, _times: Times) -> bool:
    if isinstance(event, OrderPlaced) and any(line.quantity <= 0 or line.unit_price_minor < 0 for line in event.lines):
        return True
    return not isinstance(event, OrderCancelled) and event.amount_minor <= 0


def _amount_too_large(_: OrderState, event: Event, _times: Times) -> bool:
    return not isinstance(event, OrderCancelled) and event.amount_minor > MAX_AMOUNT_MINOR


def _unknown_currency(_: OrderState, event: Event, _times: Times) -> bool:
    return not isinstance(event, OrderCancelled) and event.currency not in DECIMALS


def _amount_mismatch(_: OrderState, event: Event, _times: Times) -> bool:
    return isinstance(event, OrderPlaced) and event.amount_minor != sum(
        line.quantity * line.unit_price_minor for line in event.lines
    )


def _order_already_placed(order: OrderState, _: Event, _times: Times) -> bool:
    return order.placed is not None


def _currency_mismatch(order: OrderState, event: Event, _times: Times) -> bool:
    return order.placed is not None and getattr(event, "currency", None) != order.placed.currency


def _payment_already_captured(order: OrderState, event: Event, _times: Times) -> bool:
    return capture_of(order, event) is not None or waiting_capture_of(order, event) is not None


def _refund_already_booked(order: OrderState, event: Event, _times: Times) -> bool:
    refund_id = getattr(event, "refund_id", None)
    return any(refund_id in capture.refund_ids for capture in order.captures) or any(
        isinstance(other, PaymentRefunded) and other.refund_id == refund_id for other in order.waiting
    )


def _refund_exceeds_capture(order: OrderState, event: Event, _times: Times) -> bool:
    if not isinstance(event, PaymentRefunded):
        return False
    booked = capture_of(order, event)
    if booked is not None:
        return event.amount_minor > booked.refundable_minor
    waiting = waiting_capture_of(order, event)
    if waiting is None:
        return False
    promised = sum(
        other.amount_minor
        for other in order.waiting
        if isinstance(other, PaymentRefunded) and other.payment_id == event.payment_id
    )
    return event.amount_minor > waiting.amount_minor - promised


def _already_cancelled(order: OrderState, _: Event, _times: Times) -> bool:
    return order.cancelled_at_ms is not None or any(isinstance(other, OrderCancelled) for other in order.waiting)


_PAYMENTS = (PaymentCaptured, PaymentFailed, PaymentRefunded)
_MONEY = (OrderPlaced, *_PAYMENTS)
_ALL = (*_MONEY, OrderCancelled)
_ORDERS = (OrderPlaced, OrderCancelled)

RULE_BOOK: tuple[Rule, ...] = (
    Rule("bad_id", f"an id is empty or longer than {MAX_ID_CHARACTERS} characters", _ALL, _bad_id),
    Rule("bad_time", "occurred_at is before the year 2000 or after 9999", _ALL, _bad_time),
    Rule("beyond_horizon", "so old that what is known cannot tell whether it is new", _ALL, _beyond_horizon),
    Rule("order_full", f"the order has {MAX_EVENTS_PER_ORDER} events already", _ALL, _order_full),
    Rule("amount_not_positive", "an amount or a quantity is not positive", _MONEY, _amount_not_positive),
    Rule("amount_too_large", f"the amount is above {MAX_AMOUNT_MINOR} minor units", _MONEY, _amount_too_large),
    Rule("unknown_currency", "the currency is no ISO 4217 code", _MONEY, _unknown_currency),
    Rule("amount_mismatch", "the order's amount is not the sum of its lines", (OrderPlaced,), _amount_mismatch),
    Rule("order_already_placed", "the order was placed before, with other content", (OrderPlaced,), _order_already_placed),
    Rule("currency_mismatch", "the currency is not the order's", _PAYMENTS, _currency_mismatch),
    Rule("payment_already_captured", "the payment was captured before", (PaymentCaptured,), _payment_already_captured),
    Rule("refund_already_booked", "the refund was booked before", (PaymentRefunded,), _refund_already_booked),
    Rule("refund_exceeds_capture", "more is given back than was captured", (PaymentRefunded,), _refund_exceeds_capture),
    Rule("already_cancelled", "the order was cancelled before", (OrderCancelled,), _already_cancelled),
)
RULES: dict[type, tuple[Rule, ...]] = {
    event_type: tuple(rule for rule in RULE_BOOK if event_type in rule.concerns) for event_type in _ALL
}


# What waits: an event whose order, or a refund whose capture, has not come yet.


def _must_wait(order: OrderState, event: Event) -> bool:
    if isinstance(event, OrderPlaced):
        return False
    return order.placed is None or (isinstance(event, PaymentRefunded) and capture_of(order, event) is None)


def _waiting_order(event: Event) -> tuple[int, str]:
    return event.occurred_at_ms, event.event_id


def _book_what_waited(order: OrderState, times: Times) -> tuple[OrderState, tuple[Output, ...]]:
    """Book everything that no longer has to wait, oldest first; what proves invalid leaves as unmatched."""
    outputs: tuple[Output, ...] = ()
    while ready := next((event for event in order.waiting if not _must_wait(order, event)), None):
        order = replace(order, waiting=tuple(event for event in order.waiting if event is not ready))
        rules = (rule for rule in RULES[type(ready)] if rule.reason in _STATE_RULES)
        broken = next((rule for rule in rules if rule.is_broken(order, ready, times)), None)
        if broken is None:
            order, moved = _book(order, ready, times)
            outputs += moved
        elif not isinstance(ready, _ORDERS):
            outputs += (unmatched(ready, broken.reason),)
    return order, outputs


_STATE_RULES = {"currency_mismatch", "payment_already_captured", "refund_already_booked", "refund_exceeds_capture"}
"""The rules that what came later can break; the others were asked when the event came."""


# What was seen before.


def _content(event: Event) -> int:
    """Give four bytes that stand for the whole event: enough to count repeats that differ, and nothing is decided by it."""
    return crc32(_packed(event))


def _content_seen(order: OrderState, event_id: str) -> int | None:
    """Give what stands for the event that came under this id; None when none did."""
    place = bisect_left(order.seen, (event_id,))  # a shorter tuple sorts before a longer one that begins with it
    if place < len(order.seen) and order.seen[place][0] == event_id:
        return order.seen[place][1]
    return None


def _repeats_the_order(order: OrderState, event: Event) -> bool:
    """Tell whether a producer sent the same order again under a new event id."""
    return isinstance(event, OrderPlaced) and order.placed is not None and order.placed.fingerprint == fingerprint(event)
