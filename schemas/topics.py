"""Every topic, declared once: what it is for, its key, its records, how it is kept.

Names here are without the prefix that a deployment may set; :meth:`Topic.named` adds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas import events

PARTITIONS = 12
"""Of every topic: tasks are numbered by partition, so inputs, changelogs and outputs agree."""

DAY_MS = 24 * 60 * 60 * 1000
MAX_INPUT_BYTES = 1_048_588
"""Kafka's own default for one record batch; what a producer may send."""
MAX_CHANGELOG_BYTES = 4 * 1_048_588
"""One order's state at the limits of ``agents/settlement/decide.py`` is 3.1 MB at most; a third more."""
MAX_DEAD_LETTER_BYTES = 2 * 1_048_588
"""The largest input and its headers, and what we add: reason, sentence, 8 KiB of stack trace."""
TOMBSTONE_RETENTION_MS = 7 * DAY_MS
"""How long a changelog keeps tombstones; a store left alone for half of it is rebuilt from zero."""


class Kind(StrEnum):
    """What a topic is for."""

    INPUT = "input"
    OUTPUT = "output"
    INTERNAL = "internal"
    CHANGELOG = "changelog"
    DLQ = "dlq"


@dataclass(frozen=True)
class Topic:
    """One topic. ``retention_ms`` is None for topics that are compacted instead."""

    name: str
    kind: Kind
    meaning: str
    key: str
    values: tuple[type[events.Record], ...]
    partitions: int = PARTITIONS
    retention_ms: int | None = None
    max_message_bytes: int = MAX_INPUT_BYTES
    dead_letters: str | None = None

    def named(self, prefix: str) -> str:
        """Give the topic's name on the cluster."""
        return prefix + self.name

    @property
    def config(self) -> dict[str, str]:
        """Topic configuration for the broker; every value explicit."""
        config = {"max.message.bytes": str(self.max_message_bytes)}
        if self.retention_ms is None:
            config["cleanup.policy"] = "compact"
            config["delete.retention.ms"] = str(TOMBSTONE_RETENTION_MS)
        else:
            config["cleanup.policy"] = "delete"
            config["retention.ms"] = str(self.retention_ms)
        if self.kind is Kind.INPUT:
            # The broker's clock, not the producer's, says when a record came.
            config["message.timestamp.type"] = "LogAppendTime"
        return config


ORDERS = Topic(
    "orders", Kind.INPUT, "what happens to orders", "order_id",
    (events.OrderPlaced, events.OrderCancelled), retention_ms=30 * DAY_MS, dead_letters="orders.dlq",
)  # fmt: skip
PAYMENTS = Topic(
    "payments", Kind.INPUT, "what happens to the money of orders", "order_id",
    (events.PaymentCaptured, events.PaymentFailed, events.PaymentRefunded), retention_ms=30 * DAY_MS, dead_letters="payments.dlq",
)  # fmt: skip
ORDER_STATUS = Topic("order-status", Kind.OUTPUT, "where each order stands", "order_id", (events.OrderStatus,))
REVENUE_BY_MERCHANT_1M = Topic(
    "revenue-by-merchant-1m", Kind.OUTPUT, "totals per merchant, currency and minute",
    "merchant_id|currency|window_start; partition by merchant_id", (events.MerchantRevenue,),
)  # fmt: skip
UNMATCHED_PAYMENTS = Topic(
    "unmatched-payments", Kind.OUTPUT, "accepted payment events that could not be booked", "order_id",
    (events.UnmatchedPayment,), retention_ms=365 * DAY_MS,
)  # fmt: skip
REVENUE_DELTAS = Topic(
    "revenue-deltas", Kind.INTERNAL, "from settlement to revenue, by merchant", "merchant_id",
    (events.RevenueDelta,), retention_ms=7 * DAY_MS,
)  # fmt: skip
SETTLEMENT_CHANGELOG = Topic(
    "settlement-changelog", Kind.CHANGELOG, "state of the settlement tasks", "table/key",
    (events.TaskMarker,), max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
REVENUE_CHANGELOG = Topic(
    "revenue-changelog", Kind.CHANGELOG, "state of the revenue tasks", "table/key",
    (events.TaskMarker,), max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
ORDERS_DLQ = Topic(
    "orders.dlq", Kind.DLQ, "what could not be processed of orders", "as it came", ORDERS.values,
    retention_ms=30 * DAY_MS, max_message_bytes=MAX_DEAD_LETTER_BYTES,
)  # fmt: skip
PAYMENTS_DLQ = Topic(
    "payments.dlq", Kind.DLQ, "what could not be processed of payments", "as it came", PAYMENTS.values,
    retention_ms=30 * DAY_MS, max_message_bytes=MAX_DEAD_LETTER_BYTES,
)  # fmt: skip
DEAD_LETTERS_DONE = Topic(
    "dead-letters-done", Kind.INTERNAL, "what operators did about dead letters", "topic/partition@offset of the letter",
    (events.DeadLetterDone,), retention_ms=365 * DAY_MS,
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    ORDERS,
    PAYMENTS,
    ORDER_STATUS,
    REVENUE_BY_MERCHANT_1M,
    UNMATCHED_PAYMENTS,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    REVENUE_CHANGELOG,
    ORDERS_DLQ,
    PAYMENTS_DLQ,
    DEAD_LETTERS_DONE,
)
BY_NAME = {topic.name: topic for topic in TOPICS}
INPUTS = tuple(topic for topic in TOPICS if topic.kind is Kind.INPUT)

MARKER_KEY = b"!marker"
"""Key of the task marker in a changelog partition; table names are lower case, so no row has it."""
