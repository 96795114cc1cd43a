"""The records of Tally as frozen Python values, one class per Avro record in ``avro/``.

Times are integers in milliseconds since 1970 UTC and carry ``_ms``; in Avro the same field is a
``timestamp-millis`` without the suffix. Amounts are integers in minor units of their currency.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, field

from schemas.aggregates import (
    ControlTotals,
    CustomerAlert,
    CustomerRevenue,
    PaymentsByMethod,
    ProductRevenue,
    RevenueAdjustment,
    TimeToCapture,
    TopProducts,
    UnpaidOrder,
)


class OrderLine(Struct, frozen=True):
    """One line of an order: ``quantity`` units of ``sku``."""

    sku: str
    quantity: int
    unit_price_minor: int


class OrderPlaced(Struct, frozen=True, tag=True):
    """A customer placed an order; ``amount_minor`` is the sum of its lines."""

    event_id: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    source: str
    customer_id: str
    merchant_id: str
    currency: str
    amount_minor: int
    lines: tuple[OrderLine, ...]


class OrderCancelled(Struct, frozen=True, tag=True):
    """An order was cancelled as a whole."""

    event_id: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    source: str


class PaymentCaptured(Struct, frozen=True, tag=True):
    """Money was taken for an order."""

    event_id: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    source: str
    payment_id: str
    method: str
    amount_minor: int
    currency: str


class PaymentFailed(Struct, frozen=True, tag=True):
    """An attempt to take money failed; nothing moved."""

    event_id: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    source: str
    payment_id: str
    method: str
    amount_minor: int
    currency: str


class PaymentRefunded(Struct, frozen=True, tag=True):
    """Money of one capture (``payment_id``) was given back."""

    event_id: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    source: str
    refund_id: str
    payment_id: str
    amount_minor: int
    currency: str


Event: TypeAlias = OrderPlaced | OrderCancelled | PaymentCaptured | PaymentFailed | PaymentRefunded


class OrderCapture(Struct, frozen=True):
    """One capture of an order, and what was given back of it, the last at ``refunded_at_ms``."""

    payment_id: str
    method: str
    captured_at_ms: int = field(name="captured_at")
    captured_minor: int
    refunded_minor: int
    refunded_at_ms: int | None = field(name="refunded_at", default=None)


class OrderStatus(Struct, frozen=True, tag=True):
    """Where one order stands."""

    order_id: str
    merchant_id: str
    customer_id: str
    currency: str
    status: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    refund_due: bool
    failures_count: int
    placed_at_ms: int = field(name="placed_at")
    cancelled_at_ms: int | None = field(name="cancelled_at")
    updated_at_ms: int = field(name="updated_at")
    revision: int
    captures: tuple[OrderCapture, ...] = ()


class Source(Struct, frozen=True):
    """One task that a :class:`Deltas` speaks for: the epoch of its marker in the same transaction, and its event time."""

    partition: int
    epoch: int
    watermark_ms: int = field(name="watermark")
    idle: bool


class Cell(Struct, frozen=True):
    """What is added to one minute of one set of dimensions; both tuples in the order that the flow declares."""

    dimensions: tuple[str, ...]
    minute_ms: int = field(name="minute")
    amounts: tuple[int, ...]


class FlowDeltas(Struct, frozen=True):
    """What is added to one flow of ``agents/flows.py``."""

    flow: str
    cells: tuple[Cell, ...]


class Deltas(Struct, frozen=True, tag=True):
    """What one epoch of one worker adds to the windows of one target partition, and how far its sources are in event time."""

    sources: tuple[Source, ...]
    flows: tuple[FlowDeltas, ...]


class MerchantRevenue(Struct, frozen=True, tag=True):
    """Totals of one merchant, currency and window (``window_end_ms`` is exclusive)."""

    merchant_id: str
    currency: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    orders_count: int
    gross_minor: int
    captured_minor: int
    refunded_minor: int
    cancelled_minor: int
    net_minor: int = 0


class UnmatchedPayment(Struct, frozen=True, tag=True):
    """A payment event that was accepted, waited, and could not be booked."""

    event_id: str
    event_type: str
    order_id: str
    occurred_at_ms: int = field(name="occurred_at")
    payment_id: str
    amount_minor: int
    currency: str
    reason: str


class InputPosition(Struct, frozen=True):
    """Where one epoch began and ended on one input partition; ``next_offset`` is exclusive."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int


class TaskMarker(Struct, frozen=True, tag=True):
    """What one epoch of one task stood for (invariant I3), and whether the task goes on (``streams/judgement.py``)."""

    format_version: int
    epoch: int
    worker: str
    positions: tuple[InputPosition, ...]
    counters: dict[str, int]
    recent: bytes = b""
    paused: str = ""
    probe_records: int = 0
    probe_left: int = 0
    probe_dead: int = 0


class DeadLetterDone(Struct, frozen=True, tag=True):
    """What an operator did about one dead letter: ``action`` is replayed, mended or parked."""

    address: str
    digest: str
    action: str
    at_ms: int = field(name="at")
    by: str
    because: str
    went_to: str


class VersionStarted(Struct, frozen=True, tag=True):
    """A version that reads the inputs anew: compared from ``since_ms``, read from ``read_from_ms`` on; 0 is the beginning."""

    version: str
    since_ms: int = field(name="since")
    read_from_ms: int = field(name="read_from")
    started_at_ms: int = field(name="started_at")


class CurrentVersion(Struct, frozen=True, tag=True):
    """Which version readers are to read."""

    version: str
    switched_at_ms: int = field(name="switched_at")


Record: TypeAlias = (
    OrderPlaced
    | OrderCancelled
    | PaymentCaptured
    | PaymentFailed
    | PaymentRefunded
    | OrderStatus
    | Deltas
    | MerchantRevenue
    | ProductRevenue
    | TopProducts
    | PaymentsByMethod
    | TimeToCapture
    | CustomerRevenue
    | CustomerAlert
    | UnpaidOrder
    | RevenueAdjustment
    | UnmatchedPayment
    | ControlTotals
    | TaskMarker
    | DeadLetterDone
    | VersionStarted
    | CurrentVersion
)

MEASURES = ("orders_count", "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor")
"""The measures of revenue, in the order of the Avro fields; counts, and sums in minor units."""
