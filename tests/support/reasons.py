"""One case for every reason for which a record can be refused: what breaks it, how it is cured, what must be right then.

Each case has an order and a merchant of its own, so that its totals are its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.settlement.decide import MAX_EVENTS_PER_ORDER
from schemas.codec import encode
from schemas.documents import document_of
from schemas.events import Event, OrderCancelled, OrderLine, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded
from schemas.partitioning import partition_of
from schemas.topics import ORDERS, PARTITIONS, PAYMENTS, Topic

HOUR_MS = 3_600_000
MONTH_MS = 30 * 24 * HOUR_MS


class Make:
    """The events of one case, at one time."""

    def __init__(self, reason: str, now_ms: int) -> None:
        self.reason = reason
        self.order_id = f"o-{reason}"
        self.merchant_id = f"m-{reason}"
        self.at_ms = now_ms - HOUR_MS

    def placed(self, *, order_id: str = "", amount_minor: int = 1_000, line_minor: int = 1_000) -> OrderPlaced:
        order_id = order_id or self.order_id
        lines = (OrderLine("sku", 1, line_minor),)
        return OrderPlaced(
            f"placed-{order_id}-{line_minor}", order_id, self.at_ms, "shop", "c-1", self.merchant_id, "EUR", amount_minor, lines
        )

    def captured(
        self, *, event_id: str = "captured", payment_id: str = "p-1", amount_minor: int = 700, currency: str = "EUR",
        at_ms: int | None = None,
    ) -> PaymentCaptured:  # fmt: skip
        at = self.at_ms if at_ms is None else at_ms
        name = f"{event_id}-{self.reason}"
        return PaymentCaptured(name, self.order_id, at, "pay", payment_id, "card", amount_minor, currency)

    def refunded(self, *, event_id: str = "refunded", refund_id: str = "r-1", amount_minor: int = 200) -> PaymentRefunded:
        name = f"{event_id}-{self.reason}"
        return PaymentRefunded(name, self.order_id, self.at_ms, "pay", refund_id, "p-1", amount_minor, "EUR")

    def failed(self, number: int) -> PaymentFailed:
        return PaymentFailed(f"f-{number}-{self.reason}", self.order_id, self.at_ms, "pay", "p-1", "card", 700, "EUR")

    def cancelled(self, event_id: str) -> OrderCancelled:
        return OrderCancelled(f"{event_id}-{self.reason}", self.order_id, self.at_ms, "shop")


@dataclass(frozen=True)
class Bad:
    """The record that is refused. ``partition`` None is the one that murmur2 gives the key."""

    value: bytes | None
    topic: Topic = PAYMENTS
    key: bytes | None = None
    partition: int | None = None


@dataclass(frozen=True)
class Totals:
    """What the merchant's minutes must sum up to in the end."""

    orders_count: int = 1
    gross_minor: int = 1_000
    captured_minor: int = 700
    refunded_minor: int = 0
    cancelled_minor: int = 0


@dataclass(frozen=True)
class Replayed:
    """Cured by sending it back as it is."""


@dataclass(frozen=True)
class Mended:
    """Cured by other fields, or by a whole document."""

    changes: tuple[str, ...] = ()
    document: dict[str, Any] | None = None


@dataclass(frozen=True)
class Parked:
    """Nothing to cure: it is a repeat."""


@dataclass(frozen=True)
class Case:
    """``before`` is applied first; then ``bad`` is refused, and cured."""

    before: tuple[Event, ...]
    bad: Bad
    cure: Replayed | Mended | Parked
    totals: Totals = Totals()


def _bad(make: Make, event: Event, **other: Any) -> Bad:
    """Give a record that is right but for its event, and what is said to be other."""
    topic = next(topic for topic in (ORDERS, PAYMENTS) if type(event) in topic.values)
    return Bad(**{"value": encode(event), "topic": topic, "key": make.order_id.encode(), **other})


def _unreadable(damage: Callable[[bytes], bytes | None]) -> Callable[[Make], Case]:
    """Give a case of a capture whose bytes are damaged; only the whole document cures it."""

    def case(make: Make) -> Case:
        event = make.captured()
        return Case((make.placed(),), _bad(make, event, value=damage(encode(event))), Mended(document=document_of(event)))

    return case


def _key_missing(make: Make) -> Case:
    partition = partition_of(make.order_id, PARTITIONS)
    return Case((make.placed(),), _bad(make, make.captured(), key=None, partition=partition), Replayed())


def _key_mismatch(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(), key=b"p-1"), Replayed())


def _misrouted(make: Make) -> Case:
    wrong = (partition_of(make.order_id, PARTITIONS) + 1) % PARTITIONS
    return Case((make.placed(),), _bad(make, make.captured(), partition=wrong), Replayed())


def _from_the_future(make: Make) -> Case:
    ahead = make.captured(at_ms=make.at_ms + 24 * HOUR_MS)
    return Case((make.placed(),), _bad(make, ahead), Mended((f"occurred_at={make.at_ms}",)))


