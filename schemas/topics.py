"""Every topic, declared once: what it is for, its key, its records, how it is kept.

Names here are without the prefix that a deployment may set; :meth:`Topic.named` adds it. A version of a deployment (a
reprocess) reads the same inputs and has all other topics of its own; :meth:`Topic.of` gives them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas import aggregates, events

PARTITIONS = 12
"""Of every topic: tasks are numbered by partition, so inputs, changelogs and outputs agree."""

DAY_MS = 24 * 60 * 60 * 1000
MAX_INPUT_BYTES = 1_048_588
"""Kafka's own default for one record batch; what a producer may send."""
MAX_CHANGELOG_BYTES = 4 * 1_048_588
"""One order's state at the limits of ``agents/settlement/decide.py`` is 3.1 MB at most; a third more."""
MAX_DEAD_LETTER_BYTES = 2 * 1_048_588
"""The largest input and its headers, and what we add: reason, sentence, 8 KiB of stack trace."""
LIVE = "v1"
"""The version without a name of its own: what a deployment has been from its beginning."""
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
    """One topic. ``retention_ms`` is None for topics that are kept for ever; these, and tables, are compacted.

    ``shared`` topics are the same ones for every version; ``version`` is whose the topic is, empty for the live one.

    What readers must know beside the fields' own docs: ``rows`` says which rows may repeat and when one is final, ``dimensions``
    are the fields that totals can be grouped by, and ``units`` has those of the measures whose names end with none.
    """

    name: str
    kind: Kind
    meaning: str
    key: str
    values: tuple[type[events.Record], ...]
    partitions: int = PARTITIONS
    retention_ms: int | None = None
    max_message_bytes: int = MAX_INPUT_BYTES
    dead_letters: str | None = None
    is_table: bool = False
    shared: bool = False
    version: str = ""
    rows: str = ""
    dimensions: tuple[str, ...] = ()
    units: tuple[tuple[str, str], ...] = ()

    def named(self, prefix: str) -> str:
        """Give the topic's name on the cluster: ``prod.v2.order-status``."""
        return f"{prefix}{self.version}.{self.name}" if self.version else prefix + self.name

    def of(self, version: str) -> Topic:
        """Give the same topic of a version; empty is the live one, as ``v1`` is."""
        return self if self.shared or version in {"", LIVE} else replace(self, version=version)

    @property
    def is_compacted(self) -> bool:
        """Tell whether the broker keeps the last record of each key, and may drop those before it."""
        return self.retention_ms is None or self.is_table

    @property
    def config(self) -> dict[str, str]:
        """Topic configuration for the broker; every value explicit."""
        config = {"max.message.bytes": str(self.max_message_bytes)}
        policies = []
        if self.is_compacted:
            policies.append("compact")
            config["delete.retention.ms"] = str(TOMBSTONE_RETENTION_MS)
        if self.retention_ms is not None:
            policies.append("delete")
            config["retention.ms"] = str(self.retention_ms)
        config["cleanup.policy"] = ",".join(policies)
        if self.kind is Kind.INPUT:
            # The broker's clock, not the producer's, says when a record came.
            config["message.timestamp.type"] = "LogAppendTime"
        return config


_EVENT_ROWS = (
    "As producers sent them: the same event may stand here several times, and counts once, by its event_id; some are rejected. "
    "So add up outputs, never these."
)
_WINDOW_ROWS = (
    "The last row per key is the window; earlier ones are its history, and compaction takes them away: never add up rows of one "
    "key. Rows are `provisional`, each with a greater `revision`, until exactly one is `final`: when the watermark has passed "
    "`window_end` by the grace. Nothing follows it; what comes later is on `revenue-adjustments`."
)
_EACH_ROW_COUNTS = "Each row is final, is written once and counts; a key may have several."


def _windows(name: str, meaning: str, dimensions: str, row: type[events.Record], days: int) -> Topic:
    """Give a topic of windows: the last record per key is the table, and rows are kept for so many days."""
    by = tuple(dimensions.split("|"))
    key = f"{dimensions}|window_start; partition by {by[0]}"
    return Topic(
        name, Kind.OUTPUT, meaning, key, (row,), retention_ms=days * DAY_MS, is_table=True, rows=_WINDOW_ROWS, dimensions=by
    )


