"""One order's events by hand, with everything that a test does not care about filled in."""

from __future__ import annotations

from agents.outcomes import Decision, Duplicate, Rejected
from agents.settlement.decide import decide
from agents.settlement.state import OrderState
from schemas.events import (
    Cell,
    Deltas,
    Event,
    FlowDeltas,
    OrderCancelled,
    OrderLine,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
)

MINUTE_MS = 60_000
T0_MS = 1_795_000_020_000
"""The first millisecond of a minute."""


def placed(
    event_id: str = "placed",
    *,
    at_ms: int = T0_MS,
    amount_minor: int = 100,
    currency: str = "EUR",
    lines: tuple[OrderLine, ...] | None = None,
    order_id: str = "o-1",
    source: str = "shop",
    customer_id: str = "c-1",
    merchant_id: str = "m-1",
) -> OrderPlaced:
    of_lines = (OrderLine("sku", 1, amount_minor),) if lines is None else lines
    return OrderPlaced(event_id, order_id, at_ms, source, customer_id, merchant_id, currency, amount_minor, of_lines)


def cancelled(event_id: str = "cancelled", *, at_ms: int = T0_MS) -> OrderCancelled:
    return OrderCancelled(event_id, "o-1", at_ms, "shop")


def captured(
    event_id: str = "captured",
    *,
    payment_id: str = "p-1",
    amount_minor: int = 100,
    currency: str = "EUR",
    at_ms: int = T0_MS,
    method: str = "card",
    order_id: str = "o-1",
) -> PaymentCaptured:
    return PaymentCaptured(event_id, order_id, at_ms, "pay", payment_id, method, amount_minor, currency)


def failed(
    event_id: str = "failed", *, payment_id: str = "p-1", amount_minor: int = 100, currency: str = "EUR", at_ms: int = T0_MS
) -> PaymentFailed:
    return PaymentFailed(event_id, "o-1", at_ms, "pay", payment_id, "card", amount_minor, currency)


def refunded(
    event_id: str = "refunded",
    *,
    refund_id: str | None = None,
    payment_id: str = "p-1",
    amount_minor: int = 100,
    currency: str = "EUR",
    at_ms: int = T0_MS,
) -> PaymentRefunded:
    of_refund = f"r-{event_id}" if refund_id is None else refund_id
    return PaymentRefunded(event_id, "o-1", at_ms, "pay", of_refund, payment_id, amount_minor, currency)


def deltas(merchant_id: str = "m-1", amounts: tuple[int, ...] = (1, 100, 100, 0, 0), minute_ms: int = T0_MS) -> Deltas:
    """Give what settlement says of one merchant's money in one minute, by no source in particular."""
    return Deltas((), (FlowDeltas("money", (Cell((merchant_id, "EUR"), minute_ms, amounts),)),))


def after(*history: Event) -> OrderState:
    """Give the state after events that all must be applied."""
    state = OrderState()
    for event in history:
        state = applied(state, event).state
    return state


def applied(state: OrderState | None, event: Event) -> Decision[OrderState]:
    outcome: Decision[OrderState] | Duplicate | Rejected = decide(state, event)
    assert isinstance(outcome, Decision), f"{event} was not applied: {outcome}"
    return outcome
