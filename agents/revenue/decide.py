"""The rule book of revenue: a delta adds to its window. Pure; never rejects, settlement has judged."""

from __future__ import annotations

from agents.outcomes import Decision
from agents.revenue.state import Totals
from schemas.events import MEASURES, MerchantRevenue, RevenueDelta
from schemas.keys import row_key

MINUTE_MS = 60_000
EMPTY = Totals()


def decide(state: Totals | None, delta: RevenueDelta) -> Decision[Totals]:
    """Give the window's totals with ``delta`` added."""
    totals = state or EMPTY
    return Decision(
        Totals(
            totals.revision + 1,
            totals.orders_count + delta.orders_count,
            totals.gross_minor + delta.gross_minor,
            totals.captured_minor + delta.captured_minor,
            totals.refunded_minor + delta.refunded_minor,
            totals.cancelled_minor + delta.cancelled_minor,
        )
    )


def window_key(delta: RevenueDelta) -> bytes:
    """Give the key of the delta's window, in the table and on the topic."""
    return row_key(delta.merchant_id, delta.currency, window_start_ms=delta.window_start_ms).encode()


def window_row(delta: RevenueDelta, totals: Totals) -> MerchantRevenue:
    """Give the row of the window that ``delta`` belongs to."""
    return MerchantRevenue(
        merchant_id=delta.merchant_id,
        currency=delta.currency,
        window_start_ms=delta.window_start_ms,
        window_end_ms=delta.window_start_ms + MINUTE_MS,
        status="provisional",
        revision=totals.revision,
        **{measure: getattr(totals, measure) for measure in MEASURES},
    )
