"""Bad records of every kind, each with the reason that its dead letter must carry."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from connectors.sources.draft import HOLD_MS, Draft
from connectors.sources.sent import Dead, DeadOrUnmatched
from schemas import codec, events
from schemas.partitioning import partition_of
from schemas.topics import DAY_MS, ORDERS, PARTITIONS, PAYMENTS, Topic

UNDECODABLE_KINDS: Final = tuple(reason for reason in codec.REASONS if reason not in {"malformed", "incompatible_schema"})
"""``malformed`` needs bytes that only a fuzzer finds; the property tests have it."""
ENVELOPE_KINDS: Final = ("key_missing", "key_mismatch", "misrouted", "from_the_future")
RULE_KINDS: Final = (
    "beyond_horizon",
    "amount_not_positive",
    "amount_mismatch",
    "currency_mismatch",
    "unknown_currency",
    "order_already_placed",
    "already_cancelled",
    "payment_already_captured",
    "refund_exceeds_capture",
)
KINDS: Final = UNDECODABLE_KINDS + ENVELOPE_KINDS + RULE_KINDS


BEYOND_HORIZON_MS: Final = 8 * DAY_MS
"""A day more than the horizon that workers have unless it is set."""
CENTURY_MS: Final = 36_524 * 24 * 60 * 60 * 1_000
"""Far enough ahead of any broker's clock, whatever the plan's own start is."""


class Faults:
    """Adds bad records to a draft; their hosts are among its first ``regular`` records."""

    def __init__(self, draft: Draft, regular: int) -> None:
        self.draft = draft
        self.regular = regular
        self.rng = draft.rng

    def add(self, count: int) -> None:
        """Add ``count`` bad records, each kind in turn; a kind whose host the plan is too small for is left out."""
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            try:
                if kind in UNDECODABLE_KINDS:
                    self._undecodable(kind, number)
                elif kind in ENVELOPE_KINDS:
                    self._envelope(kind, number)
                else:
                    _RULES[kind](self, number)
            except LookupError:
                continue

    def _somewhere(self) -> float:
        return self.draft.begin_ms + self.rng.random() * (self.draft.end_ms - self.draft.begin_ms)

    def _after(self, index: int) -> float:
        """A place behind host ``index`` and behind its order, however long that was held back."""
        return self.draft.at[index] + HOLD_MS + 1 + self.rng.random() * HOLD_MS

    def _order_id(self, number: int) -> str:
        return f"o-{self.draft.seed}-bad-{number:04d}"

    def _capture(self, number: int) -> events.PaymentCaptured:
        """A new payment of a regular order."""
        _, order = self.draft.pick(events.OrderPlaced, self.regular)
        at_ms = self.draft.later(order.occurred_at_ms)
        payment_id = f"p-{self.draft.seed}-bad-{number:04d}"
        return events.PaymentCaptured(
            self.draft.event_id(), order.order_id, at_ms, "psp", payment_id, "card", order.amount_minor, order.currency
        )

    def _rule(self, at: float, event: events.Event, reason: str) -> None:
        self.draft.add(at, event, Dead("rule", reason))

    def _undecodable(self, reason: str, number: int) -> None:
        topic: Topic = (ORDERS, PAYMENTS)[number // len(KINDS) % 2]
        order = self.draft.placed(self._order_id(number), int(self._somewhere()))
        capture = msgspec.structs.replace(self._capture(number), order_id=order.order_id)
        good = codec.encode(order if topic is ORDERS else capture)
        key: bytes | None = order.order_id.encode()
        value: bytes | None = good
        if reason == "null_value":
            value = None
        elif reason == "no_magic_byte":
            value = f'{{"order_id": "{order.order_id}"}}'.encode()
            key = None if number // len(KINDS) % 2 else key
        elif reason == "unknown_schema_id":
            value = struct.pack(">bI", 0, 9_999) + good[5:]
        elif reason == "truncated":
            value = good[: len(good) - 1 - int(self.rng.random() * 20)]
        elif reason == "trailing_bytes":
            value = good + b"\x00\x01"
        elif reason == "invalid_utf8":
            value = good.replace(b"shop", b"\xc3\x28op").replace(b"psp", b"\xff\xfep")
        elif reason == "unexpected_type":
            value = codec.encode(capture if topic is ORDERS else order)
        self.draft.add_raw(self._somewhere(), topic, key, value, Dead("undecodable", reason))

    def _envelope(self, reason: str, number: int) -> None:
        """A good event in a record that must not be decided. Half of them repeat a regular one, which must stay booked once."""
        if number // len(KINDS) % 2:
            index, order = self.draft.pick(events.OrderPlaced, self.regular)
            at: float = self._after(index)
        else:
            order = self.draft.placed(self._order_id(number), int(self._somewhere()))
            at = order.occurred_at_ms
        key: bytes | None = order.order_id.encode()
        partition = None
        if reason == "key_missing":
            key = None
        elif reason == "key_mismatch":
            key = order.merchant_id.encode()
        elif reason == "misrouted":
            right = partition_of(order.order_id, PARTITIONS)
            partition = (right + 1 + number % (PARTITIONS - 1)) % PARTITIONS
        else:
            at_ms = order.occurred_at_ms + CENTURY_MS
            order = msgspec.structs.replace(order, event_id=self.draft.event_id(), occurred_at_ms=at_ms)
        self.draft.add_raw(at, ORDERS, key, codec.encode(order), Dead("envelope", reason), partition)

    def _amount_not_positive(self, number: int) -> None:
        if number // len(KINDS) % 3 == 0:
            capture = self._capture(number)
            wrong = msgspec.structs.replace(capture, amount_minor=-capture.amount_minor)
            self._rule(capture.occurred_at_ms, wrong, "amount_not_positive")
            return
        order = self.draft.placed(self._order_id(number), int(self._somewhere()))
        if number // len(KINDS) % 3 == 1:
            line = events.OrderLine("sku-free", 1, 0)
            order = msgspec.structs.replace(order, amount_minor=0, lines=(line,))
        else:
            line = events.OrderLine("sku-none", 0, 100)  # adds nothing, so the sum is right and only the quantity is wrong
            order = msgspec.structs.replace(order, lines=(*order.lines, line))
        self._rule(order.occurred_at_ms, order, "amount_not_positive")

    def _amount_mismatch(self, number: int) -> None:
        order = self.draft.placed(self._order_id(number), int(self._somewhere()))
        wrong = msgspec.structs.replace(order, amount_minor=order.amount_minor + 1)
        self._rule(order.occurred_at_ms, wrong, "amount_mismatch")

    def _currency_mismatch(self, number: int) -> None:
        capture = self._capture(number)
        other = "SEK" if number % 2 else "NOK"  # no merchant's
        wrong = msgspec.structs.replace(capture, currency=other)
        self.draft.add(capture.occurred_at_ms, wrong, DeadOrUnmatched("currency_mismatch"))

    def _beyond_horizon(self, number: int) -> None:
        """A new event of an order, of long before what was accepted of the same order on the same topic."""
        if number // len(KINDS) % 2:
            index, order = self.draft.pick(events.OrderPlaced, self.regular)
            at_ms = order.occurred_at_ms - BEYOND_HORIZON_MS
            event: events.Event = events.OrderCancelled(self.draft.event_id(), order.order_id, at_ms, "desk")
        else:
            index, capture = self.draft.pick(events.PaymentCaptured, self.regular)
            at_ms, payment_id = capture.occurred_at_ms - BEYOND_HORIZON_MS, f"p-{self.draft.seed}-bad-{number:04d}"
            event = msgspec.structs.replace(capture, event_id=self.draft.event_id(), payment_id=payment_id, occurred_at_ms=at_ms)
        self._rule(self._after(index), event, "beyond_horizon")

    def _unknown_currency(self, number: int) -> None:
        capture = self._capture(number)
        self._rule(capture.occurred_at_ms, msgspec.structs.replace(capture, currency="XXQ"), "unknown_currency")

    def _order_already_placed(self, _number: int) -> None:
        index, order = self.draft.pick(events.OrderPlaced, self.regular)
        lines = (*order.lines, events.OrderLine("sku-more", 1, 100))
        other = msgspec.structs.replace(order, event_id=self.draft.event_id(), lines=lines, amount_minor=order.amount_minor + 100)
        self._rule(self._after(index), other, "order_already_placed")

    def _already_cancelled(self, _number: int) -> None:
        index, cancelled = self.draft.pick(events.OrderCancelled, self.regular)
        again = msgspec.structs.replace(
            cancelled, event_id=self.draft.event_id(), occurred_at_ms=self.draft.later(cancelled.occurred_at_ms)
        )
        self._rule(self._after(index), again, "already_cancelled")

    def _payment_already_captured(self, _number: int) -> None:
        index, capture = self.draft.pick(events.PaymentCaptured, self.regular)
        again = msgspec.structs.replace(capture, event_id=self.draft.event_id())
        self._rule(self._after(index), again, "payment_already_captured")

    def _refund_exceeds_capture(self, number: int) -> None:
        index, capture = self.draft.pick(events.PaymentCaptured, self.regular)
        refund_id = f"r-{self.draft.seed}-bad-{number:04d}"
        refund = events.PaymentRefunded(
            self.draft.event_id(), capture.order_id, self.draft.later(capture.occurred_at_ms), "psp", refund_id,
            capture.payment_id, capture.amount_minor + 1, capture.currency,
        )  # fmt: skip
        self._rule(self._after(index), refund, "refund_exceeds_capture")


_RULES: Final[dict[str, Callable[[Faults, int], None]]] = {kind: getattr(Faults, f"_{kind}") for kind in RULE_KINDS}
