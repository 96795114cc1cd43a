"""What each row that is no window is, order by order: its status, that it is unpaid, what came too late. Pure.

Like ``reference.py``, it shares nothing with the agents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from connectors.reference import MINUTE_MS, Booked, start_of
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.events import (
    Event,
    OrderCancelled,
    OrderCapture,
    OrderPlaced,
    OrderStatus,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
)


def order_status(known: Iterable[Booked]) -> dict[str, OrderStatus]:
    """Give the row of every order that was placed."""
    of_order: defaultdict[OrderPlaced, list[Event]] = defaultdict(list)
    for _, event, order in known:
        of_order[order].append(event)
    return {order.order_id: _status(order, events) for order, events in of_order.items()}


def _status(order: OrderPlaced, events: list[Event]) -> OrderStatus:
    captures = _captures(events)
    captured_minor = sum(capture.captured_minor for capture in captures)
    refunded_minor = sum(capture.refunded_minor for capture in captures)
    cancelled_at_ms = next((event.occurred_at_ms for event in events if isinstance(event, OrderCancelled)), None)
    status = "placed" if captured_minor == 0 else "partially_captured"
    status = "captured" if captured_minor >= order.amount_minor else status
    status = "refunded" if 0 < captured_minor == refunded_minor else status
    return OrderStatus(
        order.order_id, order.merchant_id, order.customer_id, order.currency,
        status="cancelled" if cancelled_at_ms is not None else status,
        amount_minor=order.amount_minor, captured_minor=captured_minor, refunded_minor=refunded_minor,
        refund_due=cancelled_at_ms is not None and captured_minor > refunded_minor,
        failures_count=sum(isinstance(event, PaymentFailed) for event in events),
        placed_at_ms=order.occurred_at_ms, cancelled_at_ms=cancelled_at_ms,
        updated_at_ms=max(event.occurred_at_ms for event in events), revision=len(events), captures=captures,
    )  # fmt: skip


def _captures(events: Iterable[Event]) -> tuple[OrderCapture, ...]:
    """Give the captures in the order of their time, then of their id."""
    refunds: defaultdict[str, list[PaymentRefunded]] = defaultdict(list)
    for event in events:
        if isinstance(event, PaymentRefunded):
            refunds[event.payment_id].append(event)
    captures = [
        OrderCapture(
            event.payment_id, event.method, event.occurred_at_ms, event.amount_minor,
            sum(refund.amount_minor for refund in refunds[event.payment_id]),
            max((refund.occurred_at_ms for refund in refunds[event.payment_id]), default=None),
        )
        for event in events
        if isinstance(event, PaymentCaptured)
    ]  # fmt: skip
    return tuple(sorted(captures, key=lambda capture: (capture.captured_at_ms, capture.payment_id)))


def unpaid_orders(known: Iterable[Booked], watermark_ms: int, unpaid_after_ms: int, grace_ms: int) -> dict[str, UnpaidOrder]:
    """Give the orders of which nothing was captured, and that were not cancelled, within ``unpaid_after_ms``.

    It is said when the watermark is a grace behind the minute in which that time ends.
    """
    orders: dict[str, OrderPlaced] = {}
    ended_ms: dict[str, int] = {}
    for _, event, order in known:
        orders[order.order_id] = order
        if isinstance(event, PaymentCaptured | OrderCancelled):
            ended_ms[order.order_id] = min(event.occurred_at_ms, ended_ms.get(order.order_id, event.occurred_at_ms))
    rows = {}
    for order_id, order in orders.items():
        until_ms = order.occurred_at_ms + unpaid_after_ms
        is_sure = start_of(until_ms, MINUTE_MS) + MINUTE_MS + grace_ms <= watermark_ms
        if is_sure and ended_ms.get(order_id, until_ms + 1) > until_ms:
            rows[order_id] = UnpaidOrder(
                order_id, order.merchant_id, order.customer_id, order.currency, order.amount_minor,
                placed_at_ms=order.occurred_at_ms, unpaid_at_ms=until_ms,
            )  # fmt: skip
    return rows


class Late(NamedTuple):
    """A row of ``revenue-adjustments``; of flow ``delays`` without its bucket, in which ``delay_ms`` must be."""

    row: RevenueAdjustment
    delay_ms: int | None = None


def late_rows(known: Iterable[Booked], late_ids: Collection[str]) -> Iterator[Late]:
    """Give what is said of the events that came too late for every window: a row for each thing that they would have moved."""
    for time_ms, event, order in known:
        if event.event_id in late_ids:
            kind, delay_ms = type(event).__name__, time_ms - order.occurred_at_ms
            for flow, dimensions, amounts in _moved(event, order):
                some = {measure: amount for measure, amount in amounts.items() if amount}
                row = RevenueAdjustment(flow, dimensions, start_of(time_ms, MINUTE_MS), some, event.event_id, kind, "late")
                yield Late(row, delay_ms if flow == "delays" else None)


_Moved: TypeAlias = tuple[str, dict[str, str], dict[str, int]]
"""Flow, dimensions, amounts."""


def _moved(event: Event, order: OrderPlaced) -> Iterator[_Moved]:
    merchant = {"merchant_id": order.merchant_id}
    money = {**merchant, "currency": order.currency}
    match event:
        case OrderPlaced():
            placed = {"orders_count": 1, "gross_minor": event.amount_minor}
            yield "money", money, placed
            yield "customers", {"customer_id": order.customer_id, "currency": order.currency}, placed
            for line in event.lines:
                units = {"units_count": line.quantity, "gross_minor": line.quantity * line.unit_price_minor}
                yield "products", {**money, "sku": line.sku}, units
        case PaymentCaptured():
            yield "money", money, {"captured_minor": event.amount_minor}
            yield "attempts", {**merchant, "method": event.method}, {"captures_count": 1}
            yield "delays", merchant, {"captures_count": 1}
        case PaymentFailed():
            yield "attempts", {**merchant, "method": event.method}, {"failures_count": 1}
        case PaymentRefunded():
            yield "money", money, {"refunded_minor": event.amount_minor}
        case OrderCancelled():
            yield "money", money, {"cancelled_minor": order.amount_minor}
