"""The books of a settlement task: where every accepted amount is. Pure.

``accepted = booked + waiting + unmatched`` per currency and measure, at every commit; what is booked
and not yet counted by ``revenue`` (its ``windowed``) is in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agents.outcomes import Decision
from agents.settlement.booking import Movement
from agents.settlement.state import OrderState
from schemas.events import Event, OrderPlaced, PaymentCaptured, PaymentRefunded, UnmatchedPayment

WAITING_EVENTS = "waiting_events"
"""The counter of the events that wait just now, of every type: a failed payment and a cancellation wait too, without money."""
MEASURE_OF = {"PaymentCaptured": "captured_minor", "PaymentRefunded": "refunded_minor"}


def entries(
    before: OrderState | None, event: Event | None, decision: Decision[OrderState]
) -> Iterator[tuple[str, str, str, int]]:
    """Give ``(account, currency, measure, amount)`` for one applied event, or for one order that time passed over (None).

    Amounts are in minor units, or counts.
    """
    if isinstance(event, OrderPlaced):
        yield "accepted", event.currency, "orders_count", 1
        yield "accepted", event.currency, "gross_minor", event.amount_minor
    elif isinstance(event, PaymentCaptured | PaymentRefunded):
        yield "accepted", event.currency, MEASURE_OF[type(event).__name__], event.amount_minor
    for output in decision.outputs:
        if isinstance(output, Movement):
            yield "booked", output.currency, output.measure, output.amount
            if output.measure == "cancelled_minor":  # what a cancellation is worth is known when it is booked
                yield "accepted", output.currency, output.measure, output.amount
        elif isinstance(output, UnmatchedPayment) and output.event_type in MEASURE_OF:
            yield "unmatched", output.currency, MEASURE_OF[output.event_type], output.amount_minor
    waited = before.waiting if before else ()
    if waited != decision.state.waiting:
        yield from _held(waited, -1)
        yield from _held(decision.state.waiting, 1)


def _held(waiting: tuple[Event, ...], sign: int) -> Iterator[tuple[str, str, str, int]]:
    for event in waiting:
        if isinstance(event, PaymentCaptured | PaymentRefunded):
            yield "waiting", event.currency, MEASURE_OF[type(event).__name__], sign * event.amount_minor


class Books:
    """Sums the entries of one batch per task and account, and counts per task what began to wait less what no longer does."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[int, str, str, str]] = Counter()
        self._waiting: Counter[int] = Counter()

    def add(self, partition: int, before: OrderState | None, event: Event | None, decision: Decision[OrderState]) -> None:
        """Enter one applied event, or what time did to an order."""
        for account, currency, measure, amount in entries(before, event, decision):
            self._sums[partition, account, currency, measure] += amount
        self._waiting[partition] += len(decision.state.waiting) - (len(before.waiting) if before else 0)

    def totals(self) -> Iterator[tuple[int, str, int]]:
        """Give ``(partition, counter name, amount)``, names such as ``accepted|EUR|captured_minor``."""
        for (partition, *name), amount in self._sums.items():
            yield partition, "|".join(name), amount
        for partition, change in self._waiting.items():
            if change:
                yield partition, WAITING_EVENTS, change
