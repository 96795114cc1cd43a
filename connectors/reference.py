"""What each aggregate is, row by row: the definition that agents and judge are held to. Pure.

It is written over plain events and shares nothing with the agents. :func:`booked` says which events count, and when;
the models take what it gives, and give rows by key: the fields of each row, without status and revision. They leave out
what ``adjusted`` rows of ``revenue-adjustments`` say is in no window. What is no window is in ``reference_orders.py``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from schemas.aggregates import RankedProduct, RevenueAdjustment
from schemas.events import (
    Event,
    OrderCancelled,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
)
from schemas.keys import row_key

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
"""By the calendar, like the others; in UTC."""
DAY_MS = 24 * HOUR_MS
HOP_MS = 10 * MINUTE_MS
"""Between the begins of two hours that alerts look at; part of what an alert means."""
BEST_MAX = 10
"""The products of ``top-products-1h``; part of what its name says."""
QUANTILE_ERROR = 0.01
"""Quantiles are told to one percent: they come from buckets whose borders are a factor of 1.01 / 0.99 apart."""

Rows: TypeAlias = dict[str, dict[str, Any]]
Adjusted: TypeAlias = Iterable[RevenueAdjustment]
_Sums: TypeAlias = defaultdict[tuple[Any, ...], Counter[str]]
"""Dimensions and begin of a window to its measures."""


class Booked(NamedTuple):
    """An event that counts, and its order. ``time_ms`` is the later of both: no window has a payment before its order."""

    time_ms: int
    event: Event
    order: OrderPlaced


def booked(accepted: Iterable[Event]) -> list[Booked]:
    """Give what counts of the accepted events, by time: what has its order and, if it is a refund, its capture."""
    accepted = list(accepted)
    orders = {event.order_id: event for event in accepted if isinstance(event, OrderPlaced)}
    captures = {(event.order_id, event.payment_id) for event in accepted if isinstance(event, PaymentCaptured)}
    found = [
        Booked(max(event.occurred_at_ms, orders[event.order_id].occurred_at_ms), event, orders[event.order_id])
        for event in accepted
        if event.order_id in orders
        and not (isinstance(event, PaymentRefunded) and (event.order_id, event.payment_id) not in captures)
    ]
    return sorted(found, key=lambda each: each.time_ms)


# Windows.


def revenue_by_merchant(known: Iterable[Booked], size_ms: int, adjusted: Adjusted = ()) -> Rows:
    """Give the totals per merchant, currency and window of ``size_ms``."""
    sums: _Sums = defaultdict(Counter)
    for time_ms, event, order in known:
        window = sums[order.merchant_id, order.currency, start_of(time_ms, size_ms)]
        match event:
            case OrderPlaced():
                window.update(orders_count=1, gross_minor=event.amount_minor)
            case PaymentCaptured():
                window.update(captured_minor=event.amount_minor)
            case PaymentRefunded():
                window.update(refunded_minor=event.amount_minor)
            case OrderCancelled():
                window.update(cancelled_minor=order.amount_minor)
    _take_away(sums, adjusted, "money", size_ms)
    for window in sums.values():
        window["net_minor"] = window["captured_minor"] - window["refunded_minor"]
    measures = ("orders_count", "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor", "net_minor")
    return _rows(sums, ("merchant_id", "currency"), size_ms, measures)


def revenue_by_product_1h(known: Iterable[Booked], adjusted: Adjusted = ()) -> Rows:
    """Give what was ordered per merchant, currency, product and hour; a cancellation takes nothing back."""
    sums: _Sums = defaultdict(Counter)
    for time_ms, event, order in known:
        if isinstance(event, OrderPlaced):
            for line in event.lines:
                window = sums[order.merchant_id, order.currency, line.sku, start_of(time_ms, HOUR_MS)]
                window.update(units_count=line.quantity, gross_minor=line.quantity * line.unit_price_minor)
    _take_away(sums, adjusted, "products", HOUR_MS)
    return _rows(sums, ("merchant_id", "currency", "sku"), HOUR_MS, ("units_count", "gross_minor"))


def top_products_1h(known: Iterable[Booked], adjusted: Adjusted = ()) -> Rows:
    """Give the ten products with the most gross per merchant, currency and hour, of equal ones the first by name."""
    of_merchant: defaultdict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in revenue_by_product_1h(known, adjusted).values():
        of_merchant[row["merchant_id"], row["currency"], row["window_start_ms"]].append(row)
    rows = {}
    for (merchant_id, currency, start_ms), products in of_merchant.items():
        best = sorted(products, key=lambda row: (-row["gross_minor"], row["sku"]))[:BEST_MAX]
        rows[row_key(merchant_id, currency, window_start_ms=start_ms)] = {
            "merchant_id": merchant_id, "currency": currency,
            "window_start_ms": start_ms, "window_end_ms": start_ms + HOUR_MS,
            "products": tuple(RankedProduct(row["sku"], row["units_count"], row["gross_minor"]) for row in best),
        }  # fmt: skip
    return rows


def payments_by_method_1m(known: Iterable[Booked], adjusted: Adjusted = ()) -> Rows:
    """Give the attempts to pay per merchant, method and minute; an attempt has failed or captured."""
    sums: _Sums = defaultdict(Counter)
    for time_ms, event, order in known:
        if isinstance(event, PaymentCaptured | PaymentFailed):
            outcome = "captures_count" if isinstance(event, PaymentCaptured) else "failures_count"
            sums[order.merchant_id, event.method, start_of(time_ms, MINUTE_MS)][outcome] += 1
    _take_away(sums, adjusted, "attempts", MINUTE_MS)
    rows = _rows(sums, ("merchant_id", "method"), MINUTE_MS, ("captures_count", "failures_count"))
    for row in rows.values():
        row["attempts_count"] = row["captures_count"] + row["failures_count"]
        row["failure_rate"] = row["failures_count"] / row["attempts_count"]
    return rows


def time_to_capture_1h(known: Iterable[Booked], adjusted: Adjusted = ()) -> Rows:
    """Give how long orders took to be paid, per merchant and hour of the capture: exact quantiles, of which one percent may lack.

    A quantile is the smallest delay that so large a share does not exceed, rounded down in rank.
    """
    delays: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for time_ms, event, order in known:
        if isinstance(event, PaymentCaptured):
            delays[order.merchant_id, start_of(time_ms, HOUR_MS)].append(time_ms - order.occurred_at_ms)
    for row in adjusted:
        if row.flow == "delays":
            window = delays[row.dimensions["merchant_id"], start_of(row.minute_ms, HOUR_MS)]
            middle_ms = bucket_ms(int(row.dimensions["bucket"]))
            for _ in range(min(row.amounts.get("captures_count", 0), len(window))):
                window.remove(min(window, key=lambda delay_ms: abs(delay_ms - middle_ms) / max(delay_ms, 1)))
    rows = {}
    for (merchant_id, start_ms), window in delays.items():
        if window:
            window.sort()
            rows[row_key(merchant_id, window_start_ms=start_ms)] = {
                "merchant_id": merchant_id, "window_start_ms": start_ms, "window_end_ms": start_ms + HOUR_MS,
                "captures_count": len(window),
                **{f"p{int(100 * share)}_ms": window[int(share * (len(window) - 1))] for share in (0.5, 0.95, 0.99)},
            }  # fmt: skip
    return rows


def customers_1d(known: Iterable[Booked], adjusted: Adjusted = ()) -> Rows:
    """Give what was ordered per customer, currency and day."""
    sums: _Sums = defaultdict(Counter)
    for time_ms, event, order in known:
        if isinstance(event, OrderPlaced):
            window = sums[order.customer_id, order.currency, start_of(time_ms, DAY_MS)]
            window.update(orders_count=1, gross_minor=event.amount_minor)
    _take_away(sums, adjusted, "customers", DAY_MS)
    return _rows(sums, ("customer_id", "currency"), DAY_MS, ("orders_count", "gross_minor"))


def alerts(known: Iterable[Booked], orders_max: int, gross_minor_max: int, adjusted: Adjusted = ()) -> Rows:
    """Give the customers above a threshold within an hour that begins at any full ten minutes."""
    sums: _Sums = defaultdict(Counter)
    for time_ms, event, order in known:
        if isinstance(event, OrderPlaced):
            for start_ms in _hours_with(time_ms):
                sums[order.customer_id, order.currency, start_ms].update(orders_count=1, gross_minor=event.amount_minor)
    for row in adjusted:
        if row.flow == "customers":
            for start_ms in _hours_with(row.minute_ms):
                sums[row.dimensions["customer_id"], row.dimensions["currency"], start_ms].subtract(row.amounts)
    unusual = {}
    for key, hour in _rows(sums, ("customer_id", "currency"), HOUR_MS, ("orders_count", "gross_minor")).items():
        reasons = ["orders"] * (hour["orders_count"] > orders_max) + ["gross"] * (hour["gross_minor"] > gross_minor_max)
        if reasons:
            unusual[key] = {**hour, "because": "+".join(reasons)}
    return unusual


# Shared.


def bucket_ms(bucket: int) -> float:
    """Give the delay that a bucket stands for, right to :data:`QUANTILE_ERROR`; -1 is none (DDSketch, VLDB 2019, section 2.1)."""
    if bucket < 0:
        return 0.0
    gamma = (1 + QUANTILE_ERROR) / (1 - QUANTILE_ERROR)
    return float(2 * gamma**bucket / (gamma + 1))


def is_close(found_ms: float, right_ms: float) -> bool:
    """Tell whether a time is right to one percent, and to the millisecond that rounding costs."""
    return abs(found_ms - right_ms) <= right_ms * QUANTILE_ERROR + 1


def start_of(time_ms: int, size_ms: int) -> int:
    """Give the begin of the window of ``size_ms`` that has the time in it."""
    return time_ms - time_ms % size_ms


def _hours_with(time_ms: int) -> range:
    """Give the begins of the hours, one every ten minutes, that have the time in them."""
    last_ms = start_of(time_ms, HOP_MS)
    return range(last_ms, last_ms - HOUR_MS, -HOP_MS)


def _take_away(sums: _Sums, adjusted: Adjusted, flow: str, size_ms: int) -> None:
    for row in adjusted:
        if row.flow == flow:
            sums[*row.dimensions.values(), start_of(row.minute_ms, size_ms)].subtract(row.amounts)


def _rows(sums: _Sums, names: tuple[str, ...], size_ms: int, measures: tuple[str, ...]) -> Rows:
    """Give a row for each window that anything is left in."""
    rows = {}
    for (*dimensions, start_ms), amounts in sums.items():
        if any(amounts.values()):
            rows[row_key(*dimensions, window_start_ms=start_ms)] = {
                **dict(zip(names, dimensions, strict=True)), "window_start_ms": start_ms, "window_end_ms": start_ms + size_ms,
                **{measure: amounts[measure] for measure in measures},
            }  # fmt: skip
    return rows
