"""Orders that are sent long after the windows of their time: paid and cancelled as late as they are, or in time.

Each goes to the partition of a regular order, behind that order and one of its payments. So both inputs of the partition
are within the plan's span by then, an hour and more after the late events.
"""

from __future__ import annotations

from typing import Final

from connectors.sources.draft import HOLD_MS, Draft
from connectors.sources.sent import APPLIED, LATE
from schemas import events
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS

LATE_BY_MS: Final = 65 * 60_000
"""Before the plan's span; with what follows the order more than an hour. Beyond any grace, far within the horizon of repeats."""
STEP_MS: Final = 15_000
"""At most, between two late events of one order."""


def add_lates(draft: Draft, count: int, regular: int) -> None:
    """Add ``count`` late orders and what happens to them; their hosts are among the first ``regular`` records."""
    for number in range(count):
        try:
            index, host = draft.pick(events.PaymentCaptured, regular)
        except LookupError:  # the plan is too small for it
            return
        # Behind the host, and behind its order, however long that was held back.
        at = draft.at[index] + HOLD_MS + 1 + draft.rng.random() * HOLD_MS
        placed_at_ms = draft.begin_ms - LATE_BY_MS - int(draft.rng.random() * STEP_MS)
        order = draft.placed(_name_beside(draft, number, host.order_id), placed_at_ms)
        draft.add(at, order, LATE)
        LIVES[number % len(LIVES)](_Life(draft, order, at))


def _name_beside(draft: Draft, number: int, order_id: str) -> str:
    """Give the first new name in the partition of another order."""
    wanted, tries = partition_of(order_id, PARTITIONS), 0
    while partition_of(name := f"o-{draft.seed}-late-{number:04d}-{tries}", PARTITIONS) != wanted:
        tries += 1
    return name


class _Life:
    """What follows a late order, in the order of sending; each event is late too, or of the time at which it is sent."""

    def __init__(self, draft: Draft, order: events.OrderPlaced, at: float) -> None:
        self._draft = draft
        self._order = order
        self._at = at
        self._late_ms = order.occurred_at_ms
        self._ids_count = 0

    def fail(self, *, late: bool) -> None:
        """An attempt to pay."""
        order, draft = self._order, self._draft
        failed = events.PaymentFailed(
            draft.event_id(), order.order_id, self._next_ms(late), "psp", self._id("p"), "wallet", order.amount_minor,
            order.currency,
        )  # fmt: skip
        self._send(failed, late)

    def capture(self, amount_minor: int, *, late: bool) -> events.PaymentCaptured:
        """Give what was captured."""
        order, draft = self._order, self._draft
        captured = events.PaymentCaptured(
            draft.event_id(), order.order_id, self._next_ms(late), "psp", self._id("p"), "card", amount_minor, order.currency
        )
        self._send(captured, late)
        return captured

    def refund(self, captured: events.PaymentCaptured, *, late: bool) -> None:
        """Half of a capture."""
        refunded = events.PaymentRefunded(
            self._draft.event_id(), captured.order_id, self._next_ms(late), "psp", self._id("r"), captured.payment_id,
            (captured.amount_minor + 1) // 2, captured.currency,
        )  # fmt: skip
        self._send(refunded, late)

    def cancel(self, *, late: bool) -> None:
        """The order as a whole."""
        cancelled = events.OrderCancelled(self._draft.event_id(), self._order.order_id, self._next_ms(late), "desk")
        self._send(cancelled, late)

    @property
    def half_minor(self) -> int:
        """Half of the order's amount, and not nothing."""
        return (self._order.amount_minor + 1) // 2

    def _next_ms(self, late: bool) -> int:
        self._at += 1 + self._draft.rng.random() * STEP_MS
        self._late_ms += 1 + int(self._draft.rng.random() * STEP_MS)
        return self._late_ms if late else min(int(self._at), self._draft.end_ms)

    def _send(self, event: events.Event, late: bool) -> None:
        self._draft.add(self._at, event, LATE if late else APPLIED)

    def _id(self, letter: str) -> str:
        self._ids_count += 1
        return f"{letter}{self._order.order_id[1:]}-{self._ids_count}"


def _paid_as_late(life: _Life) -> None:
    life.fail(late=True)
    life.refund(life.capture(life.half_minor, late=True), late=True)


def _paid_in_time(life: _Life) -> None:
    life.fail(late=False)
    life.refund(life.capture(life.half_minor, late=False), late=False)


def _cancelled_as_late(life: _Life) -> None:
    captured = life.capture(life.half_minor, late=True)
    life.cancel(late=True)
    life.refund(captured, late=False)


def _never_paid(_life: _Life) -> None:
    pass


LIVES: Final = (_paid_as_late, _paid_in_time, _cancelled_as_late, _never_paid)
