"""``lifecycle.py`` in columns: when time has something to do with orders, and many closed or forgotten at once. Pure.

What else time does to an order says something, of money given up or an order unpaid; it is rare, and left to ``wake``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl
from polars import col, lit

from agents.flows import MINUTE_MS
from agents.ports import Found, Keys, Limits
from agents.settlement.column_keys import keys_of
from agents.settlement.lifecycle import HOUR_MS
from agents.settlement.state import Capture


class Passed(NamedTuple):
    """What time did to the orders that it has to do with.

    Attributes:
        closed: one row per order that is closed: its slot, the fields of its new state, and ``due_ms``, when it is forgotten.
        forgotten: where the orders are that nothing is left of.
        others: where those are that are for ``lifecycle.wake``.
    """

    closed: pl.DataFrame
    forgotten: Keys
    others: Keys


def closing_ms(newest_ms: pl.Expr, kept_ms: int) -> pl.Expr:
    """As ``lifecycle._closing_ms``, of an order in which nothing waits."""
    return (newest_ms + kept_ms) // HOUR_MS * HOUR_MS + HOUR_MS


def unpaid_check_ms(limits: Limits, placed_at_ms: pl.Expr, captured_ms: pl.Expr) -> pl.Expr:
    """As ``lifecycle._unpaid_check_ms``, of an order that is not closed; ``captured_ms``: its first capture."""
    until_ms = placed_at_ms + limits.unpaid_after_ms
    ended_in_time = pl.min_horizontal(captured_ms, "cancelled_at_ms") <= until_ms
    is_asked = ~(col("was_unpaid") | ended_in_time.fill_null(value=False)).fill_null(value=False)
    return pl.when(is_asked).then(until_ms - until_ms % MINUTE_MS + MINUTE_MS + limits.grace_ms)


def due_ms(limits: Limits, newest_ms: pl.Expr, placed_at_ms: pl.Expr, captured_ms: pl.Expr) -> pl.Expr:
    """As ``lifecycle.due_ms``, of an order that is not closed and in which nothing waits; ``captured_ms``: its first capture."""
    return pl.min_horizontal(
        closing_ms(newest_ms, limits.dedup_horizon_ms), unpaid_check_ms(limits, placed_at_ms, captured_ms)
    )  # fmt: skip


def pass_over(keys: Keys, found: Found, watermarks_ms: Mapping[int, int], limits: Limits) -> Passed:
    """Close or forget the orders with which time has nothing else to do, as ``lifecycle.wake`` does it to each.

    Args:
        keys: where the orders are.
        found: their states.
        watermarks_ms: of the tasks.
        limits: of the deployment.
    """
    slots = pl.DataFrame(
        [(partition, key, watermarks_ms[partition]) for partition, some in keys.items() for key in some],
        schema={"partition": pl.Int32, "order_id": pl.Binary, "watermark_ms": pl.Int64}, orient="row",
    )  # fmt: skip
    watermark_ms, is_open = col("watermark_ms"), col("seen").list.len() > 0
    unpaid_ms = unpaid_check_ms(limits, col("placed").struct.field("occurred_at_ms"), of_captures("captured_at_ms").list.min())
    kept_until_ms = pl.when(is_open).then(closing_ms(col("newest_ms"), limits.dedup_horizon_ms)).otherwise(
        closing_ms(col("newest_ms"), limits.keep_closed_ms)
    )  # fmt: skip
    orders = slots[found.places].hstack(found.frame).with_columns(
        is_over=(col("waiting").list.len() == 0)
        & ~(is_open & (unpaid_ms <= watermark_ms)).fill_null(value=False)
        & (kept_until_ms <= watermark_ms),
        is_left=is_open & col("placed").is_not_null(),
    )  # fmt: skip
    over = orders.filter("is_over")
    closed = over.filter("is_left").with_columns(*_closed(over.schema))
    others = pl.concat([slots[found.others], orders.filter(~col("is_over")).select(slots.columns)])
    return Passed(
        closed=closed.with_columns(due_ms=closing_ms(col("newest_ms"), limits.keep_closed_ms)),
        forgotten=keys_of(over.filter(~col("is_left"))),
        others=keys_of(others.sort("partition", maintain_order=True)),
    )


def _closed(schema: pl.Schema) -> list[pl.Expr]:
    """As ``lifecycle.close``."""
    all_captures = {
        **{name: of_captures(name).list.sum() for name in ("captured_minor", "refunded_minor")},
        **{name: of_captures(name).list.max() for name in ("captured_at_ms", "refunded_at_ms")},
        **{name: lit("") for name in ("payment_id", "method")},
        "refund_ids": lit([], dtype=pl.List(pl.String)),
    }
    one = pl.struct(*(all_captures[name].alias(name) for name in Capture.__struct_fields__))
    nothing = {name: lit([], dtype=schema[name]).alias(name) for name in ("captures", "waiting", "seen")}
    return [
        pl.when(col("captures").list.len() > 0).then(pl.concat_list(one)).otherwise(nothing["captures"]).alias("captures"),
        nothing["waiting"],
        nothing["seen"],
        col("placed").struct.with_fields(fingerprint=lit(b"")),
    ]


def of_captures(name: str) -> pl.Expr:
    """One field of all captures of an order, a list."""
    return col("captures").list.eval(pl.element().struct.field(name))
