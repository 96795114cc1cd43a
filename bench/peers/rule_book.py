"""The rule book as the peers in Python use it: what they are told, what a record is, what time it is, what a minute's row says.

They differ in how records come, where state is kept, and how outputs leave; none of that is here, and no client.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias

import msgspec

from agents.envelope import Envelope, refusal
from agents.flows import MINUTE_MS
from agents.ports import Limits
from agents.settlement.decide import Times
from schemas import codec, topics
from schemas.events import Event, MerchantRevenue
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS, Topic

TOLD_MS = 1_000
"""Watermarks go from stage to stage in whole seconds."""

Place: TypeAlias = tuple[str, str, int]
"""A minute of a merchant in a currency: merchant_id, currency, start in milliseconds."""
Amounts: TypeAlias = tuple[int, ...]
"""orders_count, gross, captured, refunded, cancelled."""


class Told(msgspec.Struct, frozen=True):
    """What the harness tells a peer in Python."""

    bootstrap: str
    prefix: str
    state: str
    limits: dict[str, int]
    future_max_ms: int
    transaction_timeout_ms: int
    session_timeout_ms: int


def told() -> Told:
    """Read it from ``PEER_TOLD`` in the environment."""
    return msgspec.json.decode(os.environ["PEER_TOLD"], type=Told)


class Dead(NamedTuple):
    """Why a record is a dead letter."""

    error_class: str
    reason: str

    def headers(self, topic: str) -> dict[str, bytes]:
        """Give the headers of the letter."""
        return {
            "__streams.errors.topic": topic.encode(),
            "__tally.errors.class": self.error_class.encode(),
            "__tally.errors.reason": self.reason.encode(),
        }


class Received(NamedTuple):
    """A record as it came; ``appended_at_ms`` is the broker's time of it."""

    key: bytes | None
    value: bytes | None
    partition: int
    appended_at_ms: int


def opened(received: Received, source: Topic, future_max_ms: int) -> Event | Dead:
    """Give the event in a record, once its envelope is right."""
    try:
        event: Any = codec.decode(received.value)
    except codec.Undecodable as error:
        return Dead("undecodable", error.reason)
    if type(event) not in source.values:
        return Dead("undecodable", "unexpected_type")
    envelope = Envelope(
        received.key, event.order_id.encode(), received.partition, partition_of(event.order_id, PARTITIONS),
        received.appended_at_ms, future_max_ms,
    )  # fmt: skip
    refused = refusal(envelope, event)
    return event if refused is None else Dead("envelope", refused.reason)


class Clock(msgspec.Struct):
    """Event time of one settlement task: the newest of both inputs, the watermark, and how far it has told the windows."""

    newest_order_ms: int = 0
    newest_payment_ms: int = 0
    watermark_ms: int = 0
    told_ms: int = 0

    def times(self, source: Topic, limits: Limits) -> Times:
        """Give what the rules are told of the time."""
        newest_ms = self.newest_order_ms if source is topics.ORDERS else self.newest_payment_ms
        reached_ms = max(newest_ms, self.watermark_ms)
        oldest_ms, over_ms = reached_ms - limits.dedup_horizon_ms, reached_ms - limits.grace_ms - MINUTE_MS
        return Times(self.watermark_ms, max(oldest_ms, 0), max(over_ms, 0))

    def note(self, source: Topic, occurred_at_ms: int) -> None:
        """Take the time of an applied event."""
        if source is topics.ORDERS:
            self.newest_order_ms = max(self.newest_order_ms, occurred_at_ms)
        else:
            self.newest_payment_ms = max(self.newest_payment_ms, occurred_at_ms)
        self.watermark_ms = max(self.watermark_ms, min(self.newest_order_ms, self.newest_payment_ms))

    def tell(self) -> int | None:
        """Give the second that is to be told to the windows; None when it was told before."""
        told_ms = self.watermark_ms - self.watermark_ms % TOLD_MS
        if told_ms <= self.told_ms:
            return None
        self.told_ms = told_ms
        return told_ms


def added(known: Amounts, more: Amounts) -> Amounts:
    """Give the sums of two."""
    return tuple(a + b for a, b in zip(known, more, strict=True))


def minute_row(place: Place, status: str, revision: int, sums: Amounts) -> tuple[bytes, MerchantRevenue]:
    """Give key and row of a minute."""
    merchant_id, currency, minute_ms = place
    orders_count, gross, captured, refunded, cancelled = sums
    row = MerchantRevenue(
        merchant_id, currency, minute_ms, minute_ms + MINUTE_MS, status, revision, orders_count, gross, captured, refunded,
        cancelled, captured - refunded,
    )  # fmt: skip
    return row_key(merchant_id, currency, window_start_ms=minute_ms).encode(), row
