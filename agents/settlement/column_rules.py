"""The rules of ``decide.py`` in columns, each under the reason of its rule: which orders a batch breaks it for. Pure.

These only sort out: whatever is named here is told to the rule book, event by event, which has the last word and gives
the reasons. So a rule may name an order too many, never one too few; ``tests/property`` holds that against ``decide``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
from polars import col, lit

from agents.flows import MINUTE_MS
from agents.settlement.column_batch import Gathered
from agents.settlement.decide import (
    FIRST_TIME_MS,
    LAST_TIME_MS,
    MAX_AMOUNT_MINOR,
    MAX_EVENTS_PER_ORDER,
    MAX_ID_CHARACTERS,
)
from schemas.currencies import DECIMALS
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded

IDS: dict[type, tuple[str, ...]] = {
    OrderPlaced: ("event_id", "order_id", "source", "customer_id", "merchant_id"),
    OrderCancelled: ("event_id", "order_id", "source"),
    PaymentCaptured: ("event_id", "order_id", "source", "payment_id", "method"),
    PaymentFailed: ("event_id", "order_id", "source", "payment_id", "method"),
    PaymentRefunded: ("event_id", "order_id", "source", "payment_id", "refund_id"),
}
PAYMENTS = (PaymentCaptured, PaymentFailed, PaymentRefunded)


# Rules that look at nothing but the event.


def bad_id(kind: type) -> pl.Expr:
    """An id is empty or too long."""
    lengths = [col(name).str.len_chars() for name in IDS[kind]]
    return (pl.min_horizontal(lengths) == 0) | (pl.max_horizontal(lengths) > MAX_ID_CHARACTERS)


def bad_time(_: type) -> pl.Expr:
    """It occurred before the year 2000 or after 9999."""
    return ~col("occurred_at_ms").is_between(FIRST_TIME_MS, LAST_TIME_MS)


def beyond_horizon(_: type) -> pl.Expr:
    """It is so old that what is known cannot tell whether it is new."""
    return col("occurred_at_ms") < col("oldest_ms")


def amount_not_positive(kind: type) -> pl.Expr:
    """An amount or a quantity is not positive."""
    if kind is OrderCancelled:
        return lit(False)  # noqa: FBT003
    broken = col("amount_minor") <= 0
    if kind is OrderPlaced:
        broken |= _any_line((_line("quantity") <= 0) | (_line("unit_price_minor") < 0))
    return broken


def amount_too_large(kind: type) -> pl.Expr:
    """The amount is too large."""
    return lit(False) if kind is OrderCancelled else col("amount_minor") > MAX_AMOUNT_MINOR  # noqa: FBT003


def unknown_currency(kind: type) -> pl.Expr:
    """The currency is no ISO 4217 code."""
    return lit(False) if kind is OrderCancelled else ~col("currency").is_in(list(DECIMALS))  # noqa: FBT003


def amount_mismatch(kind: type) -> pl.Expr:
    """The amount is not the sum of the lines. A product that could overflow a column is above every amount."""
    if kind is not OrderPlaced:
        return lit(False)  # noqa: FBT003
    product = _line("quantity").cast(pl.Int64) * _line("unit_price_minor")
    rough = _line("quantity").cast(pl.Float64) * _line("unit_price_minor").cast(pl.Float64)
    return (col("lines").list.eval(product).list.sum() != col("amount_minor")) | _any_line(rough > 2.0 * MAX_AMOUNT_MINOR)


def _line(name: str) -> pl.Expr:
    return pl.element().struct.field(name)


def _any_line(is_broken: pl.Expr) -> pl.Expr:
    return col("lines").list.eval(is_broken).list.any()


OF_EVENTS: dict[str, Callable[[type], pl.Expr]] = {
    rule.__name__: rule
    for rule in (bad_id, bad_time, beyond_horizon, amount_not_positive, amount_too_large, unknown_currency, amount_mismatch)
}


# Rules that look at the order too. Each gives the numbers of orders.


def order_full(batch: Gathered) -> pl.Series:
    """The order would have too many events."""
    return _orders(batch, col("seen").list.len().fill_null(0) + col("fresh_count") > MAX_EVENTS_PER_ORDER)


def order_already_placed(batch: Gathered) -> pl.Series:
    """The order is placed twice."""
    return _orders(batch, col("placed_count") + col("placed").is_not_null().cast(pl.UInt32) > 1)


def currency_mismatch(batch: Gathered) -> pl.Series:
    """A payment's currency is not its order's."""
    found = [batch.of_order(kind, "order_currency").filter(col("currency") != col("order_currency")) for kind in PAYMENTS]
    return _numbers(*found)


def payment_already_captured(batch: Gathered) -> pl.Series:
    """A payment is captured twice."""
    captures = batch.captures.select("order", "payment_id")
    return _numbers(captures.filter(captures.is_duplicated()))


def refund_already_booked(batch: Gathered) -> pl.Series:
    """A refund comes twice."""
    booked = batch.captures.select("order", col("refund_ids").alias("refund_id")).explode("refund_id", keep_nulls=False)
    refunds = pl.concat([booked, batch.fresh[PaymentRefunded].select("order", "refund_id")])
    return _numbers(refunds.filter(refunds.is_duplicated()))


def refund_exceeds_capture(batch: Gathered) -> pl.Series:
    """More is given back than was captured."""
    more = batch.fresh[PaymentRefunded].group_by("order", "payment_id").agg(col("amount_minor").sum().alias("more_minor"))
    captures = batch.captures.join(more, on=["order", "payment_id"])
    return _numbers(captures.filter(col("refunded_minor") + col("more_minor") > col("captured_minor")))


def already_cancelled(batch: Gathered) -> pl.Series:
    """The order is cancelled twice."""
    return _orders(batch, col("cancelled_count") + col("cancelled_at_ms").is_not_null().cast(pl.UInt32) > 1)


OF_ORDERS: dict[str, Callable[[Gathered], pl.Series]] = {
    rule.__name__: rule
    for rule in (
        order_full, order_already_placed, currency_mismatch, payment_already_captured, refund_already_booked,
        refund_exceeds_capture, already_cancelled,
    )
}  # fmt: skip


# What breaks no rule, and is more than booking events all the same.


def must_wait(batch: Gathered) -> pl.Series:
    """An event came before its order, or a refund before its capture, or something waits."""
    early = col("now_placed").is_null() | (col("placed_at") > col("first_at")) | (col("waiting").list.len() > 0)
    refunds = batch.fresh[PaymentRefunded].select("order", "payment_id", "at")
    captures = batch.captures.select("order", "payment_id", col("at").alias("captured_at"))
    alone = refunds.join(captures, on=["order", "payment_id"], how="left")
    return _numbers(
        batch.orders.filter(early & (col("fresh_count") > 0)),
        alone.filter(col("captured_at").is_null() | (col("captured_at") > col("at"))),
    )


def closed(batch: Gathered) -> pl.Series:
    """What only the dedup horizon knew is forgotten: a closed order's captures are one."""
    return _orders(batch, col("seen").list.len() == 0)


