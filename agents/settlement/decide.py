"""The rule book of settlement: what one event does to one order. Pure; no clock, no I/O.

Read top to bottom: :func:`decide`, the rules in the order in which they are asked, what waits, what is booked.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from agents.outcomes import DUPLICATE, Decision, Duplicate, Rejected
from agents.settlement.state import Capture, OrderState, Placed
from schemas.currencies import DECIMALS
from schemas.events import (
    Event,
    OrderCancelled,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    UnmatchedPayment,
)

MINUTE_MS = 60_000
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
_T = TypeVar("_T")


class Movement(NamedTuple):
    """An amount to add to one measure of one merchant's minute."""

    merchant_id: str
    currency: str
    window_start_ms: int
    measure: str
    amount: int


def decide(state: OrderState | None, event: Event) -> Decision[OrderState] | Duplicate | Rejected:
    """Give what ``event`` does to the order: ``outputs`` are :class:`Movement` and ``UnmatchedPayment`` values."""
    order = state or NEW_ORDER
    if event.event_id in order.seen or _repeats_the_order(order, event):
        return DUPLICATE
    for rule in RULES[type(event)]:
        if rule.is_broken(order, event):
            return Rejected(rule.reason, rule.meaning)
    order = replace(order, seen=_with(order.seen, event.event_id))
    if _must_wait(order, event):
        return Decision(replace(order, waiting=_with(order.waiting, event, key=_waiting_order)))
    order, movements = _book(order, event)
    if not order.waiting:
        return Decision(order, movements)
    order, outputs = _book_what_waited(order)
    return Decision(order, movements + outputs)


# Rules, in the order in which they are asked; the first that is broken names the reason.


class Rule(NamedTuple):
    """One reason to reject, whom it concerns, and how it is recognised."""

    reason: str
    meaning: str
    concerns: tuple[type, ...]
    is_broken: Callable[[OrderState, Event], bool]


def _bad_id(_: OrderState, event: Event) -> bool:
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


def _bad_time(_: OrderState, event: Event) -> bool:
    return not FIRST_TIME_MS <= event.occurred_at_ms <= LAST_TIME_MS


def _order_full(order: OrderState, _: Event) -> bool:
    return len(order.seen) >= MAX_EVENTS_PER_ORDER


def _amount_not_positive(_: OrderState, event: Event) -> bool:
    if isinstance(event, OrderPlaced) and any(line.quantity <= 0 or line.unit_price_minor < 0 for line in event.lines):
        return True
    return not isinstance(event, OrderCancelled) and event.amount_minor <= 0


def _amount_too_large(_: OrderState, event: Event) -> bool:
    return not isinstance(event, OrderCancelled) and event.amount_minor > MAX_AMOUNT_MINOR


def _unknown_currency(_: OrderState, event: Event) -> bool:
    return not isinstance(event, OrderCancelled) and event.currency not in DECIMALS


def _amount_mismatch(_: OrderState, event: Event) -> bool:
    return isinstance(event, OrderPlaced) and event.amount_minor != sum(
        line.quantity * line.unit_price_minor for line in event.lines
    )


def _order_already_placed(order: OrderState, _: Event) -> bool:
    return order.placed is not None


def _currency_mismatch(order: OrderState, event: Event) -> bool:
    return order.placed is not None and getattr(event, "currency", None) != order.placed.currency


def _payment_already_captured(order: OrderState, event: Event) -> bool:
    return _capture_of(order, event) is not None or _waiting_capture_of(order, event) is not None


def _refund_already_booked(order: OrderState, event: Event) -> bool:
    refund_id = getattr(event, "refund_id", None)
    return any(refund_id in capture.refund_ids for capture in order.captures) or any(
        isinstance(other, PaymentRefunded) and other.refund_id == refund_id for other in order.waiting
    )


def _refund_exceeds_capture(order: OrderState, event: Event) -> bool:
    if not isinstance(event, PaymentRefunded):
        return False
    booked = _capture_of(order, event)
    if booked is not None:
        return event.amount_minor > booked.refundable_minor
    waiting = _waiting_capture_of(order, event)
    if waiting is None:
        return False
    promised = sum(
        other.amount_minor
        for other in order.waiting
        if isinstance(other, PaymentRefunded) and other.payment_id == event.payment_id
    )
    return event.amount_minor > waiting.amount_minor - promised


def _already_cancelled(order: OrderState, _: Event) -> bool:
    return order.cancelled_at_ms is not None or any(isinstance(other, OrderCancelled) for other in order.waiting)


_PAYMENTS = (PaymentCaptured, PaymentFailed, PaymentRefunded)
_MONEY = (OrderPlaced, *_PAYMENTS)
_ALL = (*_MONEY, OrderCancelled)

