"""What settlement says: a status row per order, and deltas summed per merchant, currency and minute. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.settlement.booking import Movement
from agents.settlement.state import OrderState, Placed
from schemas.events import MEASURES, Event, OrderStatus, RevenueDelta, UnmatchedPayment
from schemas.topics import REVENUE_DELTAS, UNMATCHED_PAYMENTS, Topic

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


class Combiner:
    """Takes what decisions say. Sums an epoch's movements per merchant, currency and minute: a fifth of the records."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int], list[int]] = {}
        self._unmatched: list[UnmatchedPayment] = []

    def add(self, outputs: tuple[Any, ...]) -> None:
        """Add a decision's outputs: movements, and payments that will not be matched."""
        for output in outputs:
            if isinstance(output, Movement):
                row = self._sums.setdefault(output[:3], [0] * len(MEASURES))
                row[_PLACE_OF[output.measure]] += output.amount
            else:
                self._unmatched.append(output)

    def records(self) -> Iterator[tuple[Topic, bytes, RevenueDelta | UnmatchedPayment]]:
        """Give ``(topic, key, record)``: one delta per merchant, currency and minute, and each unmatched payment."""
        for (merchant_id, currency, window_start_ms), sums in self._sums.items():
            yield REVENUE_DELTAS, merchant_id.encode(), RevenueDelta(merchant_id, currency, window_start_ms, *sums)
        for unmatched in self._unmatched:
            yield UNMATCHED_PAYMENTS, unmatched.order_id.encode(), unmatched
