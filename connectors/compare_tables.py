"""Compares tables with the truth: one row per order, one row per window, the last record of a key. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec

from connectors import reference
from connectors.ground_truth import Truth
from connectors.reader import ReadRecord
from connectors.reference import DAY_MS, HOUR_MS, MINUTE_MS, Booked
from connectors.rows import Place, by_order, fields_text, rows_of
from connectors.terms import Terms
from connectors.verdict import Problem, Rows
from schemas import topics
from schemas.aggregates import RevenueAdjustment
from schemas.keys import row_key
from schemas.topics import Topic

Model: TypeAlias = Callable[[list[Booked], list[RevenueAdjustment], Terms], reference.Rows]
QUANTILES = frozenset({"p50_ms", "p95_ms", "p99_ms"})
STATUSES = frozenset({"provisional", "final"})


@dataclass(frozen=True)
class Aggregate:
    """A topic of windows: what its rows are of, how long its windows are, whose markers tell the time, what is right."""

    topic: Topic
    dimensions: tuple[str, ...]
    size_ms: int
    changelog: Topic
    model: Model

    def place_of(self, row: Any) -> Place:
        """Give where a row must be."""
        dimensions = [getattr(row, name) for name in self.dimensions]
        return Place(row_key(*dimensions, window_start_ms=row.window_start_ms), dimensions[0])


def _revenue(topic: Topic, size_ms: int) -> Aggregate:
    def model(known: list[Booked], adjusted: list[RevenueAdjustment], _: Terms) -> reference.Rows:
        return reference.revenue_by_merchant(known, size_ms, adjusted)

    return Aggregate(topic, ("merchant_id", "currency"), size_ms, topics.REVENUE_CHANGELOG, model)


def _of_merchants(topic: Topic, dimensions: tuple[str, ...], size_ms: int, model: Callable[..., reference.Rows]) -> Aggregate:
    return Aggregate(topic, dimensions, size_ms, topics.REVENUE_CHANGELOG, lambda known, adjusted, _: model(known, adjusted))


def _alerts(known: list[Booked], adjusted: list[RevenueAdjustment], terms: Terms) -> reference.Rows:
    return reference.alerts(known, terms.alert_orders_max, terms.alert_gross_minor_max, adjusted)


AGGREGATES = (
    _revenue(topics.REVENUE_BY_MERCHANT_1M, MINUTE_MS),
    _revenue(topics.REVENUE_BY_MERCHANT_1H, HOUR_MS),
    _revenue(topics.REVENUE_BY_MERCHANT_1D, DAY_MS),
    _of_merchants(
        topics.REVENUE_BY_PRODUCT_1H, ("merchant_id", "currency", "sku"), HOUR_MS, reference.revenue_by_product_1h
    ),
    _of_merchants(topics.TOP_PRODUCTS_1H, ("merchant_id", "currency"), HOUR_MS, reference.top_products_1h),
    _of_merchants(topics.PAYMENTS_BY_METHOD_1M, ("merchant_id", "method"), MINUTE_MS, reference.payments_by_method_1m),
    _of_merchants(topics.TIME_TO_CAPTURE_1H, ("merchant_id",), HOUR_MS, reference.time_to_capture_1h),
    Aggregate(
        topics.CUSTOMERS_1D, ("customer_id", "currency"), DAY_MS, topics.CUSTOMERS_CHANGELOG,
        lambda known, adjusted, _: reference.customers_1d(known, adjusted),
    ),
    Aggregate(topics.ALERTS, ("customer_id", "currency"), HOUR_MS, topics.CUSTOMERS_CHANGELOG, _alerts),
)  # fmt: skip


class Compared(NamedTuple):
    """What came of one table: how many rows are right, what is not, and the table as it is."""

    rows: Rows
    problems: list[Problem]
    table: dict[str, dict[str, Any]]


def compare_order_status(records: Iterable[ReadRecord], truth: Truth) -> Compared:
    """Compare ``order-status``, every field of every row. A row may come again as it is."""
    topic, problems = topics.ORDER_STATUS, list[Problem]()
    newest: dict[str, Any] = {}
    for record, key, row in rows_of(topic, records, by_order, problems):
        if key in newest and row != newest[key]:
            _check_revision(topic, record, key, row.revision, newest[key].revision, problems)
        newest[key] = row
    expected = {key: msgspec.structs.asdict(row) for key, row in truth.order_status.items()}
    return _compare(topic, {key: msgspec.structs.asdict(row) for key, row in newest.items()}, expected, problems)


def compare_windows(
    aggregate: Aggregate,
    records: Iterable[ReadRecord],
    expected: reference.Rows,
    watermarks_ms: Callable[[int], tuple[int, int]],
    grace_ms: int,
) -> Compared:
    """Compare a topic of windows: the sums, and that each window is final once and in its time, and never touched again.

    Args:
        aggregate: which.
        records: of its topic, in order per partition.
        expected: what is right, from its model.
        watermarks_ms: how far the task of a partition was in event time before the records were read, and after.
        grace_ms: how long after its end a window is kept open.
    """
    topic, problems = aggregate.topic, list[Problem]()
    newest: dict[str, tuple[ReadRecord, Any]] = {}
    for record, key, row in rows_of(topic, records, aggregate.place_of, problems):
        if row.status not in STATUSES:
            problems.append(Problem("conflicting", topic.name, key, "status provisional or final", row.status))
        if key in newest:
            _, last = newest[key]
            _check_revision(topic, record, key, row.revision, last.revision, problems)
            if last.status == "final":
                kind, where = "duplicate" if row.status == "final" else "conflicting", f"{record.partition}/{record.offset}"
                found = f"a {row.status} row at {where}"
                problems.append(Problem(kind, topic.name, key, "nothing behind a final row", found))  # type: ignore[arg-type]
        newest[key] = record, row
    table = {}
    for key, (record, row) in newest.items():
        over_ms, (before_ms, after_ms) = row.window_end_ms + grace_ms, watermarks_ms(record.partition)
        must, may = over_ms <= before_ms, over_ms <= after_ms
        if row.status in STATUSES and not (may if row.status == "final" else not must):
            right = "final" if must else "provisional"
            when = f"{row.status}, with a watermark of {before_ms} to {after_ms} and a window that is over at {over_ms}"
            problems.append(Problem("conflicting", topic.name, key, right, when))
        table[key] = msgspec.structs.asdict(row)
        del table[key]["status"], table[key]["revision"]
    return _compare(topic, table, expected, problems)


def _check_revision(topic: Topic, record: ReadRecord, key: str, revision: int, last: int, problems: list[Problem]) -> None:
    if revision <= last:
        kind = "duplicate" if revision == last else "conflicting"
        where = f"revision {revision} at {record.partition}/{record.offset}"
        problems.append(Problem(kind, topic.name, key, f"a revision above {last}", where))  # type: ignore[arg-type]


def _compare(
    topic: Topic, table: dict[str, dict[str, Any]], expected: Mapping[str, dict[str, Any]], problems: list[Problem]
) -> Compared:
    """Add what differs to ``problems``; a row with any problem of its key is not counted as right."""
    for key, row in expected.items():
        if key not in table:
            problems.append(Problem("missing", topic.name, key, fields_text(row), "no row"))
            continue
        found = table[key]
        different = [name for name in row if not _is_right(name, found.get(name), row[name])]
        if different:
            pair = (fields_text({name: each.get(name) for name in different}) for each in (row, found))
            problems.append(Problem("conflicting", topic.name, key, *pair))
    foreign = sorted(table.keys() - expected.keys())
    problems.extend(Problem("foreign", topic.name, key, "no row", fields_text(table[key])) for key in foreign)
    wrong = {problem.key for problem in problems}
    return Compared(Rows(sum(key in table and key not in wrong for key in expected), len(expected)), problems, table)


def _is_right(name: str, found: Any, right: Any) -> bool:
    """Quantiles come from buckets; all the rest is exact."""
    if name in QUANTILES:
        return isinstance(found, int) and reference.is_close(found, right)
    return bool(found == right)
