"""The regular life of made-up orders: placed, paid in attempts and parts, cancelled, refunded; early, late and repeated."""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final, TypeVar

import msgspec

from connectors.sources.sent import APPLIED, DUPLICATE, OTHER_CONTENT, Expectation, Sent, Unmatched
from schemas import codec, events
from schemas.catalogue import NEWEST
from schemas.topics import DAY_MS, ORDERS, PAYMENTS, Topic

E = TypeVar("E", bound=events.Event)

SPAN_MS: Final = 20 * 60_000
"""Event times lie in this span before ``start_ms``: some 800 rows of 40 merchants' minutes."""
TAIL_MS: Final = 2 * 60_000
"""The last of the span, in which nothing new is ordered, so that what follows an order fits in."""
ATTEMPTS_FAILED_MAX: Final = 3
"""Then the customer gives up on failing and pays, or does not pay at all."""
BUSY_CUSTOMER: Final = 9_600
"""Who places what ten thousand customers would but for this number of others: four percent, more than is usual."""
OTHER_CONTENT_AT: Final = 2
"""Which of twenty repeats has the event id of a regular event and other content."""
HOLD_MS: Final = 2 * 60_000
"""How late an order may be sent behind its payments: a tenth of the plan, thousands of records."""

SKEW_MS: Final = 90_000
"""How far the clock of a producer may be behind another's; less than any grace in use."""


@dataclass(frozen=True)
class Merchant:
    """Who sells, and in which currencies."""

    merchant_id: str
    currencies: tuple[str, ...]


_HOME = ("EUR", "USD", "GBP", "JPY", "EUR", "USD", "EUR", "KWD")
MERCHANTS: Final = (
    Merchant("m-1", ("EUR",)),
    Merchant("m-2", ("USD", "EUR")),
    *(Merchant(f"m-{n}", (_HOME[n % len(_HOME)],)) for n in range(3, 40)),
    Merchant("m-40|Zürich % Süd", ("CHF",)),  # every character that a row key must escape
)
_SHARES = list(accumulate(1 / (rank + 3) for rank in range(len(MERCHANTS))))  # zipf-like, with a head that is not too steep


