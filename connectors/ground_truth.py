"""What is right, added up from what was sent and nothing else.

The expectation of each record says whether it counts; the rest of this page is the definition of
the two tables, of the dead letters and of the money. It shares no rule with the agents.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from connectors.sources.sent import OTHER_CONTENT, Applied, Dead, DeadOrUnmatched, Duplicate, Plan, Unmatched
from schemas import codec, events
from schemas.topics import Topic

MINUTE_MS = 60_000

RowId: TypeAlias = tuple[str, str, int]
"""merchant_id, currency, window_start_ms."""
Money: TypeAlias = Counter[tuple[str, str]]
"""(currency, measure) to minor units, or to a count for ``orders_count``."""
Identity: TypeAlias = tuple[Topic, bytes | None, bytes | None]
"""Topic, key and value of a record as it was sent."""


@dataclass(frozen=True)
class Truth:
    """The right answer. ``racing`` are records that may be dead letters or unmatched rows: one of both, once.

    ``unmatched`` are rows, once each. Neither is in the counts and sums.
    """

    order_status: dict[str, events.OrderStatus]
    revenue: dict[RowId, Counter[str]]
    dead_letters: dict[Identity, tuple[Dead, ...]]
    racing: dict[Identity, DeadOrUnmatched]
    unmatched: dict[Identity, Unmatched]
    sent_count: int
    applied_count: int
    duplicates_count: int
    other_content_count: int
    dead_count: int
    accepted: Money
    waiting: Money
    waiting_count: int

    @property
    def dead_by_reason(self) -> Counter[str]:
        """How many dead letters each reason has, without the racing ones."""
        return Counter(dead.reason for letters in self.dead_letters.values() for dead in letters)


def truth_of(plan: Plan) -> Truth:
    """Give the truth of ``plan``: pure, one pass over what was sent and one over the orders."""
    counts: Counter[type] = Counter()
    dead_letters: dict[Identity, tuple[Dead, ...]] = {}
    racing: dict[Identity, DeadOrUnmatched] = {}
    unmatched: dict[Identity, Unmatched] = {}
    other_content_count = 0
    applied: defaultdict[str, list[events.Record]] = defaultdict(list)
    for sent in plan.sent:
        counts[type(sent.expected)] += 1
        identity = (sent.topic, sent.key, sent.value)
        if isinstance(sent.expected, Applied):
            event = codec.decode(sent.value)
            applied[event.order_id].append(event)  # type: ignore[union-attr]
        elif isinstance(sent.expected, Dead):
            dead_letters[identity] = (*dead_letters.get(identity, ()), sent.expected)
        elif isinstance(sent.expected, DeadOrUnmatched):
            racing[identity] = sent.expected
        elif isinstance(sent.expected, Unmatched):
            unmatched[identity] = sent.expected
        else:
            other_content_count += sent.expected == OTHER_CONTENT
    tables = _Tables({}, defaultdict(Counter), Counter(), Counter())
    waiting_count = sum(tables.add(of_order) for of_order in applied.values())
    return Truth(
        tables.order_status, dict(tables.revenue), dead_letters, racing, unmatched,
        len(plan.sent), counts[Applied], counts[Duplicate], other_content_count, counts[Dead], +tables.accepted, +tables.waiting,
        waiting_count,
    )  # fmt: skip


class _Tables(NamedTuple):
    order_status: dict[str, events.OrderStatus]
    revenue: defaultdict[RowId, Counter[str]]
    accepted: Money
    waiting: Money

    def add(self, of_order: list[events.Record]) -> int:
        """Add all that was applied to one order: what has its order, and a refund its capture, is booked; the rest waits.

        Gives how many wait.
        """
        order = next((event for event in of_order if isinstance(event, events.OrderPlaced)), None)
        captures = {event.payment_id for event in of_order if isinstance(event, events.PaymentCaptured)}
        booked, waiting_count = [], 0
        for event in of_order:
            waits = order is None or (isinstance(event, events.PaymentRefunded) and event.payment_id not in captures)
            waiting_count += waits
            for currency, measure, amount in _measures(event, order):
                self.accepted[currency, measure] += amount
                self.waiting[currency, measure] += amount * waits
            if order is not None and not waits:
                booked.append(event)
                time_ms = max(event.occurred_at_ms, order.occurred_at_ms)  # type: ignore[union-attr]
                for currency, measure, amount in _measures(event, order):
                    self.revenue[order.merchant_id, currency, time_ms - time_ms % MINUTE_MS][measure] += amount
        if order is not None:
            self.order_status[order.order_id] = _status(order, booked)
        return waiting_count


def _measures(event: events.Record, order: events.OrderPlaced | None) -> Iterator[tuple[str, str, int]]:
    """Give (currency, measure, amount) that ``event`` adds to the minute of its delta; a failed payment adds none."""
    if isinstance(event, events.OrderPlaced):
        yield event.currency, "orders_count", 1
        yield event.currency, "gross_minor", event.amount_minor
    elif isinstance(event, events.PaymentCaptured):
        yield event.currency, "captured_minor", event.amount_minor
    elif isinstance(event, events.PaymentRefunded):
        yield event.currency, "refunded_minor", event.amount_minor
    elif isinstance(event, events.OrderCancelled) and order is not None:
        yield order.currency, "cancelled_minor", order.amount_minor


def _status(order: events.OrderPlaced, booked: list[events.Record]) -> events.OrderStatus:
    captured_minor = sum(event.amount_minor for event in booked if isinstance(event, events.PaymentCaptured))
    refunded_minor = sum(event.amount_minor for event in booked if isinstance(event, events.PaymentRefunded))
    cancelled_at_ms = next((event.occurred_at_ms for event in booked if isinstance(event, events.OrderCancelled)), None)
    status = "placed"
    if cancelled_at_ms is not None:
        status = "cancelled"
    elif captured_minor > 0 and refunded_minor == captured_minor:
        status = "refunded"
    elif captured_minor >= order.amount_minor:
        status = "captured"
    elif captured_minor > 0:
        status = "partially_captured"
    return events.OrderStatus(
        order_id=order.order_id,
        merchant_id=order.merchant_id,
        customer_id=order.customer_id,
        currency=order.currency,
        status=status,
        amount_minor=order.amount_minor,
        captured_minor=captured_minor,
        refunded_minor=refunded_minor,
        refund_due=cancelled_at_ms is not None and captured_minor > refunded_minor,
        failures_count=sum(isinstance(event, events.PaymentFailed) for event in booked),
        placed_at_ms=order.occurred_at_ms,
        cancelled_at_ms=cancelled_at_ms,
        updated_at_ms=max(event.occurred_at_ms for event in booked),  # type: ignore[union-attr]
        revision=len(booked),
    )
