"""The whole of Tally on one page: who reads what, keeps what, writes what. READ THIS FIRST.

::

    orders ───┐                ┌─▶ order-status, unpaid-orders, unmatched-payments, revenue-adjustments
              ├─▶ settlement ──┼─▶ revenue-deltas ──▶ revenue ────▶ revenue-by-merchant-1m, -1h, -1d,
    payments ─┘   (by order)   │                      (by merchant)  revenue-by-product-1h, top-products-1h,
                               │                                     payments-by-method-1m, time-to-capture-1h
                               └─▶ customer-deltas ─▶ customers ──▶ customers-1d, alerts
                                                      (by customer)

What cannot be processed goes to the dead-letter topic of its input; ``tally dlq`` sends it back and notes that in
``dead-letters-done``. What each task of settlement and revenue has counted goes to ``control-totals``. Every arrow of one
worker's epoch is inside one Kafka transaction, together with the changelogs and the input offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agents.customers import agent as customers
from agents.customers import windows as of_customers
from agents.ports import Runtime, TableSpec
from agents.revenue import agent as revenue
from agents.revenue import windows as of_merchants
from agents.settlement import agent as settlement
from agents.settlement.state import ORDER_STATE, TIMERS
from schemas import topics
from schemas.topics import Topic


@dataclass(frozen=True)
class Stage:
    """One agent: the co-partitioned topics it reads, the tables it keeps, where their changes are logged, what it writes.

    ``columns_from``: from so many records in an epoch on it is given them in columns; 0: never.
    """

    name: str
    reads: tuple[Topic, ...]
    keeps: tuple[TableSpec[Any], ...]
    changelog: Topic
    writes: tuple[Topic, ...]
    declare: Callable[[Runtime], None]
    columns_from: int = 0

    @property
    def version(self) -> str:
        """Whose stage it is; empty for the live one."""
        return self.changelog.version


Topology = tuple[Stage, ...]

COLUMNS_FROM = 1_000
"""With 800 records columns and rows cost the same: what a batch in columns costs whatever its size is 25 ms (bench/README.md)."""

TOPOLOGY: Topology = (
    Stage(
        name="settlement",
        reads=(topics.ORDERS, topics.PAYMENTS),
        keeps=(ORDER_STATE, TIMERS),
        changelog=topics.SETTLEMENT_CHANGELOG,
        writes=(
            topics.ORDER_STATUS, topics.UNPAID_ORDERS, topics.UNMATCHED_PAYMENTS, topics.REVENUE_ADJUSTMENTS,
            topics.REVENUE_DELTAS, topics.CUSTOMER_DELTAS, topics.CONTROL_TOTALS,
        ),
        declare=settlement.declare,
        columns_from=COLUMNS_FROM,
    ),
    Stage(
        name="revenue",
        reads=(topics.REVENUE_DELTAS,),
        keeps=(of_merchants.WATERMARKS, *(window.table for window in of_merchants.REVENUE)),
        changelog=topics.REVENUE_CHANGELOG,
        writes=(topics.REVENUE_ADJUSTMENTS, topics.CONTROL_TOTALS, *(window.topic for window in of_merchants.REVENUE)),
        declare=revenue.declare,
    ),
    Stage(
        name="customers",
        reads=(topics.CUSTOMER_DELTAS,),
        keeps=(of_customers.WATERMARKS, *(window.table for window in of_customers.CUSTOMER)),
        changelog=topics.CUSTOMERS_CHANGELOG,
        writes=(topics.REVENUE_ADJUSTMENTS, *(window.topic for window in of_customers.CUSTOMER)),
        declare=customers.declare,
    ),
)  # fmt: skip


def topology_of(version: str, topology: Topology = TOPOLOGY) -> Topology:
    """Give the topology of a version: it reads the same inputs, all other topics are its own."""
    if version in {"", topics.LIVE}:
        return topology
    return tuple(
        replace(
            stage,
            reads=tuple(topic.of(version) for topic in stage.reads),
            changelog=stage.changelog.of(version),
            writes=tuple(topic.of(version) for topic in stage.writes),
        )
        for stage in topology
    )
