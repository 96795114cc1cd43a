"""What is added up per customer. Pure."""

from __future__ import annotations

from agents.flows import CUSTOMERS, MINUTE_MS
from agents.ports import Limits
from agents.windows.declared import DAY_MS, HOUR_MS, Window
from agents.windows.watermarks import watermarks_of
from schemas import topics

BY = ("customer_id", "currency")


def because(sums: tuple[int, ...], limits: Limits) -> str:
    """Say what is above its threshold: orders, gross, orders+gross, or nothing."""
    orders_count, gross_minor = sums
    return "+".join(
        ["orders"] * (orders_count > limits.alert_orders_max) + ["gross"] * (gross_minor > limits.alert_gross_minor_max)
    )


def with_reason(sums: tuple[int, ...], limits: Limits) -> tuple[object, ...]:
    """Add what is above its threshold."""
    return (*sums, because(sums, limits))


def is_unusual(sums: tuple[int, ...], limits: Limits) -> bool:
    """Tell whether anything is above its threshold; as nothing is taken back, it stays so."""
    return bool(because(sums, limits))


CUSTOMER = (
    Window(topics.CUSTOMERS_1D, of=CUSTOMERS, by=BY, size_ms=DAY_MS),
    Window(
        topics.ALERTS, of=CUSTOMERS, by=BY, size_ms=HOUR_MS, hop_ms=10 * MINUTE_MS, measures=with_reason, shows=is_unusual
    ),
)  # fmt: skip
WATERMARKS = watermarks_of("customers")