ORDERS = Topic(
    "orders", Kind.INPUT, "what happens to orders", "order_id",
    (events.OrderPlaced, events.OrderCancelled), retention_ms=30 * DAY_MS, dead_letters="orders.dlq",
    shared=True, rows=_EVENT_ROWS,
)  # fmt: skip
PAYMENTS = Topic(
    "payments", Kind.INPUT, "what happens to the money of orders", "order_id",
    (events.PaymentCaptured, events.PaymentFailed, events.PaymentRefunded), retention_ms=30 * DAY_MS, dead_letters="payments.dlq",
    shared=True, rows=_EVENT_ROWS,
)  # fmt: skip
ORDER_STATUS = Topic(
    "order-status", Kind.OUTPUT, "where each order stands", "order_id", (events.OrderStatus,),
    rows="The last row per order is its state; earlier ones are its history, and compaction takes them away. `revision` counts "
    "the events that were booked; a row may come again unchanged, with the same one, when an event of its order waits. No row is "
    "final: a refund may come months later.",
    dimensions=("order_id", "merchant_id", "customer_id", "currency", "status", "captures.payment_id", "captures.method"),
)  # fmt: skip
REVENUE_BY_MERCHANT_1M = _windows(
    "revenue-by-merchant-1m", "totals per merchant, currency and minute", "merchant_id|currency",
    events.MerchantRevenue, days=90,
)  # fmt: skip
REVENUE_BY_MERCHANT_1H = _windows(
    "revenue-by-merchant-1h", "totals per merchant, currency and hour", "merchant_id|currency",
    events.MerchantRevenue, days=800,
)  # fmt: skip
REVENUE_BY_MERCHANT_1D = _windows(
    "revenue-by-merchant-1d", "totals per merchant, currency and day (UTC)", "merchant_id|currency",
    events.MerchantRevenue, days=3660,
)  # fmt: skip
REVENUE_BY_PRODUCT_1H = _windows(
    "revenue-by-product-1h", "units and gross per merchant, currency, product and hour", "merchant_id|currency|sku",
    aggregates.ProductRevenue, days=800,
)  # fmt: skip
TOP_PRODUCTS_1H = _windows(
    "top-products-1h", "the ten products that sold best, per merchant, currency and hour", "merchant_id|currency",
    aggregates.TopProducts, days=800,
)  # fmt: skip
PAYMENTS_BY_METHOD_1M = _windows(
    "payments-by-method-1m", "attempts, captures and failures per merchant, payment method and minute", "merchant_id|method",
    aggregates.PaymentsByMethod, days=90,
)  # fmt: skip
TIME_TO_CAPTURE_1H = _windows(
    "time-to-capture-1h", "how long orders took to be paid, per merchant and hour", "merchant_id",
    aggregates.TimeToCapture, days=800,
)  # fmt: skip
CUSTOMERS_1D = _windows(
    "customers-1d", "orders per customer, currency and day (UTC)", "customer_id|currency",
    aggregates.CustomerRevenue, days=800,
)  # fmt: skip
ALERTS = _windows(
    "alerts",
    "customers who order more than is usual within an hour; hours begin every ten minutes, so what lies within 50 minutes "
    "is always seen together, and what spreads over 50 to 60 may not be",
    "customer_id|currency",
    aggregates.CustomerAlert, days=90,
)  # fmt: skip
REVENUE_ADJUSTMENTS = Topic(
    "revenue-adjustments", Kind.OUTPUT, "money that moved too late for its windows, and is in none", "dimensions and minute",
    (aggregates.RevenueAdjustment,), retention_ms=3_660 * DAY_MS,
    rows=f"{_EACH_ROW_COUNTS} Add the amounts of a flow, its dimensions and minute to the final row of every window that has the "
    "minute in it. Where they cannot be added (ranks, quantiles, rates), they say what the row lacks.",
    dimensions=("flow", "dimensions"), units=(("amounts", "by measure: minor units, or a count"),),
)  # fmt: skip
UNPAID_ORDERS = Topic(
    "unpaid-orders", Kind.OUTPUT, "orders of which nothing was paid in time", "order_id",
    (aggregates.UnpaidOrder,), retention_ms=365 * DAY_MS,
    rows="One row per order at most, final when it comes. A payment that comes later does not take it back: see `order-status`.",
    dimensions=("order_id", "merchant_id", "customer_id", "currency"),
)  # fmt: skip
UNMATCHED_PAYMENTS = Topic(
    "unmatched-payments", Kind.OUTPUT, "accepted payment events that could not be booked", "order_id",
    (events.UnmatchedPayment,), retention_ms=365 * DAY_MS,
    rows=f"{_EACH_ROW_COUNTS} One per event; sent again under a new event_id, it is another event.",
    dimensions=("order_id", "payment_id", "currency", "event_type", "reason"),
)  # fmt: skip
CONTROL_TOTALS = Topic(
    "control-totals", Kind.OUTPUT, "what each task has counted: all money and all records, and where they are", "task",
    (aggregates.ControlTotals,),
    rows="The last row per task is what it has counted since its first record; earlier ones are its history. None is final. Add "
    "up the last rows of all tasks.",
    dimensions=("task", "accounts.currency", "accounts.measure"),
    units=(
        *((name, "records") for name in ("consumed", "applied", "duplicates", "dead", "dead_by_reason")),
        *((f"accounts.{name}", "minor units, or a count") for name in aggregates.AccountTotals.__struct_fields__[2:]),
    ),
)  # fmt: skip
REVENUE_DELTAS = Topic(
    "revenue-deltas", Kind.INTERNAL, "what settlement adds to the windows of merchants, and how far it is in event time",
    "the stage; partition by merchant_id", (events.Deltas,), retention_ms=7 * DAY_MS, max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
CUSTOMER_DELTAS = Topic(
    "customer-deltas", Kind.INTERNAL, "what settlement adds to the windows of customers, and how far it is in event time",
    "the stage; partition by customer_id", (events.Deltas,), retention_ms=7 * DAY_MS, max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
SETTLEMENT_CHANGELOG = Topic(
    "settlement-changelog", Kind.CHANGELOG, "state of the settlement tasks", "table/key",
    (events.TaskMarker,), max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
REVENUE_CHANGELOG = Topic(
    "revenue-changelog", Kind.CHANGELOG, "state of the revenue tasks", "table/key",
    (events.TaskMarker,), max_message_bytes=MAX_CHANGELOG_BYTES,
)  # fmt: skip
CUSTOMERS_CHANGELOG = Topic(
    "customers-changelog", Kind.CHANGELOG, "state of the customers tasks", "table/key",
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
VERSIONS = Topic(
    "versions", Kind.INTERNAL, "which versions there are, and which one readers are to read", "the version, or current",
    (events.VersionStarted, events.CurrentVersion), shared=True,
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    ORDERS,
    PAYMENTS,
    ORDER_STATUS,
    REVENUE_BY_MERCHANT_1M,
    REVENUE_BY_MERCHANT_1H,
    REVENUE_BY_MERCHANT_1D,
    REVENUE_BY_PRODUCT_1H,
    TOP_PRODUCTS_1H,
    PAYMENTS_BY_METHOD_1M,
    TIME_TO_CAPTURE_1H,
    CUSTOMERS_1D,
    ALERTS,
    REVENUE_ADJUSTMENTS,
    UNPAID_ORDERS,
    UNMATCHED_PAYMENTS,
    CONTROL_TOTALS,
    REVENUE_DELTAS,
    CUSTOMER_DELTAS,
    SETTLEMENT_CHANGELOG,
    REVENUE_CHANGELOG,
    CUSTOMERS_CHANGELOG,
    ORDERS_DLQ,
    PAYMENTS_DLQ,
    DEAD_LETTERS_DONE,
    VERSIONS,
)
BY_NAME = {topic.name: topic for topic in TOPICS}
INPUTS = tuple(topic for topic in TOPICS if topic.kind is Kind.INPUT)

MARKER_KEY = b"!marker"
"""Key of the task marker in a changelog partition; table names are lower case, so no row has it."""
