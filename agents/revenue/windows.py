"""What is added up per merchant. Each line is an aggregate; ``schemas/topics.py`` says what it means. Pure."""

from __future__ import annotations

from agents.flows import ATTEMPTS, DELAYS, MINUTE_MS, MONEY, PRODUCTS
from agents.ports import Limits
from agents.quantiles import quantiles
from agents.windows.declared import COUNTS, DAY_MS, HOUR_MS, Window, best
from agents.windows.watermarks import watermarks_of
from schemas import topics
from schemas.aggregates import RankedProduct

BEST_MAX = 10
"""What fits on a screen; the topic's meaning says it, so it is no setting."""


def with_net(sums: tuple[int, ...], _: Limits) -> tuple[int, ...]:
    """Add what was captured less what was refunded."""
    captured_minor, refunded_minor = sums[2:4]
    return (*sums, captured_minor - refunded_minor)


def rates(sums: tuple[int, ...], _: Limits) -> tuple[float, ...]:
    """Give attempts, captures, failures, and the share of attempts that failed."""
    captures, failures = sums
    return captures + failures, captures, failures, failures / (captures + failures)


def delays(counts: dict[int, int], _: Limits) -> tuple[int, ...]:
    """Give how many captures there were, and how long half of them, 95 and 99 of a hundred took at most, in milliseconds."""
    return sum(counts.values()), *quantiles(counts, (0.5, 0.95, 0.99))


def products(ranks: tuple[tuple[str, tuple[int, ...]], ...], _: Limits) -> tuple[tuple[RankedProduct, ...]]:
    """Give the products, the best first."""
    return (tuple(RankedProduct(sku, *sums) for sku, sums in ranks),)


MERCHANT, CURRENCY = "merchant_id", "currency"
BY_PRODUCT = Window(topics.REVENUE_BY_PRODUCT_1H, of=PRODUCTS, by=(MERCHANT, CURRENCY, "sku"), size_ms=HOUR_MS)

REVENUE = (
    Window(topics.REVENUE_BY_MERCHANT_1M, of=MONEY, by=(MERCHANT, CURRENCY), size_ms=MINUTE_MS, measures=with_net),
    Window(topics.REVENUE_BY_MERCHANT_1H, of=MONEY, by=(MERCHANT, CURRENCY), size_ms=HOUR_MS, measures=with_net),
    Window(topics.REVENUE_BY_MERCHANT_1D, of=MONEY, by=(MERCHANT, CURRENCY), size_ms=DAY_MS, measures=with_net),
    BY_PRODUCT,
    Window(
        topics.TOP_PRODUCTS_1H, of=BY_PRODUCT, by=(MERCHANT, CURRENCY), size_ms=HOUR_MS,
        adding=best(BEST_MAX, place=PRODUCTS.measures.index("gross_minor")), measures=products,
    ),
    Window(topics.PAYMENTS_BY_METHOD_1M, of=ATTEMPTS, by=(MERCHANT, "method"), size_ms=MINUTE_MS, measures=rates),
    Window(topics.TIME_TO_CAPTURE_1H, of=DELAYS, by=(MERCHANT,), size_ms=HOUR_MS, adding=COUNTS, measures=delays),
)  # fmt: skip
WATERMARKS = watermarks_of("revenue")
