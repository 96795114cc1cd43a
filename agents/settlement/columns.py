"""Settlement in columns: a whole batch booked at once, as ``decide.py`` books it event by event. Pure.

States are canonical (``state.py``): whatever order valid events come in, they leave the same state and move the same money.
So an order of which no event breaks a rule, waits, is late, or comes when time has something to do with the order
(``column_rules.py``) is booked as a whole, and nobody asks what came first. All other orders are left to the rule book,
with all their events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from polars import col

from agents.flows import MONEY, Flow
from agents.ports import Found, Keys, Limits
from agents.settlement.clocks import Clocks
from agents.settlement.column_batch import IS_PAYMENT, KINDS, Gathering
from agents.settlement.column_booking import booked_orders, moved
from agents.settlement.column_keys import due_of, keys_of
from agents.settlement.column_rules import broken
from agents.settlement.timers import Due
from schemas.events import OrderPlaced, PaymentCaptured


@dataclass(frozen=True)
class Booked:
    """What a batch does to the orders that are booked in columns; all others are ``told`` to the rule book.

    Attributes:
        told: one row per record that is left, in order of arrival: ``at`` (its place) and ``partition``.
        orders: one row per changed order: its slot, the fields of its new state, those of its row of ``order-status`` that are
            not among them, and ``was_due_ms`` and ``due_ms``: when time had and has something to do with it.
        applied: one row per applied event, in order of arrival: ``at``, ``partition``, ``kind``, ``occurred_at_ms``.
        dropped: one row per repeat: ``partition``, ``other_content``.
        moved: what was added to each flow: ``partition`` of the task, dimensions, ``minute_ms`` and measures.
    """

    told: pl.DataFrame
    orders: pl.DataFrame
    applied: pl.DataFrame
    dropped: pl.DataFrame
    moved: Mapping[Flow, pl.DataFrame]

    @cached_property
    def keys(self) -> Keys:
        """Where the states of :attr:`orders` are."""
        return keys_of(self.orders)

    @property
    def rows(self) -> pl.DataFrame:
        """What ``order-status`` says of :attr:`orders`."""
        return self.orders.with_columns(captures="said_captures", revision="booked_count")

    def due(self, name: str) -> Due:
        """Give when those of :attr:`orders` that moved in time were due (``was_due_ms``), or are due now (``due_ms``)."""
        return due_of(self.orders.filter(col("was_due_ms").ne_missing(col("due_ms")) & col(name).is_not_null()), name)

    def sums(self, flow: Flow) -> Iterator[tuple[tuple[str, ...], int, tuple[int, ...]]]:
        """Give ``(dimensions, minute, amounts)`` of what was added to a flow, by all tasks together."""
        places = self.moved[flow].group_by(*flow.dimensions, "minute_ms", maintain_order=True)
        at = len(flow.dimensions)
        return ((row[:at], row[at], row[at + 1 :]) for row in places.agg(col(flow.measures).sum()).iter_rows())

    def money(self) -> Iterator[tuple[int, str, tuple[int, ...]]]:
        """Give ``(task, currency, amounts)`` of all money that moved."""
        of_task = self.moved[MONEY].group_by("partition", "currency").agg(col(MONEY.measures).sum())
        return ((row[0], row[1], row[2:]) for row in of_task.iter_rows())

    def outcomes(self) -> Iterable[tuple[int, int, int, int]]:
        """Give ``(task, applied, duplicates, and how many of these with other content)``."""
        applied = self.applied.group_by("partition").agg(pl.len().alias("applied"))
        dropped = self.dropped.group_by("partition").agg(pl.len().alias("dropped"), col("other_content").sum())
        both = applied.join(dropped, on="partition", how="full", coalesce=True).fill_null(0)
        return both.select("partition", "applied", "dropped", "other_content").iter_rows()

    def newest(self) -> Iterator[tuple[int, type, int]]:
        """Give ``(task, event type, time)`` of the newest applied events."""
        newest = self.applied.group_by("partition", "kind").agg(col("occurred_at_ms").max())
        return ((partition, KINDS[kind], newest_ms) for partition, kind, newest_ms in newest.iter_rows())

    def newest_before_told(self) -> Iterator[list[tuple[type, int]]]:
        """Give for each row of :attr:`told` ``(event type, time)`` of its task's newest applied events before it."""
        applied = self.applied.with_columns(newest_ms=col("occurred_at_ms").cum_max().over("partition", IS_PAYMENT))
        told = self.told
        for name, is_of_input in (("orders", ~IS_PAYMENT), ("payments", IS_PAYMENT)):
            newest = applied.filter(is_of_input).select("at", "partition", col("newest_ms").alias(name))
            told = told.join_asof(newest, on="at", by="partition", check_sortedness=False)
        for orders_ms, payments_ms in told.select("orders", "payments").iter_rows():
            both = ((OrderPlaced, orders_ms), (PaymentCaptured, payments_ms))
            yield [(event_type, newest_ms) for event_type, newest_ms in both if newest_ms is not None]


def book(batch: Gathering, found: Found, clocks: Clocks, limits: Limits, flows: Iterable[Flow]) -> Booked:
    """Book what can be booked as a whole.

    Args:
        batch: the records.
        found: the states at ``batch.keys`` as of before the batch.
        clocks: of its tasks, as of before it.
        limits: of the deployment.
        flows: what moves in others is left out.
    """
    gathered, every = batch.gathered(found, clocks, limits)
    unread = pl.Series("order", found.others, dtype=pl.UInt32)
    with_others = batch.others.join(batch.numbers, on=["partition", "order_id"])["order"]
    numbers = pl.concat([unread, with_others, *broken(gathered)]).unique()
    is_told = pl.Series("is_told", [False]).new_from_index(0, len(batch.numbers)).scatter(numbers, True)  # noqa: FBT003
    every = every.with_columns(is_told=is_told.gather(every["order"]))
    told, here = every.filter("is_told"), every.filter(~col("is_told"))
    applied = here.filter(~col("is_repeat"))
    gathered = gathered.without(is_told)
    return Booked(
        told=pl.concat([some.select("at", "partition") for some in (told, batch.others)]).sort("at"),
        orders=booked_orders(gathered, applied, limits),
        applied=applied.select("at", "partition", "kind", "occurred_at_ms").sort("at"),
        dropped=here.filter("is_repeat").select("partition", "other_content"),
        moved={flow: moved(flow, gathered) for flow in flows},
    )
