"""What is booked: the state that a valid event leaves, and the money it moves. Pure."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from agents.settlement.state import Capture, OrderState, Placed
from schemas.events import Event, OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded

MINUTE_MS = 60_000
_T = TypeVar("_T")


class Movement(NamedTuple):
    """An amount to add to one measure of one merchant's minute."""

    merchant_id: str
    currency: str
    window_start_ms: int
    measure: str
    amount: int


def book(order: OrderState, event: Event) -> tuple[OrderState, tuple[Movement, ...]]:
    """Book one valid event whose order (and capture) is there."""
    order = replace(order, booked_count=order.booked_count + 1, updated_at_ms=max(order.updated_at_ms, event.occurred_at_ms))
    match event:
        case OrderPlaced():
            order = replace(order, placed=_placed(event))
            return order, (_move(order, event, "orders_count", 1), _move(order, event, "gross_minor", event.amount_minor))
        case PaymentCaptured():
            captures = with_item(order.captures, Capture(event.payment_id, event.amount_minor), key=_capture_order)
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
        event.merchant_id, event.customer_id, event.currency, event.amount_minor, event.occurred_at_ms, fingerprint(event)
    )


def fingerprint(event: OrderPlaced) -> bytes:
    """Give eight bytes that stand for the content of an order: all of it but who sent it, and under which event id."""
    content = (event.merchant_id, event.customer_id, event.currency, event.amount_minor, event.occurred_at_ms, event.lines)
    return blake2b(msgspec.msgpack.encode(content), digest_size=8).digest()


def _refunded(capture: Capture, event: PaymentRefunded) -> Capture:
    return replace(
        capture,
        refunded_minor=capture.refunded_minor + event.amount_minor,
        refund_ids=with_item(capture.refund_ids, event.refund_id),
    )


def _capture_order(capture: Capture) -> str:
    return capture.payment_id


def capture_of(order: OrderState, event: Event) -> Capture | None:
    """Give the booked capture that a payment event speaks of."""
    payment_id = getattr(event, "payment_id", None)
    return next((capture for capture in order.captures if capture.payment_id == payment_id), None)


def waiting_capture_of(order: OrderState, event: Event) -> PaymentCaptured | None:
    """Give the capture that a payment event speaks of, if it waits for its order."""
    payment_id = getattr(event, "payment_id", None)
    for other in order.waiting:
        if isinstance(other, PaymentCaptured) and other.payment_id == payment_id:
            return other
    return None


def with_item(items: tuple[_T, ...], item: _T, key: Callable[[_T], Any] | None = None) -> tuple[_T, ...]:
    """Give the sorted tuple with one more item."""
    return tuple(sorted((*items, item), key=key))  # type: ignore[type-var, arg-type]
