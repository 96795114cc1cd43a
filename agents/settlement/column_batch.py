"""A batch in columns, sorted to its orders: what is new in it, what time it is at each event, how the orders stood. Pure."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import NamedTuple

import polars as pl
from polars import col, lit

from agents.flows import MINUTE_MS
from agents.ports import Columns, Found, Keys, Limits
from agents.settlement.clocks import Clocks
from agents.settlement.column_keys import keys_of
from agents.settlement.column_lifecycle import due_ms, of_captures
from agents.settlement.decide import FIRST_TIME_MS, LAST_TIME_MS
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded
from schemas.packed import PackedColumns

KINDS: tuple[type, ...] = (OrderPlaced, OrderCancelled, PaymentCaptured, PaymentFailed, PaymentRefunded)
"""The types of events; in columns a type is its place here."""
IS_PAYMENT = col("kind") > KINDS.index(OrderCancelled)
PLACED = ("merchant_id", "customer_id", "currency", "amount_minor", "occurred_at_ms")
"""What an order's state keeps of ``OrderPlaced``, without the fingerprint."""
_COUNTED = {"placed_count": OrderPlaced, "cancelled_count": OrderCancelled, "failed_count": PaymentFailed}
_packed = cache(PackedColumns)


class Gathered(NamedTuple):
    """A batch, sorted to its orders.

    Attributes:
        orders: one row per order: ``order`` is its number and its place here. Its slot; the fields of its state as of before
            the batch, nulls if there was none; how it was placed, before or now (``order_currency`` and the
            like, ``placed_at_ms``, ``placed_at``); how many fresh events there are, and of which kind; ``was_due_ms``: when time
            had something to do with it as of before the batch; ``due_from_ms``: time has nothing to do with it before that in
            the batch; ``watermark_ms``: of the last of its events, repeats too.
        fresh: by type, the events that are no repeats, with the number of their order, and what time it is at most when it is
            their turn: ``watermark_ms``, ``oldest_ms``, ``over_ms`` (``decide.Times``).
        captures: every capture of before (``at`` is -1) and of this batch, with the number of its order.
    """

    orders: pl.DataFrame
    fresh: dict[type, pl.DataFrame]
    captures: pl.DataFrame

    def without(self, is_told: pl.Series) -> Gathered:
        """Give the same without the events of the orders that ``is_told`` is true for; the numbers of orders stay."""
        left = ~is_told
        orders = self.orders.with_columns(fresh_count=pl.when(left).then("fresh_count").otherwise(0))
        fresh = {kind: events.filter(left.gather(events["order"])) for kind, events in self.fresh.items()}
        return Gathered(orders, fresh, self.captures.filter(left.gather(self.captures["order"])))

    def of_order(self, kind: type, *names: str) -> pl.DataFrame:
        """Give the events of a type, with columns of their orders beside them."""
        events = self.fresh[kind]
        return events.hstack(self.orders.select(names)[events["order"]])


class Gathering:
    """The records of a batch, numbered by their orders; ``others`` are those that have no columns."""

    def __init__(self, columns: Columns) -> None:
        self._frames = columns.frames
        every = pl.concat([_common(kind, columns.frames[kind]) for kind in KINDS])
        orders = every.select("partition", "order_id").unique(maintain_order=True)
        self.numbers = orders.sort("partition", maintain_order=True).with_row_index("order")
        self._every = every.join(self.numbers, on=["partition", "order_id"], how="left", maintain_order="left")
        others = [
            (at, row.partition, row.event.order_id, row.event.occurred_at_ms, KINDS.index(type(row.event)))
            for at, row in columns.others.items()
        ]
        names = ("at", "partition", "order_id", "occurred_at_ms", "kind")
        self.others = pl.DataFrame(others, schema=every.select(names).schema, orient="row")

    @property
    def keys(self) -> Keys:
        """Where the state of each order is."""
        return keys_of(self.numbers)

    def gathered(self, found: Found, clocks: Clocks, limits: Limits) -> tuple[Gathered, pl.DataFrame]:
        """Give the batch by its orders, and one row per event: its number, ``is_repeat``, ``other_content``.

        Args:
            found: the states at :attr:`keys` as of before the batch.
            clocks: of its tasks, as of before it.
            limits: of the deployment.
        """
        orders = _beside(self.numbers, found.frame.with_columns(order=pl.Series(found.places, dtype=pl.UInt32)))
        every = _with_repeats(self._with_times(clocks, limits), orders)
        fresh, begin = {}, 0
        for kind in KINDS:
            frame = self._frames[kind].drop("at")
            beside = every.slice(begin, len(frame)).select("order", "at", "is_repeat", "watermark_ms", "oldest_ms", "over_ms")
            fresh[kind] = frame.hstack(beside).filter(~col("is_repeat"))
            begin += len(frame)
        orders = _beside(orders, every.group_by("order").agg(col("watermark_ms").max()))
        orders = _with_placed(_beside(orders, _counts(every)), fresh[OrderPlaced])
        captured_ms = of_captures("captured_at_ms").list.min()
        was_placed_ms = col("placed").struct.field("occurred_at_ms")
        orders = orders.with_columns(
            was_due_ms=due_ms(limits, col("newest_ms"), was_placed_ms, captured_ms),
            due_from_ms=due_ms(limits, pl.coalesce("newest_ms", "placed_at_ms"), col("placed_at_ms"), captured_ms),
        )
        return Gathered(orders, fresh, _captures(orders, fresh[PaymentCaptured])), every

    def _with_times(self, clocks: Clocks, limits: Limits) -> pl.DataFrame:
        """Add what time it is at most at each event: as if all that came before it were accepted and moved the clocks."""
        standing = pl.DataFrame(
            [(partition, *newest_ms.values(), watermark_ms) for partition, newest_ms, watermark_ms in clocks.standing()],
            schema={"partition": pl.Int32, "orders": pl.Int64, "payments": pl.Int64, "watermark_ms": pl.Int64}, orient="row",
        )  # fmt: skip
        events = pl.concat(
            [some.select("at", "partition", "occurred_at_ms", "kind") for some in (self._every, self.others)]
        ).sort("at")  # fmt: skip
        events = events.join(standing, on="partition", how="left", maintain_order="left")
        right_ms = pl.when(col("occurred_at_ms").is_between(FIRST_TIME_MS, LAST_TIME_MS)).then("occurred_at_ms")
        for name, is_of_input in (("orders", ~IS_PAYMENT), ("payments", IS_PAYMENT)):
            newest_ms = pl.when(is_of_input).then(right_ms).cum_max().forward_fill().over("partition")
            events = events.with_columns(pl.max_horizontal(name, newest_ms).alias(name))
        reached_ms = pl.max_horizontal(pl.when(IS_PAYMENT).then("payments").otherwise("orders"), "watermark_ms")
        watermark_ms = pl.max_horizontal("watermark_ms", pl.min_horizontal("orders", "payments"))
        times = events.with_columns(watermark_ms=watermark_ms).select(
            "at", "watermark_ms",
            pl.max_horizontal(reached_ms - limits.dedup_horizon_ms, 0).alias("oldest_ms"),
            pl.max_horizontal(reached_ms - limits.grace_ms - MINUTE_MS, 0).alias("over_ms"),
        )  # fmt: skip
        return self._every.join(times, on="at", how="left", maintain_order="left")