RULE_BOOK: tuple[Rule, ...] = (
    Rule("bad_id", f"an id is empty or longer than {MAX_ID_CHARACTERS} characters", _ALL, _bad_id),
    Rule("bad_time", "occurred_at is before the year 2000 or after 9999", _ALL, _bad_time),
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
    return order.placed is None or (isinstance(event, PaymentRefunded) and _capture_of(order, event) is None)


def _waiting_order(event: Event) -> tuple[int, str]:
    return event.occurred_at_ms, event.event_id


def _book_what_waited(order: OrderState) -> tuple[OrderState, tuple[Movement | UnmatchedPayment, ...]]:
    """Book everything that no longer has to wait, oldest first; what proves invalid leaves as unmatched."""
    outputs: tuple[Movement | UnmatchedPayment, ...] = ()
    while ready := next((event for event in order.waiting if not _must_wait(order, event)), None):
        order = replace(order, waiting=tuple(event for event in order.waiting if event is not ready))
        broken = next((rule for rule in RULES[type(ready)] if rule.reason in _STATE_RULES and rule.is_broken(order, ready)), None)
        if broken is None:
            order, movements = _book(order, ready)
            outputs += movements
        elif not isinstance(ready, OrderPlaced | OrderCancelled):
            outputs += (_unmatched(ready, broken.reason),)
    return order, outputs


_STATE_RULES = {"currency_mismatch", "payment_already_captured", "refund_already_booked", "refund_exceeds_capture"}
"""The rules that what came later can break; the others were asked when the event came."""


def _unmatched(event: PaymentCaptured | PaymentFailed | PaymentRefunded, reason: str) -> UnmatchedPayment:
    return UnmatchedPayment(
        event_id=event.event_id,
        event_type=type(event).__name__,
        order_id=event.order_id,
        occurred_at_ms=event.occurred_at_ms,
        payment_id=event.payment_id,
        amount_minor=event.amount_minor,
        currency=event.currency,
        reason=reason,
    )


# What is booked: the state it leaves, and the money it moves.


def _book(order: OrderState, event: Event) -> tuple[OrderState, tuple[Movement, ...]]:
    """Book one valid event whose order (and capture) is there."""
    order = replace(order, booked_count=order.booked_count + 1, updated_at_ms=max(order.updated_at_ms, event.occurred_at_ms))
    match event:
        case OrderPlaced():
            order = replace(order, placed=_placed(event))
            return order, (_move(order, event, "orders_count", 1), _move(order, event, "gross_minor", event.amount_minor))
        case PaymentCaptured():
            captures = _with(order.captures, Capture(event.payment_id, event.amount_minor), key=_capture_order)
            return replace(order, captures=captures), (_move(order, event, "captured_minor", event.amount_minor),)
        case PaymentRefunded():
            captures = tuple(_refunded(c, event) if c.payment_id == event.payment_id else c for c in order.captures)
            return replace(order, captures=captures), (_move(order, event, "refunded_minor", event.amount_minor),)
        case PaymentFailed():
            return replace(order, failures_count=order.failures_count + 1), ()
        case OrderCancelled():
            assert order.placed is not None  # noqa: S101 - _must_wait
            cancelled = _move(order, event, "cancelled_minor", order.placed.amount_minor)
            return replace(order, cancelled_at_ms=event.occurred_at_ms), (cancelled,)


def _move(order: OrderState, event: Event, measure: str, amount: int) -> Movement:
    """Money moves in the minute of the later of its event and its order: no minute has a capture before its order."""
    placed = order.placed
    assert placed is not None  # noqa: S101 - _must_wait
    time_ms = max(event.occurred_at_ms, placed.occurred_at_ms)
    return Movement(placed.merchant_id, placed.currency, time_ms - time_ms % MINUTE_MS, measure, amount)


def _placed(event: OrderPlaced) -> Placed:
    return Placed(
        event.merchant_id, event.customer_id, event.currency, event.amount_minor, event.occurred_at_ms, _fingerprint(event)
    )


def _fingerprint(event: OrderPlaced) -> bytes:
    """Give eight bytes that stand for the content of an order: all of it but who sent it, and under which event id."""
    content = (event.merchant_id, event.customer_id, event.currency, event.amount_minor, event.occurred_at_ms, event.lines)
    return blake2b(msgspec.msgpack.encode(content), digest_size=8).digest()


def _repeats_the_order(order: OrderState, event: Event) -> bool:
    """Tell whether a producer sent the same order again under a new event id."""
    return isinstance(event, OrderPlaced) and order.placed is not None and order.placed.fingerprint == _fingerprint(event)


def _refunded(capture: Capture, event: PaymentRefunded) -> Capture:
    return replace(
        capture,
        refunded_minor=capture.refunded_minor + event.amount_minor,
        refund_ids=_with(capture.refund_ids, event.refund_id),
    )


def _capture_order(capture: Capture) -> str:
    return capture.payment_id


def _capture_of(order: OrderState, event: Event) -> Capture | None:
    payment_id = getattr(event, "payment_id", None)
    return next((capture for capture in order.captures if capture.payment_id == payment_id), None)


def _waiting_capture_of(order: OrderState, event: Event) -> PaymentCaptured | None:
    payment_id = getattr(event, "payment_id", None)
    for other in order.waiting:
        if isinstance(other, PaymentCaptured) and other.payment_id == payment_id:
            return other
    return None


def _with(items: tuple[_T, ...], item: _T, key: Callable[[_T], Any] | None = None) -> tuple[_T, ...]:
    """Give the sorted tuple with one more item."""
    return tuple(sorted((*items, item), key=key))  # type: ignore[type-var, arg-type]
