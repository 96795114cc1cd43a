"""What is booked: the state that a valid event leaves, and the money it moves. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from agents.flows import ATTEMPTS, CUSTOMERS, DELAYS, MINUTE_MS, MONEY, PRODUCTS, Movement
from agents.quantiles import bucket_of
from agents.settlement.state import Capture, OrderState, Placed
from schemas.events import Event, OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded

_T = TypeVar("_T")


def book(order: OrderState, event: Event) -> tuple[OrderState, tuple[Movement, ...]]:
    """Book one valid event whose order (and capture) is there."""
    order = replace(order, booked_count=order.booked_count + 1, updated_at_ms=max(order.updated_at_ms, event.occurred_at_ms))
    match event:
        case OrderPlaced():
            return replace(order, placed=_placed(event)), tuple(_placing(event))
        case PaymentCaptured():
            capture = Capture(event.payment_id, event.amount_minor, event.occurred_at_ms, event.method)
            order = replace(order, captures=with_item(order.captures, capture, key=_capture_order))
            return order, _capturing(order, event)
        case PaymentRefunded():
            refunded = capture_of(order, event)
            captures = tuple(_refunded(c, event) if c is refunded else c for c in order.captures)
            return replace(order, captures=captures), (_money(order, event, (0, 0, 0, event.amount_minor, 0)),)
        case PaymentFailed():
            placed, minute_ms = _in_its_minute(order, event)
            failed = Movement(ATTEMPTS, (placed.merchant_id, event.method), minute_ms, (0, 1))
            return replace(order, failures_count=order.failures_count + 1), (failed,)
        case OrderCancelled():
            cancelled = _money(order, event, (0, 0, 0, 0, _in_its_minute(order, event)[0].amount_minor))
            return replace(order, cancelled_at_ms=event.occurred_at_ms), (cancelled,)


def _placing(event: OrderPlaced) -> Iterator[Movement]:
    merchant_id, currency, amount_minor = event.merchant_id, event.currency, event.amount_minor
    minute_ms = event.occurred_at_ms - event.occurred_at_ms % MINUTE_MS
    yield Movement(MONEY, (merchant_id, currency), minute_ms, (1, amount_minor, 0, 0, 0))
    yield Movement(CUSTOMERS, (event.customer_id, currency), minute_ms, (1, amount_minor))
    for line in event.lines:
        amounts = (line.quantity, line.quantity * line.unit_price_minor)
        yield Movement(PRODUCTS, (merchant_id, currency, line.sku), minute_ms, amounts)


def _capturing(order: OrderState, event: PaymentCaptured) -> tuple[Movement, ...]:
    placed, minute_ms = _in_its_minute(order, event)
    bucket = bucket_of(event.occurred_at_ms - placed.occurred_at_ms)
    return (
        _money(order, event, (0, 0, event.amount_minor, 0, 0)),
        Movement(ATTEMPTS, (placed.merchant_id, event.method), minute_ms, (1, 0)),
        Movement(DELAYS, (placed.merchant_id, str(bucket)), minute_ms, (1,)),
    )


def _money(order: OrderState, event: Event, amounts: tuple[int, int, int, int, int]) -> Movement:
    placed, minute_ms = _in_its_minute(order, event)
    return Movement(MONEY, (placed.merchant_id, placed.currency), minute_ms, amounts)


def _in_its_minute(order: OrderState, event: Event) -> tuple[Placed, int]:
    """Money moves in the minute of the later of its event and its order: no minute has a capture before its order."""
    placed = order.placed
    assert placed is not None  # noqa: S101 - _must_wait
    time_ms = max(event.occurred_at_ms, placed.occurred_at_ms)
    return placed, time_ms - time_ms % MINUTE_MS


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
        refunded_at_ms=max(capture.refunded_at_ms or 0, event.occurred_at_ms),
        refund_ids=with_item(capture.refund_ids, event.refund_id),
    )


def _capture_order(capture: Capture) -> str:
    return capture.payment_id


def capture_of(order: OrderState, event: Event) -> Capture | None:
    """Give the booked capture that a payment event speaks of; a refund of an old one is of what a closed order had captured."""
    payment_ids = (getattr(event, "payment_id", None), "" if isinstance(event, PaymentRefunded) else None)
    return next((capture for each in payment_ids for capture in order.captures if capture.payment_id == each), None)


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
