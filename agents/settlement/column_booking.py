"""What is booked, in columns: the states that valid events leave, their rows of ``order-status``, the money that moves. Pure."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from agents.flows import ATTEMPTS, CUSTOMERS, DELAYS, MINUTE_MS, MONEY, PRODUCTS, Flow
from agents.ports import Limits
from agents.quantiles import bucket_of
from agents.settlement.column_batch import Gathered
from agents.settlement.column_lifecycle import due_ms
from agents.settlement.state import Capture
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded

_SAID = ("merchant_id", "customer_id", "currency", "amount_minor")


def booked_orders(batch: Gathered, events: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """Give the changed orders as they are after the events, with their rows of ``order-status``."""
    captures = _captures(batch)
    seen = batch.orders.select("order", "seen").explode("seen", keep_nulls=False).unnest("seen")
    now_seen = events.select("order", col("event_id").alias("0"), col("content").alias("1"))
    seen = pl.concat([seen, now_seen]).sort("order", "0").group_by("order").agg(pl.struct("0", "1").alias("now_seen"))
    cancelled = batch.fresh[OrderCancelled].select("order", col("occurred_at_ms").alias("cancelled_now_ms"))
    orders = batch.orders.filter(col("fresh_count") > 0)
    for more in (captures, seen, cancelled):
        orders = orders.join(more, on="order", how="left", maintain_order="left")
    orders = orders.with_columns(
        col("now_placed").alias("placed"),
        pl.coalesce("cancelled_at_ms", "cancelled_now_ms").alias("cancelled_at_ms"),
        pl.coalesce("now_captures", lit([], dtype=captures.schema["now_captures"])).alias("captures"),
        pl.coalesce("said_captures", lit([], dtype=captures.schema["said_captures"])),
        col("now_seen").alias("seen"),
        lit([], dtype=pl.List(pl.Binary)).alias("waiting"),
        *(col(f"order_{name}").alias(name) for name in _SAID),
        col("failures_count").fill_null(0) + col("failed_count"),
        col("booked_count").fill_null(0) + col("fresh_count"),
        pl.max_horizontal("updated_at_ms", "newest_now_ms").alias("updated_at_ms"),
        pl.max_horizontal("newest_ms", "newest_now_ms").alias("newest_ms"),
        col("was_unpaid").fill_null(value=False),
        col("captured_minor", "refunded_minor").fill_null(0),
    )
    captured, refunded = col("captured_minor"), col("refunded_minor")
    return orders.with_columns(
        due_ms=due_ms(limits, col("newest_ms"), col("placed_at_ms"), col("first_captured_ms")),
        status=pl.when(col("cancelled_at_ms").is_not_null()).then(lit("cancelled"))
        .when((captured > 0) & (captured == refunded)).then(lit("refunded"))
        .when(captured >= col("order_amount_minor")).then(lit("captured"))
        .when(captured > 0).then(lit("partially_captured"))
        .otherwise(lit("placed")),
        refund_due=col("cancelled_at_ms").is_not_null() & (captured > refunded),
    )  # fmt: skip


def _captures(batch: Gathered) -> pl.DataFrame:
    """Give by order its captures after the batch, sums of them, and how ``order-status`` has them: the oldest first."""
    these = (
        batch.fresh[PaymentRefunded]
        .group_by("order", "payment_id")
        .agg(
            col("amount_minor").sum().alias("more_minor"),
            col("occurred_at_ms").max().alias("last_ms"),
            col("refund_id").alias("more_ids"),
        )
    )
    captures = batch.captures.join(these, on=["order", "payment_id"], how="left").with_columns(
        col("refunded_minor") + col("more_minor").fill_null(0),
        pl.max_horizontal("refunded_at_ms", "last_ms").alias("refunded_at_ms"),
        pl.when(col("more_ids").is_null())
        .then("refund_ids")
        .otherwise(pl.concat_list("refund_ids", "more_ids").list.sort())
        .alias("refund_ids"),
    )  # fmt: skip
    by_order = (
        captures.sort("order", "payment_id")
        .group_by("order")
        .agg(
            pl.struct(*Capture.__struct_fields__).alias("now_captures"),
            col("captured_minor").sum(),
            col("refunded_minor").sum(),
            col("captured_at_ms").min().alias("first_captured_ms"),
        )
    )
    said = captures.sort("order", "captured_at_ms", "payment_id").group_by("order").agg(
        pl.struct(
            "payment_id", "method", col("captured_at_ms").alias("captured_at"), "captured_minor", "refunded_minor",
            col("refunded_at_ms").alias("refunded_at"),
        ).alias("said_captures")
    )  # fmt: skip
    return by_order.join(said, on="order")


def moved(flow: Flow, batch: Gathered) -> pl.DataFrame:
    """Give what ``booking.book`` moves in one flow, summed by task."""
    minute_ms = pl.max_horizontal("occurred_at_ms", "placed_at_ms")
    added = [
        events.select(
            "partition", *flow.dimensions, (minute_ms - minute_ms % MINUTE_MS).alias("minute_ms"),
            *(amounts.get(name, lit(0)).cast(pl.Int64).alias(name) for name in flow.measures),
        )
        for events, amounts in _movements(flow, batch)
    ]  # fmt: skip
    places = pl.concat(added).group_by("partition", *flow.dimensions, "minute_ms", maintain_order=True)
    return places.agg(col(flow.measures).sum())


def _movements(flow: Flow, batch: Gathered) -> list[tuple[pl.DataFrame, dict[str, pl.Expr]]]:
    """Give the events that move something in a flow, and what each adds to its measures; the others get nothing."""
    placed, captured = _of_its_order(batch, OrderPlaced), _of_its_order(batch, PaymentCaptured)
    one, amount = lit(1), col("amount_minor")
    if flow is MONEY:
        return [
            (placed, {"orders_count": one, "gross_minor": amount}),
            (captured, {"captured_minor": amount}),
            (_of_its_order(batch, PaymentRefunded), {"refunded_minor": amount}),
            (_of_its_order(batch, OrderCancelled), {"cancelled_minor": col("order_amount_minor")}),
        ]
    if flow is CUSTOMERS:
        return [(placed, {"orders_count": one, "gross_minor": amount})]
    if flow is PRODUCTS:
        lines = placed.drop("amount_minor").explode("lines", keep_nulls=False).unnest("lines")
        units = col("quantity").cast(pl.Int64)
        return [(lines, {"units_count": units, "gross_minor": units * col("unit_price_minor")})]
    if flow is ATTEMPTS:
        return [(captured, {"captures_count": one}), (_of_its_order(batch, PaymentFailed), {"failures_count": one})]
    if flow is DELAYS:
        waited_ms = captured["occurred_at_ms"] - captured["placed_at_ms"]
        buckets = pl.Series([str(bucket_of(each)) for each in waited_ms], dtype=pl.String)
        return [(captured.with_columns(bucket=buckets), {"captures_count": one})]
    raise ValueError(f"nothing is known of the flow {flow.name} in columns")


def _of_its_order(batch: Gathered, kind: type) -> pl.DataFrame:
    """Give the events with merchant, customer and currency of their orders."""
    events = batch.fresh[kind].drop("merchant_id", "customer_id", "currency", strict=False)
    facts = batch.orders.select(
        col("order_merchant_id").alias("merchant_id"), col("order_customer_id").alias("customer_id"),
        col("order_currency").alias("currency"), "order_amount_minor", "placed_at_ms",
    )  # fmt: skip
    return events.hstack(facts[events["order"]])