class Draft:
    """What is planned so far: each record with its place in the sending order, in milliseconds of event time."""

    def __init__(self, rng: random.Random, seed: int, start_ms: int, early_ratio: float) -> None:
        self.rng = rng
        self.seed = seed
        self.begin_ms = start_ms - SPAN_MS
        self.end_ms = start_ms
        self.early_ratio = early_ratio
        self.sent: list[Sent] = []
        self.at: list[float] = []

    def in_order(self) -> list[Sent]:
        """Give the records in sending order; of two at the same place the one made first goes first."""
        return [self.sent[index] for index in sorted(range(len(self.sent)), key=self.at.__getitem__)]

    def happens(self, probability: float) -> bool:
        """Throw the dice: true with ``probability``, 0 to 1."""
        return self.rng.random() < probability

    def event_id(self) -> str:
        """Give a new event id: 32 hex characters."""
        return f"{self.rng.getrandbits(128):032x}"

    def add(self, at: float, event: events.Event, expected: Expectation = APPLIED) -> None:
        """Put ``event`` on its own topic at place ``at``, milliseconds of event time."""
        topic = ORDERS if type(event) in ORDERS.values else PAYMENTS
        self.sent.append(Sent(topic, event.order_id.encode(), codec.encode(event), expected))
        self.at.append(at)

    def add_raw(
        self, at: float, topic: Topic, key: bytes | None, value: bytes | None, expected: Expectation, partition: int | None = None
    ) -> None:
        """Put any bytes at place ``at``."""
        self.sent.append(Sent(topic, key, value, expected, partition))
        self.at.append(at)

    def placed(self, order_id: str, occurred_at_ms: int) -> events.OrderPlaced:
        """Make an order of one to three lines of a random merchant."""
        chance = self.rng.random
        merchant = MERCHANTS[bisect(_SHARES, chance() * _SHARES[-1])]
        currency = merchant.currencies[0 if self.happens(0.8) else -1]
        lines = tuple(
            events.OrderLine(f"sku-{int(chance() * 500)}", 1 + int(chance() * 3), 50 + int(chance() * 9_950))
            for _ in range(1 + int(chance() * 2.5))
        )
        amount_minor = sum(line.quantity * line.unit_price_minor for line in lines)
        customer_id = f"c-{min(int(chance() * 10_000), BUSY_CUSTOMER)}"
        return events.OrderPlaced(
            self.event_id(), order_id, occurred_at_ms, "shop", customer_id, merchant.merchant_id, currency, amount_minor, lines
        )

    def order(self, number: int) -> None:
        """Add one order and all that happens to it."""
        chance = self.rng.random
        order = self.placed(f"o-{self.seed}-{number:06d}", self.begin_ms + int(chance() * (SPAN_MS - TAIL_MS)))
        early = self.happens(self.early_ratio)
        # A held order leaves after its latest payment could have been sent, or in the middle of them.
        self.add(order.occurred_at_ms + (chance() * HOLD_MS if early else 0), order)
        at_ms = order.occurred_at_ms + 200
        cancelled = self.happens(0.1)
        cancel_first = cancelled and self.happens(0.5)  # the money moves all the same, so a refund is due
        if cancel_first:
            at_ms = self.cancel(order, at_ms)
        paid = self.captures(order, at_ms) if self.happens(0.95) else []
        at_ms = max([at_ms, *(capture.occurred_at_ms for capture in paid)])
        if cancelled and not cancel_first:
            at_ms = self.cancel(order, at_ms)
        if paid and self.happens(0.6 if cancelled else 0.25):
            self.refunds(paid, at_ms)

    def later(self, at_ms: int) -> int:
        """Give a time up to a quarter of a minute after ``at_ms``, never after the end."""
        return min(at_ms + 1 + int(self.rng.random() * 15_000), self.end_ms)

    def cancel(self, order: events.OrderPlaced, at_ms: int) -> int:
        """Add a cancellation some time after ``at_ms`` and give its time."""
        at_ms = self.later(at_ms)
        self.add(at_ms, events.OrderCancelled(self.event_id(), order.order_id, at_ms, "desk"))
        return at_ms

    def captures(self, order: events.OrderPlaced, at_ms: int) -> list[events.PaymentCaptured]:
        """Add failed attempts and the captures after them: one, or two parts, of which the second may never come."""
        chance = self.rng.random
        method = ("card", "card", "wallet", "transfer")[int(chance() * 4)]
        attempt = 0
        while attempt < ATTEMPTS_FAILED_MAX and self.happens(0.32):
            at_ms, attempt = self.later(at_ms), attempt + 1
            self.add(
                at_ms,
                events.PaymentFailed(
                    self.event_id(), order.order_id, at_ms, "psp", f"p{order.order_id[1:]}-{attempt}", method,
                    order.amount_minor, order.currency,
                ),
            )  # fmt: skip
        parts = [order.amount_minor]
        if self.happens(0.18):
            first = 1 + int(chance() * (order.amount_minor - 1))
            parts = [first, order.amount_minor - first] if self.happens(0.8) else [first]
        paid = []
        for amount_minor in parts:
            at_ms, attempt = self.later(at_ms), attempt + 1
            capture = events.PaymentCaptured(
                self.event_id(),
                order.order_id,
                at_ms,
                "psp",
                f"p{order.order_id[1:]}-{attempt}",
                method,
                amount_minor,
                order.currency,
            )
            self.add(at_ms, capture)
            paid.append(capture)
        return paid

    def refunds(self, paid: list[events.PaymentCaptured], at_ms: int) -> None:
        """Give back all of every capture, or one or two parts of one."""
        chance = self.rng.random
        whole = self.happens(0.5)
        for capture in paid:
            parts = [capture.amount_minor]
            if not whole and capture.amount_minor > 1:
                first = 1 + int(chance() * (capture.amount_minor // 2))
                second = 1 + int(chance() * (capture.amount_minor - first))
                parts = [first, second] if self.happens(0.5) else [first]
            for part, amount_minor in enumerate(parts):
                at_ms = self.later(at_ms)
                # A few are sent ahead of their capture and wait for it.
                ahead = self.happens(0.02)
                refund = events.PaymentRefunded(
                    self.event_id(), capture.order_id, at_ms, "psp", f"r{capture.payment_id[1:]}-{part}", capture.payment_id,
                    amount_minor, capture.currency,
                )  # fmt: skip
                self.add(capture.occurred_at_ms - 1_000 if ahead else at_ms, refund)

    def duplicates(self, count: int, regular: int) -> None:
        """Send ``count`` records again, byte for byte, and among them some orders again under a new event id."""
        chance = self.rng.random
        last = max(self.at)
        for number in range(count):
            soon = number % 2 == 0
            if number % 20 == 1:
                index, order = self.pick(events.OrderPlaced, regular)
                again = events.OrderPlaced(
                    self.event_id(), order.order_id, order.occurred_at_ms, "shop-retry", order.customer_id, order.merchant_id,
                    order.currency, order.amount_minor, order.lines,
                )  # fmt: skip
                self.add(self.at[index] + chance() * HOLD_MS, again, DUPLICATE)
                continue
            index = int(chance() * regular)
            at = self.at[index] + chance() * 2_000 if soon else max(self.at[index], last - chance() * 0.1 * SPAN_MS)
            sent = self.sent[index]
            if number % 20 == OTHER_CONTENT_AT:
                changed = msgspec.structs.replace(codec.decode(sent.value), source="retry")
                self.add_raw(at, sent.topic, sent.key, codec.encode(changed), OTHER_CONTENT)
            else:
                self.add_raw(at, sent.topic, sent.key, sent.value, DUPLICATE)

    def never_ordered(self, count: int) -> None:
        """Add ``count`` payments whose order, or refunds whose capture, never comes: they wait to the end."""
        for number in range(count):
            at_ms = self.begin_ms + int(self.rng.random() * SPAN_MS)
            order_id, payment_id = f"o-{self.seed}-never-{number:04d}", f"p-{self.seed}-never-{number:04d}"
            amount_minor = 1 + int(self.rng.random() * 10_000)
            if number % 4 == 1:
                refund_id = f"r-{self.seed}-never-{number:04d}"
                event: events.Event = events.PaymentRefunded(
                    self.event_id(), order_id, at_ms, "psp", refund_id, payment_id, amount_minor, "EUR"
                )
            else:
                event = events.PaymentCaptured(self.event_id(), order_id, at_ms, "psp", payment_id, "card", amount_minor, "EUR")
            self.add(at_ms, event)

    def waited_too_long(self, count: int, regular: int) -> None:
        """Add ``count`` refunds dated yesterday, of captures that never come, for orders whose other events are of today.

        Both inputs of the order's partition have gone on by a day, so they are given up as soon as they are seen.
        """
        for number in range(count):
            try:
                index, capture = self.pick(events.PaymentCaptured, regular)
            except LookupError:
                return
            name = f"{self.seed}-yesterday-{number:04d}"
            refund = events.PaymentRefunded(
                self.event_id(), capture.order_id, self.begin_ms - DAY_MS - HOLD_MS, "psp", f"r-{name}", f"p-{name}",
                1 + int(self.rng.random() * 10_000), capture.currency,
            )  # fmt: skip
            self.add(self.at[index] + HOLD_MS, refund, Unmatched("waited_too_long"))

    def skewed(self, count: int) -> None:
        """Add ``count`` orders whose payments are dated before them, by a producer whose clock is behind."""
        for number in range(count):
            order = self.placed(
                f"o-{self.seed}-skewed-{number:04d}", self.begin_ms + int(self.rng.random() * (SPAN_MS - TAIL_MS))
            )
            self.add(order.occurred_at_ms, order)
            at, behind_ms = float(order.occurred_at_ms), 1 + int(self.rng.random() * SKEW_MS)
            for kind, method in ((events.PaymentFailed, "wallet"), (events.PaymentCaptured, "card")):
                at += 1 + self.rng.random() * 1_000
                payment_id = f"p{order.order_id[1:]}-{method}"
                payment = kind(
                    self.event_id(), order.order_id, int(at) - behind_ms, "psp", payment_id, method, order.amount_minor,
                    order.currency,
                )  # fmt: skip
                self.add(at, payment)

    def pick(self, wanted: type[E], regular: int) -> tuple[int, E]:
        """Give a random one of the first ``regular`` records that is a ``wanted``, with its index.

        Raises:
            LookupError: when the plan has none (it is too small).
        """
        schema_id = NEWEST[wanted].schema_id
        start = int(self.rng.random() * regular)
        for index in chain(range(start, regular), range(start)):
            value = self.sent[index].value
            if value is not None and value[4] == schema_id:
                event = codec.decode(value)
                if isinstance(event, wanted):
                    return index, event
        raise LookupError(f"no {wanted.__name__} among {regular} records: plan more orders")
