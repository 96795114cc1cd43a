"""What is right, from what was sent and nothing else.

The expectation of each record says what becomes of it; what rows the accepted ones make is said by ``reference.py`` and
``reference_orders.py``. No rule is shared with the agents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from connectors.reference import Booked, booked
from connectors.reference_orders import order_status
from connectors.sources.sent import OTHER_CONTENT, Applied, Dead, DeadOrUnmatched, Duplicate, Late, Plan, Unmatched
from schemas import codec, events
from schemas.topics import Topic

Money: TypeAlias = Counter[tuple[str, str]]
"""(currency, measure) to minor units, or to a count for ``orders_count``."""
Identity: TypeAlias = tuple[Topic, bytes | None, bytes | None]
"""Topic, key and value of a record as it was sent."""


@dataclass(frozen=True)
class Truth:
    """The right answer. ``racing`` are records that may be dead letters or unmatched rows: one of both, once.

    ``unmatched`` are rows, once each. Neither is among the ``accepted`` events, nor in the counts and sums.
    ``late_ids`` are the event ids of those accepted that came too late for all windows.
    """

    accepted: tuple[events.Event, ...]
    late_ids: frozenset[str]
    dead_letters: dict[Identity, tuple[Dead, ...]]
    racing: dict[Identity, DeadOrUnmatched]
    unmatched: dict[Identity, Unmatched]
    sent_count: int
    applied_count: int
    duplicates_count: int
    other_content_count: int
    dead_count: int

    @cached_property
    def booked(self) -> list[Booked]:
        """What the aggregates are made of."""
        return booked(self.accepted)

    @cached_property
    def waiting(self) -> list[events.Event]:
        """What was accepted and is not booked: its order, or its capture, never came."""
        counts = {each.event.event_id for each in self.booked}
        return [event for event in self.accepted if event.event_id not in counts]

    @cached_property
    def order_status(self) -> dict[str, events.OrderStatus]:
        """The row of each order."""
        return order_status(self.booked)

    @cached_property
    def accepted_money(self) -> Money:
        """All that was accepted; a cancellation counts when its order is there, because nobody knows before what it is worth."""
        return money_of(self.booked) + waiting_money(self.waiting)

    @property
    def dead_by_reason(self) -> Counter[str]:
        """How many dead letters each reason has, without the racing ones."""
        return Counter(dead.reason for letters in self.dead_letters.values() for dead in letters)


def truth_of(plan: Plan) -> Truth:
    """Give the truth of ``plan``: pure, one pass over what was sent."""
    counts: Counter[type] = Counter()
    accepted: list[events.Event] = []
    late_ids: set[str] = set()
    dead_letters: dict[Identity, tuple[Dead, ...]] = {}
    racing: dict[Identity, DeadOrUnmatched] = {}
    unmatched: dict[Identity, Unmatched] = {}
    other_content_count = 0
    for sent in plan.sent:
        counts[type(sent.expected)] += 1
        identity = (sent.topic, sent.key, sent.value)
        match sent.expected:
            case Applied() | Late():
                event: events.Event = codec.decode(sent.value)  # type: ignore[assignment]
                accepted.append(event)
                if isinstance(sent.expected, Late):
                    late_ids.add(event.event_id)
            case Dead():
                dead_letters[identity] = (*dead_letters.get(identity, ()), sent.expected)
            case DeadOrUnmatched():
                racing[identity] = sent.expected
            case Unmatched():
                unmatched[identity] = sent.expected
            case Duplicate():
                other_content_count += sent.expected == OTHER_CONTENT
    return Truth(
        tuple(accepted), frozenset(late_ids), dead_letters, racing, unmatched, len(plan.sent), len(accepted),
        counts[Duplicate], other_content_count, counts[Dead],
    )  # fmt: skip


def money_of(known: Iterable[Booked]) -> Money:
    """Give the sums of what is booked."""
    sums: Money = Counter()
    for _, event, order in known:
        for measure, amount in _measures(event, order):
            sums[order.currency, measure] += amount
    return sums


def waiting_money(waiting: Iterable[events.Event]) -> Money:
    """Give the sums of what waits."""
    sums: Money = Counter()
    for event in waiting:
        for measure, amount in _measures(event, None):
            sums[event.currency, measure] += amount  # type: ignore[union-attr]
    return sums


def _measures(event: events.Event, order: events.OrderPlaced | None) -> Iterator[tuple[str, int]]:
    """Give (measure, amount) of the money that ``event`` moves; a failed payment moves none."""
    match event:
        case events.OrderPlaced():
            yield "orders_count", 1
            yield "gross_minor", event.amount_minor
        case events.PaymentCaptured():
            yield "captured_minor", event.amount_minor
        case events.PaymentRefunded():
            yield "refunded_minor", event.amount_minor
        case events.OrderCancelled() if order is not None:
            yield "cancelled_minor", order.amount_minor
