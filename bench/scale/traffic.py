"""Orders that live before a run, as a function of their numbers; and the payments and cancellations that come for them. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from bench.scale.rows import HOT_SHARE, Row
from connectors.reference import Booked
from connectors.sources.draft import MERCHANTS, SPAN_MS, Draft
from connectors.sources.sent import APPLIED, DUPLICATE, Sent
from schemas import codec
from schemas.events import Event, OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded
from schemas.topics import ORDERS, PAYMENTS

BEGIN_MS = 1_795_000_000_000 - SPAN_MS
"""When the first event of a run occurs; all occur within a plan's twenty minutes. Nothing is of the future."""
PLACED_MS = 5 * 60_000
"""Before that the live orders were placed: too late for any to be told unpaid within the run, which is half an hour."""
CANCEL_EVERY = 50
"""Of so many events one cancels an order: enough to move the clock of the other input in every task."""
CANCEL_STRIDE = 7_919
"""A prime, so that cancellations go through all orders before any is met again."""
CAPTURES_MAX = 3
"""Of one order: what comes for it after these are failures, which add least to its state."""
HOT_EVENTS_MAX = 900
"""Of a hot order: it is full with 1,000, and more than a few hundred dead letters pause a task."""
REPEATED_FROM = 20_000
"""A repeat is of one of so many events before it."""
HOT_MERCHANT = MERCHANTS[2]


class LiveOrders:
    """``count`` orders, each made of its number whenever it is asked for: millions of them take no memory."""

    def __init__(self, row: Row, seed: int) -> None:
        self.count = row.live_keys
        self._hot_share = HOT_SHARE if row.hot == "merchant" else 0.0
        self._seed = seed
        self._draft = Draft(random.Random(seed), seed, BEGIN_MS, early_ratio=0)

    def order(self, number: int) -> OrderPlaced:
        """Give the order of this number, 0 to ``count`` - 1; the same one every time."""
        draft = self._draft
        draft.rng.seed(self._seed * self.count + number)
        at_ms = BEGIN_MS - PLACED_MS + number * PLACED_MS // self.count
        order = draft.placed(f"o-{self._seed}-live-{number:07d}", at_ms)
        if draft.happens(self._hot_share):
            return replace(order, merchant_id=HOT_MERCHANT.merchant_id, currency=HOT_MERCHANT.currencies[0])
        return order

    def __iter__(self) -> Iterator[OrderPlaced]:
        """Give all of them, by number."""
        return (self.order(number) for number in range(self.count))


@dataclass
class _Touched:
    """What was sent for one order."""

    order: OrderPlaced
    refundable: list[PaymentCaptured] = field(default_factory=list)
    captures_count: int = 0
    events: list[Sent] = field(default_factory=list)


@dataclass
class Traffic:
    """What is sent, and what of it counts, in order."""

    sent: list[Sent] = field(default_factory=list)
    counts: list[Booked] = field(default_factory=list)
    touched: dict[int, OrderPlaced] = field(default_factory=dict)


class _Till:
    """Makes the events. Each is valid when it comes, as those of one order come in order."""

    def __init__(self, orders: LiveOrders, row: Row, seed: int) -> None:
        self._orders = orders
        self._row = row
        self._rng = random.Random(seed)
        self._touched: dict[int, _Touched] = {}
        self._new: list[Sent] = []
        self.traffic = Traffic()

    def add(self, number: int, at_ms: int) -> None:
        """Add the event of this number."""
        rng = self._rng
        if self._new and rng.random() < self._row.duplicates:
            return self._repeat(rng.choice(self._new[-REPEATED_FROM:]))
        cancels_count, is_cancel = divmod(number, CANCEL_EVERY)
        if is_cancel == 0 and cancels_count < self._orders.count:
            order_number = cancels_count * CANCEL_STRIDE % self._orders.count
            order = self._of(order_number).order
            return self._add(order_number, OrderCancelled(self._id(), order.order_id, at_ms, "desk"))
        order_number = rng.randrange(self._orders.count)
        if self._row.hot == "order" and rng.random() < HOT_SHARE:
            order_number = 0
            known = self._of(0).events
            if len(known) >= HOT_EVENTS_MAX:
                return self._repeat(rng.choice(known))
        return self._add(order_number, self._payment(self._of(order_number), at_ms))

    def _payment(self, touched: _Touched, at_ms: int) -> Event:
        rng, order = self._rng, touched.order
        dice = rng.random()
        if touched.refundable and dice < 0.2:
            of = touched.refundable.pop()
            part_minor = 1 + rng.randrange(of.amount_minor)
            return PaymentRefunded(
                self._id(), order.order_id, at_ms, "psp", self._id(), of.payment_id, part_minor, order.currency
            )  # fmt: skip
        kind = PaymentCaptured if dice < 0.75 and touched.captures_count < CAPTURES_MAX else PaymentFailed
        part_minor = 1 + rng.randrange(order.amount_minor)
        payment = kind(self._id(), order.order_id, at_ms, "psp", self._id(), "card", part_minor, order.currency)
        if isinstance(payment, PaymentCaptured):
            touched.refundable.append(payment)
            touched.captures_count += 1
        return payment

    def _add(self, number: int, event: Event) -> None:
        touched = self._of(number)
        topic = ORDERS if type(event) in ORDERS.values else PAYMENTS
        sent = Sent(topic, event.order_id.encode(), codec.encode(event), APPLIED)
        touched.events.append(sent)
        self._new.append(sent)
        self.traffic.sent.append(sent)
        self.traffic.counts.append(Booked(event.occurred_at_ms, event, touched.order))

    def _repeat(self, sent: Sent) -> None:
        self.traffic.sent.append(replace(sent, expected=DUPLICATE))

    def _of(self, number: int) -> _Touched:
        touched = self._touched.get(number)
        if touched is None:
            touched = self._touched[number] = _Touched(self._orders.order(number))
            self.traffic.touched[number] = touched.order
        return touched

    def _id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"


def traffic(orders: LiveOrders, row: Row, events_count: int, seed: int) -> Traffic:
    """Give ``events_count`` events for live orders taken at random, and repeats among them."""
    till = _Till(orders, row, seed)
    for number in range(events_count):
        till.add(number, BEGIN_MS + number * SPAN_MS // events_count)
    return till.traffic
