"""The rows of the aggregates and of what belongs to them, as frozen Python values; see ``events.py`` for the rules."""

from __future__ import annotations

from msgspec import Struct, field


class ProductRevenue(Struct, frozen=True, tag=True):
    """Sales of one merchant's product in one window."""

    merchant_id: str
    currency: str
    sku: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    units_count: int
    gross_minor: int


class RankedProduct(Struct, frozen=True):
    """One of the products that sold best."""

    sku: str
    units_count: int
    gross_minor: int


class TopProducts(Struct, frozen=True, tag=True):
    """The products of one merchant that sold best in one window: by gross, the most first; of equal ones by sku."""

    merchant_id: str
    currency: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    products: tuple[RankedProduct, ...]


class PaymentsByMethod(Struct, frozen=True, tag=True):
    """How one merchant's customers tried to pay in one window; ``failure_rate`` is failures by attempts."""

    merchant_id: str
    method: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    attempts_count: int
    captures_count: int
    failures_count: int
    failure_rate: float


class TimeToCapture(Struct, frozen=True, tag=True):
    """How long one merchant's orders took to be paid, by captures of one window; quantiles are right to one percent."""

    merchant_id: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    captures_count: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class CustomerRevenue(Struct, frozen=True, tag=True):
    """Orders of one customer in one window."""

    customer_id: str
    currency: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    orders_count: int
    gross_minor: int


class CustomerAlert(Struct, frozen=True, tag=True):
    """A customer who ordered more than is usual in one window; ``because`` is orders, gross or orders+gross."""

    customer_id: str
    currency: str
    window_start_ms: int = field(name="window_start")
    window_end_ms: int = field(name="window_end")
    status: str
    revision: int
    orders_count: int
    gross_minor: int
    because: str


class UnpaidOrder(Struct, frozen=True, tag=True):
    """An order of which nothing had been paid at ``unpaid_at_ms``."""

    order_id: str
    merchant_id: str
    customer_id: str
    currency: str
    amount_minor: int
    placed_at_ms: int = field(name="placed_at")
    unpaid_at_ms: int = field(name="unpaid_at")


class RevenueAdjustment(Struct, frozen=True, tag=True):
    """Money that moved too late for its windows, and is in none; ``reason`` is late or final."""

    flow: str
    dimensions: dict[str, str]
    minute_ms: int = field(name="minute")
    amounts: dict[str, int]
    event_id: str
    event_type: str
    reason: str


class AccountTotals(Struct, frozen=True):
    """Where one measure of one currency is, as one task has counted it; in minor units, or a count."""

    currency: str
    measure: str
    accepted: int
    booked: int
    windowed: int
    waiting: int
    adjusted: int
    unmatched: int


class ControlTotals(Struct, frozen=True, tag=True):
    """What one task has counted since its first record, as of its ``epoch``."""

    task: str
    epoch: int
    consumed: int
    applied: int
    duplicates: int
    dead: int
    dead_by_reason: dict[str, int]
    accounts: tuple[AccountTotals, ...]
