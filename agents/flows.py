"""What flows from settlement to the windows: every sum that can be asked for, with its dimensions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas.aggregates import RevenueAdjustment
from schemas.events import Event
from schemas.keys import row_key
from schemas.topics import CUSTOMER_DELTAS, REVENUE_DELTAS, Topic

MINUTE_MS = 60_000


@dataclass(frozen=True, eq=False)
class Flow:
    """Amounts of one kind, summed per minute and ``dimensions``; the first of these decides who adds them up.

    ``topic`` carries them there. Measures in minor units end in ``_minor``, counts in ``_count``.
    """

    name: str
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    topic: Topic


MONEY = Flow(
    "money",
    ("merchant_id", "currency"),
    ("orders_count", "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor"),
    REVENUE_DELTAS,
)
PRODUCTS = Flow("products", ("merchant_id", "currency", "sku"), ("units_count", "gross_minor"), REVENUE_DELTAS)
ATTEMPTS = Flow("attempts", ("merchant_id", "method"), ("captures_count", "failures_count"), REVENUE_DELTAS)
DELAYS = Flow("delays", ("merchant_id", "bucket"), ("captures_count",), REVENUE_DELTAS)
"""How long orders took to be paid: a bucket of ``agents/quantiles.py`` for each capture."""
CUSTOMERS = Flow("customers", ("customer_id", "currency"), ("orders_count", "gross_minor"), CUSTOMER_DELTAS)

FLOWS = (MONEY, PRODUCTS, ATTEMPTS, DELAYS, CUSTOMERS)
FLOW_NAMED = {flow.name: flow for flow in FLOWS}


class Movement(NamedTuple):
    """What one event adds to one minute of one flow; dimensions and amounts are in the flow's order."""

    flow: Flow
    dimensions: tuple[str, ...]
    minute_ms: int
    amounts: tuple[int, ...]


def adjustment(movement: Movement, reason: str, event: Event | None = None) -> RevenueAdjustment:
    """Give the row of ``revenue-adjustments`` for what is in no window; ``event`` is None for a sum of several."""
    flow = movement.flow
    return RevenueAdjustment(
        flow=flow.name,
        dimensions=dict(zip(flow.dimensions, movement.dimensions, strict=True)),
        minute_ms=movement.minute_ms,
        amounts={measure: amount for measure, amount in zip(flow.measures, movement.amounts, strict=True) if amount},
        event_id=event.event_id if event else "",
        event_type=type(event).__name__ if event else "",
        reason=reason,
    )


def adjustment_key(row: RevenueAdjustment) -> bytes:
    """Give the key of a row of ``revenue-adjustments``."""
    return row_key(*row.dimensions.values(), window_start_ms=row.minute_ms).encode()
