"""The books of a settlement task: where every accepted amount is. Pure.

``accepted = booked + adjusted + waiting + unmatched`` per currency and measure, at every commit; what is booked
and not yet counted by ``revenue`` (its ``windowed`` and ``adjusted``) is in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from agents.flows import MONEY, Movement
from agents.outcomes import Decision
from agents.settlement.state import OrderState
from schemas.aggregates import RevenueAdjustment
from schemas.events import Event, OrderPlaced, PaymentCaptured, PaymentRefunded, UnmatchedPayment

WAITING_EVENTS = "waiting_events"
"""The counter of the events that wait just now, of every type: a failed payment and a cancellation wait too, without money."""
MEASURE_OF = {"PaymentCaptured": "captured_minor", "PaymentRefunded": "refunded_minor"}


def entries(
    before: OrderState | None, event: Event | None, decision: Decision[OrderState] | Decision[OrderState | None]
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
        for account, currency, measure, amount in moved(output):
            yield account, currency, measure, amount
            if measure == "cancelled_minor":  # what a cancellation is worth is known when it is booked
                yield "accepted", currency, measure, amount
    waited = before.waiting if before else ()
    waits = decision.state.waiting if decision.state else ()
    if waited != waits:
        yield from _held(waited, -1)
        yield from _held(waits, 1)


def moved(output: object) -> Iterator[tuple[str, str, str, int]]:
    """Give where the money of one output of a decision went."""
    if isinstance(output, Movement):
        if output.flow is MONEY:
            for measure, amount in zip(MONEY.measures, output.amounts, strict=True):
                if amount:
                    yield "booked", output.dimensions[1], measure, amount
    elif isinstance(output, RevenueAdjustment):
        if output.flow == MONEY.name:
            for measure, amount in output.amounts.items():
                yield "adjusted", output.dimensions["currency"], measure, amount
    elif isinstance(output, UnmatchedPayment) and output.event_type in MEASURE_OF:
        yield "unmatched", output.currency, MEASURE_OF[output.event_type], output.amount_minor


def _held(waiting: tuple[Event, ...], sign: int) -> Iterator[tuple[str, str, str, int]]:
    for event in waiting:
        if isinstance(event, PaymentCaptured | PaymentRefunded):
            yield "waiting", event.currency, MEASURE_OF[type(event).__name__], sign * event.amount_minor


class Books:
    """Sums the entries of one batch per task and account, and counts per task what began to wait less what no longer does."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[int, str, str, str]] = Counter()
        self._waiting: Counter[int] = Counter()

    def add(
        self,
        partition: int,
        before: OrderState | None,
        event: Event | None,
        decision: Decision[OrderState] | Decision[OrderState | None],
    ) -> None:
        """Enter one applied event, or what time did to an order."""
        for account, currency, measure, amount in entries(before, event, decision):
            self._sums[partition, account, currency, measure] += amount
        self._waiting[partition] += (len(decision.state.waiting) if decision.state else 0) - (
            len(before.waiting) if before else 0
        )

    def add_booked(self, partition: int, currency: str, amounts: Iterable[int]) -> None:
        """Enter the sums, in the order of the measures of money, of events that were all booked."""
        for measure, amount in zip(MONEY.measures, amounts, strict=True):
            if amount:
                for account in ("accepted", "booked"):
                    self._sums[partition, account, currency, measure] += amount

    def totals(self) -> Iterator[tuple[int, str, int]]:
        """Give ``(partition, counter name, amount)``, names such as ``accepted|EUR|captured_minor``."""
        for (partition, *name), amount in self._sums.items():
            yield partition, "|".join(name), amount
        for partition, change in self._waiting.items():
            if change:
                yield partition, WAITING_EVENTS, change