def due(batch: Gathered) -> pl.Series:
    """Time may have something to do with the order before one of its events is judged: a closed one knows no repeats."""
    return _numbers(batch.orders.filter(col("due_from_ms") <= col("watermark_ms")))


def late(batch: Gathered) -> pl.Series:
    """What an event moves may be late for its windows."""
    moves_ms = pl.max_horizontal("occurred_at_ms", "placed_at_ms")
    over = moves_ms - moves_ms % MINUTE_MS <= col("over_ms")
    return _numbers(*(batch.of_order(kind, "placed_at_ms").filter(over) for kind in batch.fresh))


BESIDES: tuple[Callable[[Gathered], pl.Series], ...] = (must_wait, closed, due, late)


def broken(batch: Gathered) -> Iterator[pl.Series]:
    """Give the numbers of the orders that are for the rule book, rule by rule."""
    for kind, events in batch.fresh.items():
        if len(events):
            yield _numbers(events.filter(pl.any_horizontal(rule(kind) for rule in OF_EVENTS.values())))
    for rule in (*OF_ORDERS.values(), *BESIDES):
        yield rule(batch)


def _orders(batch: Gathered, is_broken: pl.Expr) -> pl.Series:
    return _numbers(batch.orders.filter(is_broken))


def _numbers(*found: pl.DataFrame) -> pl.Series:
    return pl.concat([frame["order"] for frame in found])
