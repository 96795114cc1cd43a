"""The whole of Tally on one page: who reads what, keeps what, writes what. READ THIS FIRST.

::

    orders ───┐                ┌─▶ order-status
              ├─▶ settlement ──┼─▶ unmatched-payments
    payments ─┘   (by order)   └─▶ revenue-deltas ──▶ revenue ──▶ revenue-by-merchant-1m
                                                     (by merchant)

What cannot be processed goes to the dead-letter topic of its input; ``tally dlq`` sends it back and notes that in
``dead-letters-done``. Every arrow of one worker's epoch is inside one Kafka transaction, together with the changelogs
and the input offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.ports import Runtime, TableSpec
from agents.revenue import agent as revenue
from agents.revenue.state import REVENUE_1M
from agents.settlement import agent as settlement
from agents.settlement.state import DEADLINES, ORDER_STATE
from schemas import topics
from schemas.topics import Topic


@dataclass(frozen=True)
class Stage:
    """One agent: the co-partitioned topics it reads, the tables it keeps, where their changes are logged, what it writes."""

    name: str
    reads: tuple[Topic, ...]
    keeps: tuple[TableSpec[Any], ...]
    changelog: Topic
    writes: tuple[Topic, ...]
    declare: Callable[[Runtime], None]


Topology = tuple[Stage, ...]

TOPOLOGY: Topology = (
    Stage(
        name="settlement",
        reads=(topics.ORDERS, topics.PAYMENTS),
        keeps=(ORDER_STATE, DEADLINES),
        changelog=topics.SETTLEMENT_CHANGELOG,
        writes=(topics.ORDER_STATUS, topics.REVENUE_DELTAS, topics.UNMATCHED_PAYMENTS),
        declare=settlement.declare,
    ),
    Stage(
        name="revenue",
        reads=(topics.REVENUE_DELTAS,),
        keeps=(REVENUE_1M,),
        changelog=topics.REVENUE_CHANGELOG,
        writes=(topics.REVENUE_BY_MERCHANT_1M,),
        declare=revenue.declare,
    ),
)