def _common(kind: type, events: pl.DataFrame) -> pl.DataFrame:
    """Give what events of all types have, and what stands for their content (``decide._content``)."""
    content = _packed(kind).checksums(events)
    kind_number = lit(KINDS.index(kind), dtype=pl.UInt8)
    return events.select("at", "partition", "order_id", "event_id", "occurred_at_ms", kind=kind_number, content=content)


def _beside(orders: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    return orders.join(more, on="order", how="left", maintain_order="left")


def _with_repeats(every: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Add whether an event came before, in an earlier batch or in this one, and whether it came with other content."""
    seen = (
        orders.select("order", "seen")
        .explode("seen", keep_nulls=False)
        .select("order", col("seen").struct.field("0").alias("event_id"), col("seen").struct.field("1").alias("seen_content"))
    )
    every = every.join(seen, on=["order", "event_id"], how="left", maintain_order="left")
    same = pl.struct("order", "event_id")
    twice = every.select(same.is_duplicated()).to_series()
    if twice.any():
        first = (
            every.filter(twice)
            .sort("at")
            .group_by("order", "event_id")
            .agg(col("at").first().alias("first_at"), col("content").first().alias("first_content"))
        )
        every = every.join(first, on=["order", "event_id"], how="left", maintain_order="left")
    else:
        every = every.with_columns(first_at="at", first_content="content")
    return every.with_columns(
        is_repeat=col("seen_content").is_not_null() | (col("at") > col("first_at")).fill_null(value=False),
        other_content=col("content") != pl.coalesce("seen_content", "first_content", "content"),
    )


def _counts(every: pl.DataFrame) -> pl.DataFrame:
    fresh = every.filter(~col("is_repeat")).group_by("order")
    return fresh.agg(
        pl.len().alias("fresh_count"),
        col("at").min().alias("first_at"),
        col("occurred_at_ms").max().alias("newest_now_ms"),
        *((col("kind") == KINDS.index(kind)).sum().alias(name) for name, kind in _COUNTED.items()),
    )


def _with_placed(orders: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Add how each order was placed: ``now_placed`` as the state has it, and its fields."""
    content = _packed(OrderPlaced, (*PLACED, "lines")).encode(events)
    prints = pl.Series([blake2b(packed, digest_size=8).digest() for packed in content], dtype=pl.Binary)
    placed = events.select("order", col("at").alias("placed_at"), pl.struct(*PLACED, fingerprint=prints).alias("placed_now"))
    orders = _beside(orders, placed.unique("order", keep="first"))
    orders = orders.with_columns(
        col("fresh_count", *_COUNTED).fill_null(0), now_placed=pl.coalesce("placed", "placed_now"),
    )  # fmt: skip
    fields = {name: col("now_placed").struct.field(name) for name in PLACED}
    placed_at_ms = fields.pop("occurred_at_ms")
    return orders.with_columns(placed_at_ms.alias("placed_at_ms"), **{f"order_{name}": field for name, field in fields.items()})


def _captures(orders: pl.DataFrame, captured: pl.DataFrame) -> pl.DataFrame:
    before = orders.select("order", "captures").explode("captures", keep_nulls=False).unnest("captures")
    these = captured.select(
        "order", "payment_id", col("amount_minor").alias("captured_minor"), col("occurred_at_ms").alias("captured_at_ms"),
        "method", refunded_minor=lit(0, dtype=pl.Int64), refunded_at_ms=lit(None, dtype=pl.Int64),
        refund_ids=lit([], dtype=pl.List(pl.String)), at="at",
    )  # fmt: skip
    return pl.concat([before.with_columns(at=lit(-1, dtype=pl.Int64)), these])
