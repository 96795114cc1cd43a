"""The state of one order: what is booked, what waits, what was seen. Canonical: equal sets of events give equal states."""

from __future__ import annotations

from msgspec import Struct

from agents.ports import TableSpec
from schemas.events import Event


class Placed(Struct, frozen=True, array_like=True):
    """The order as it was placed; ``fingerprint`` stands for its whole content."""

    merchant_id: str
    customer_id: str
    currency: str
    amount_minor: int
    occurred_at_ms: int
    fingerprint: bytes


class Capture(Struct, frozen=True, array_like=True):
    """One booked capture and what was given back of it, the last at ``refunded_at_ms``.

    A closed order has one at most, without a payment_id: all its captures together.
    """

    payment_id: str
    captured_minor: int
    captured_at_ms: int
    method: str = ""
    refunded_minor: int = 0
    refunded_at_ms: int | None = None
    refund_ids: tuple[str, ...] = ()

    @property
    def refundable_minor(self) -> int:
        """What may still be given back."""
        return self.captured_minor - self.refunded_minor


class OrderState(Struct, frozen=True, array_like=True):
    """Everything Tally knows of one order. All tuples are sorted, so that order of arrival leaves no trace.

    ``seen`` has ``(event_id, fingerprint of the whole event)`` of everything that was applied since the order was
    closed, if it ever was, and ``newest_ms`` is the newest time of all of it. ``was_unpaid``: a row on ``unpaid-orders`` says so.
    """

    placed: Placed | None = None
    cancelled_at_ms: int | None = None
    captures: tuple[Capture, ...] = ()
    failures_count: int = 0
    updated_at_ms: int = 0
    booked_count: int = 0
    waiting: tuple[Event, ...] = ()
    seen: tuple[tuple[str, int], ...] = ()
    newest_ms: int = 0
    was_unpaid: bool = False

    @property
    def captured_minor(self) -> int:
        """Sum of captures."""
        return sum(capture.captured_minor for capture in self.captures)

    @property
    def refunded_minor(self) -> int:
        """Sum of refunds."""
        return sum(capture.refunded_minor for capture in self.captures)

    @property
    def status(self) -> str:
        """Give placed, partially_captured, captured, refunded or cancelled."""
        captured, refunded = self.captured_minor, self.refunded_minor
        if self.cancelled_at_ms is not None:
            return "cancelled"
        if captured and captured == refunded:
            return "refunded"
        if self.placed is not None and captured >= self.placed.amount_minor:
            return "captured"
        return "partially_captured" if captured else "placed"


class Timer(Struct, frozen=True, array_like=True):
    """Nothing: when it is due, and for which order, stands in the key."""


ORDER_STATE = TableSpec("order_state", OrderState, version=3)
TIMERS = TableSpec("timers", Timer)
"""One row per order with which time has something left to do; see ``timers.py``."""
