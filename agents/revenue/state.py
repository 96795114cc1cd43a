"""The state of one window of one merchant and currency."""

from __future__ import annotations

from msgspec import Struct

from agents.ports import TableSpec


class Totals(Struct, frozen=True, array_like=True):
    """Sums of one window, in minor units; ``revision`` counts its changes."""

    revision: int = 0
    orders_count: int = 0
    gross_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    cancelled_minor: int = 0


REVENUE_1M = TableSpec("revenue_1m", Totals)