def _bad_id(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(payment_id="")), Mended(("payment_id=p-1",)))


def _bad_time(make: Make) -> Case:
    seconds = make.captured(at_ms=make.at_ms // 1_000)
    return Case((make.placed(),), _bad(make, seconds), Mended((f"occurred_at={make.at_ms}",)))


def _beyond_horizon(make: Make) -> Case:
    old = make.captured(at_ms=make.at_ms - MONTH_MS)
    return Case((make.placed(), make.failed(1)), _bad(make, old), Mended((f"occurred_at={make.at_ms}",)))


def _order_full(make: Make) -> Case:
    other = make.placed(order_id=f"{make.order_id}-2")
    failures = [make.failed(number) for number in range(1, MAX_EVENTS_PER_ORDER)]
    before: tuple[Event, ...] = (make.placed(), *failures, other)
    cure = Mended((f"order_id={other.order_id}",))
    return Case(before, _bad(make, make.captured()), cure, Totals(orders_count=2, gross_minor=2_000))


def _amount_not_positive(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(amount_minor=-700)), Mended(("amount_minor=700",)))


def _amount_too_large(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(amount_minor=7 * 10**12)), Mended(("amount_minor=700",)))


def _unknown_currency(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(currency="eur")), Mended(("currency=EUR",)))


def _amount_mismatch(make: Make) -> Case:
    wrong = make.placed(amount_minor=900)
    cure = Mended(("lines[0].quantity=1", "amount_minor=1000"))
    return Case((make.captured(),), _bad(make, wrong), cure)


def _order_already_placed(make: Make) -> Case:
    other = make.placed(line_minor=300, amount_minor=300)
    cure = Mended((f"order_id={make.order_id}-2",))
    totals = Totals(orders_count=2, gross_minor=1_300, captured_minor=0)
    return Case((make.placed(),), _bad(make, other), cure, totals)


def _currency_mismatch(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(currency="SEK")), Mended(("currency=EUR",)))


def _payment_already_captured(make: Make) -> Case:
    second = make.captured(event_id="second", amount_minor=300)
    return Case((make.placed(), make.captured()), _bad(make, second), Mended(("payment_id=p-2",)), Totals(captured_minor=1_000))


def _refund_already_booked(make: Make) -> Case:
    before = (make.placed(), make.captured(), make.refunded())
    second = make.refunded(event_id="second", amount_minor=100)
    return Case(before, _bad(make, second), Mended(("refund_id=r-2",)), Totals(refunded_minor=300))


def _refund_exceeds_capture(make: Make) -> Case:
    before = (make.placed(), make.captured())
    return Case(before, _bad(make, make.refunded(amount_minor=701)), Mended(("amount_minor=701", "amount_minor=700")),
                Totals(refunded_minor=700))  # fmt: skip


def _already_cancelled(make: Make) -> Case:
    before = (make.placed(), make.captured(), make.cancelled("first"))
    return Case(before, _bad(make, make.cancelled("again")), Parked(), Totals(cancelled_minor=1_000))


def _unexpected_type(make: Make) -> Case:
    return Case((make.placed(),), _bad(make, make.captured(), topic=ORDERS), Replayed())


CASES: dict[str, Callable[[Make], Case]] = {
    "key_missing": _key_missing,
    "key_mismatch": _key_mismatch,
    "misrouted": _misrouted,
    "from_the_future": _from_the_future,
    "bad_id": _bad_id,
    "bad_time": _bad_time,
    "beyond_horizon": _beyond_horizon,
    "order_full": _order_full,
    "amount_not_positive": _amount_not_positive,
    "amount_too_large": _amount_too_large,
    "unknown_currency": _unknown_currency,
    "amount_mismatch": _amount_mismatch,
    "order_already_placed": _order_already_placed,
    "currency_mismatch": _currency_mismatch,
    "payment_already_captured": _payment_already_captured,
    "refund_already_booked": _refund_already_booked,
    "refund_exceeds_capture": _refund_exceeds_capture,
    "already_cancelled": _already_cancelled,
    "null_value": _unreadable(lambda value: None),
    "no_magic_byte": _unreadable(lambda value: json.dumps({"bytes": value.hex()}).encode()),
    "unknown_schema_id": _unreadable(lambda value: b"\0" + (4711).to_bytes(4, "big") + value[5:]),
    "truncated": _unreadable(lambda value: value[:-1]),
    "trailing_bytes": _unreadable(lambda value: value + b"\0"),
    "invalid_utf8": _unreadable(lambda value: value.replace(b"card", b"c\xff\xfed")),
    "unexpected_type": _unexpected_type,
}
"""By reason, in the order of README's tables."""
UNREACHED = {"malformed", "incompatible_schema"}
"""Reasons that no bytes lead to: what does not fit texts and numbers ends too early; only a registry knows other schemas."""
