"""What time does to one order, with no event of its own: money given up, unpaid, closed, forgotten. Pure.

::

    placed ── nothing paid for 30 min ──▶ a row on unpaid-orders
    money that waits for a day ──▶ rows on unmatched-payments
    nothing new for 7 days ──▶ closed: a record of a hundred bytes ── nothing new for 180 days ──▶ forgotten
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from agents.flows import MINUTE_MS
from agents.outcomes import Decision
from agents.ports import Limits
from agents.settlement.state import Capture, OrderState
from schemas.aggregates import UnpaidOrder
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded, UnmatchedPayment

HOUR_MS = 60 * MINUTE_MS
"""Orders are closed and forgotten at full hours, so that events of one hour do not move an order's timer again and again."""


def is_due(order: OrderState, watermark_ms: int, limits: Limits) -> bool:
    """Tell whether time has something to do with the order by now."""
    due_at_ms = due_ms(order, limits)
    return due_at_ms is not None and due_at_ms <= watermark_ms


def due_ms(order: OrderState, limits: Limits) -> int | None:
    """Give the watermark at which time has something to do with the order; None: never."""
    return min(_due(order, limits), default=None)


def wake(order: OrderState, key: bytes, watermark_ms: int, limits: Limits) -> Decision[OrderState | None]:
    """Do what is due: give what is left of the order (None: it is forgotten), and the rows that say so."""
    order, rows = give_up_waiting(order, watermark_ms - limits.waiting_max_ms)
    outputs: tuple[UnmatchedPayment | UnpaidOrder, ...] = rows
    if (unpaid_ms := _unpaid_check_ms(order, limits)) is not None and unpaid_ms <= watermark_ms:
        order = replace(order, was_unpaid=True)
        outputs = (*outputs, _unpaid(key, order, limits))
    closing_ms = _closing_ms(order, limits)
    if closing_ms is None or closing_ms > watermark_ms:
        return Decision(order, outputs)
    return Decision(close(order) if order.seen and order.placed else None, outputs)


def close(order: OrderState) -> OrderState:
    """Give the order without what only events within the dedup horizon can need: none of these is accepted any more."""
    captures: tuple[Capture, ...] = ()
    if order.captures:
        refunds_ms = [capture.refunded_at_ms for capture in order.captures if capture.refunded_at_ms is not None]
        captured_at_ms = max(capture.captured_at_ms for capture in order.captures)
        captures = (Capture("", order.captured_minor, captured_at_ms, "", order.refunded_minor, max(refunds_ms, default=None)),)
    placed = order.placed and replace(order.placed, fingerprint=b"")
    return replace(order, placed=placed, captures=captures, waiting=(), seen=())


def _due(order: OrderState, limits: Limits) -> Iterator[int]:
    closing_ms = _closing_ms(order, limits)
    if closing_ms is not None:
        yield closing_ms
    since_ms = waits_since_ms(order)
    if since_ms is not None:
        yield since_ms + limits.waiting_max_ms + 1
    unpaid_ms = _unpaid_check_ms(order, limits)
    if unpaid_ms is not None:
        yield unpaid_ms


def _closing_ms(order: OrderState, limits: Limits) -> int | None:
    """When the order is closed, or forgotten if it is closed; None while money waits."""
    if waits_since_ms(order) is not None:
        return None
    kept_ms = limits.dedup_horizon_ms if order.seen else limits.keep_closed_ms
    return (order.newest_ms + kept_ms) // HOUR_MS * HOUR_MS + HOUR_MS


def _unpaid_check_ms(order: OrderState, limits: Limits) -> int | None:
    """When it is sure that nothing was paid in time; None if something was, or the order was cancelled before, or it was said.

    Payments of the last minute may come as late as the grace allows.
    """
    placed = order.placed
    if placed is None or order.was_unpaid or not order.seen:
        return None
    until_ms = placed.occurred_at_ms + limits.unpaid_after_ms
    ended = [capture.captured_at_ms for capture in order.captures]
    if order.cancelled_at_ms is not None:
        ended.append(order.cancelled_at_ms)
    if ended and min(ended) <= until_ms:
        return None
    return until_ms - until_ms % MINUTE_MS + MINUTE_MS + limits.grace_ms


def _unpaid(key: bytes, order: OrderState, limits: Limits) -> UnpaidOrder:
    placed = order.placed
    assert placed is not None  # noqa: S101 - _unpaid_check_ms
    return UnpaidOrder(
        order_id=key.decode(),
        merchant_id=placed.merchant_id,
        customer_id=placed.customer_id,
        currency=placed.currency,
        amount_minor=placed.amount_minor,
        placed_at_ms=placed.occurred_at_ms,
        unpaid_at_ms=placed.occurred_at_ms + limits.unpaid_after_ms,
    )


WAITED_TOO_LONG = "waited_too_long"
"""The reason of what is given up. The event stays known: what was given up is never booked by a repeat of it."""


_MOVES_NONE = (OrderPlaced, OrderCancelled)


def give_up_waiting(order: OrderState, give_up_ms: int) -> tuple[OrderState, tuple[UnmatchedPayment, ...]]:
    """Give the order without the money that waits since before ``give_up_ms``, and a row for each payment that so leaves."""
    since_ms = waits_since_ms(order)
    if since_ms is None or since_ms >= give_up_ms:
        return order, ()
    gone = [event for event in order.waiting if not isinstance(event, _MOVES_NONE) and event.occurred_at_ms < give_up_ms]
    left = tuple(event for event in order.waiting if event not in gone)
    return replace(order, waiting=left), tuple(unmatched(event, WAITED_TOO_LONG) for event in gone)


def waits_since_ms(order: OrderState) -> int | None:
    """Give the time of the oldest payment event that waits; a cancellation moves no money and may wait for ever."""
    return next((event.occurred_at_ms for event in order.waiting if not isinstance(event, _MOVES_NONE)), None)


def unmatched(event: PaymentCaptured | PaymentFailed | PaymentRefunded, reason: str) -> UnmatchedPayment:
    """Give the row of ``unmatched-payments`` for an event that cannot be booked."""
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
