"""What settlement says: a status row per order, and deltas summed per merchant, currency and minute. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.settlement.decide import Movement
from agents.settlement.state import OrderState, Placed
from schemas.events import MEASURES, Event, OrderStatus, RevenueDelta, UnmatchedPayment

_PLACE_OF = {measure: place for place, measure in enumerate(MEASURES)}


def order_key(event: Event) -> bytes:
    """Give the key of the event's order in the table and on the topics."""
    return event.order_id.encode()


def status_row(key: bytes, order: OrderState, placed: Placed) -> OrderStatus:
    """Give the row of ``order-status`` for an order that was placed."""
    captured, refunded = order.captured_minor, order.refunded_minor
    return OrderStatus(
        order_id=key.decode(),
        merchant_id=placed.merchant_id,
        customer_id=placed.customer_id,
        currency=placed.currency,
        status=order.status,
        amount_minor=placed.amount_minor,
        captured_minor=captured,
        refunded_minor=refunded,
        refund_due=order.cancelled_at_ms is not None and captured > refunded,
        failures_count=order.failures_count,
        placed_at_ms=placed.occurred_at_ms,
        cancelled_at_ms=order.cancelled_at_ms,
        updated_at_ms=order.updated_at_ms,
        revision=order.booked_count,
    )


def unmatched_rows(outputs: tuple[Any, ...]) -> Iterator[UnmatchedPayment]:
    """Give the rows of ``unmatched-payments`` among a decision's outputs."""
    return (output for output in outputs if isinstance(output, UnmatchedPayment))


class Combiner:
    """Sums an epoch's movements per merchant, currency and minute: a fifth of the records for the next stage."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int], list[int]] = {}

    def add(self, outputs: tuple[Any, ...]) -> None:
        """Add the movements among a decision's outputs."""
        for output in outputs:
            if isinstance(output, Movement):
                row = self._sums.setdefault(output[:3], [0] * len(MEASURES))
                row[_PLACE_OF[output.measure]] += output.amount

    def rows(self) -> Iterator[RevenueDelta]:
        """Give one delta per merchant, currency and minute."""
        for (merchant_id, currency, window_start_ms), sums in self._sums.items():
            yield RevenueDelta(merchant_id, currency, window_start_ms, *sums)
