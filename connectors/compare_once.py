"""Compares rows that are said once: payments that fit no order, orders that are unpaid, money that came too late. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from connectors.ground_truth import Identity, Truth
from connectors.reader import ReadRecord
from connectors.reference import Booked, bucket_ms, is_close
from connectors.reference_orders import late_rows, unpaid_orders
from connectors.rows import Place, by_order, rows_of, said
from connectors.sources.sent import DeadOrUnmatched, Unmatched
from connectors.terms import Terms
from connectors.verdict import Problem, Rows
from schemas import codec, events, topics
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.keys import row_key
from schemas.partitioning import partition_of

Watermarks: TypeAlias = Callable[[int], tuple[int, int]]
"""Partition to how far its settlement task was in event time before the records were read, and after."""
PAYMENTS = (events.PaymentCaptured, events.PaymentFailed, events.PaymentRefunded)
DIMENSIONS = {
    "money": ("merchant_id", "currency"),
    "products": ("merchant_id", "currency", "sku"),
    "attempts": ("merchant_id", "method"),
    "delays": ("merchant_id", "bucket"),
    "customers": ("customer_id", "currency"),
}
"""What an adjustment is of, by its flow."""
BUCKET_MAX = 10_000
"""Far above the bucket of any time that there is."""


class Unmatchable(NamedTuple):
    """What came of ``unmatched-payments``.

    Attributes:
        rows: how many are right.
        problems: what is not.
        not_accepted: the rows there are of records that the truth does not count as accepted.
        given_up: the rows of accepted events whose time to wait was over when the reading ended. The books have them by then.
    """

    rows: Rows
    problems: list[Problem]
    not_accepted: list[events.UnmatchedPayment]
    given_up: dict[str, events.UnmatchedPayment]


def compare_unmatched(
    records: Iterable[ReadRecord], truth: Truth, racing_dead: Counter[Identity], watermarks_ms: Watermarks, terms: Terms
) -> Unmatchable:
    """Compare ``unmatched-payments``: what must be there once, or else among the dead letters, and what waited too long."""
    topic, problems = topics.UNMATCHED_PAYMENTS, list[Problem]()
    planned = dict(_planned(truth))
    must, may = _given_up(truth, watermarks_ms, terms)
    right = {**{event_id: row for event_id, (_, row) in planned.items()}, **may}
    found: list[events.UnmatchedPayment] = []
    for _, key, row in rows_of(topic, records, by_order, problems):
        if row.event_id not in right:
            problems.append(Problem("foreign", topic.name, key, "no row", said(row)))
            continue
        if row != right[row.event_id]:
            problems.append(Problem("conflicting", topic.name, key, said(right[row.event_id]), said(row)))
        found.append(row)
    times = Counter(row.event_id for row in found)
    for event_id, row in right.items():
        identity = planned[event_id][0] if event_id in planned else None
        count = times[event_id] + (racing_dead[identity] if identity else 0)
        if count > 1 or (count == 0 and (event_id in planned or event_id in must)):
            kind = "missing" if count == 0 else "duplicate"
            once = "once here or among the dead letters" if identity in truth.racing else "once"
            problems.append(Problem(kind, topic.name, row.order_id, f"{said(row)} {once}", f"{count} times"))  # type: ignore[arg-type]
    wrong = {problem.key for problem in problems}
    sure = must.keys() | {event_id for event_id, (identity, _) in planned.items() if identity in truth.unmatched}
    here = [row for event_id, row in right.items() if times[event_id] or event_id in sure]
    rows = Rows(sum(times[row.event_id] == 1 and row.order_id not in wrong for row in here), len(here))
    return Unmatchable(rows, problems, [row for row in found if row.event_id in planned], may)


def _planned(truth: Truth) -> Iterator[tuple[str, tuple[Identity, events.UnmatchedPayment]]]:
    expectations: dict[Identity, DeadOrUnmatched | Unmatched] = {**truth.racing, **truth.unmatched}
    for identity, expectation in expectations.items():
        event = codec.decode(identity[2])
        if isinstance(event, PAYMENTS):
            yield event.event_id, (identity, _unmatched(event, expectation.reason))


def _given_up(
    truth: Truth, watermarks_ms: Watermarks, terms: Terms
) -> tuple[dict[str, events.UnmatchedPayment], dict[str, events.UnmatchedPayment]]:
    """Give what waited too long when the reading began, and when it ended."""
    must: dict[str, events.UnmatchedPayment] = {}
    may: dict[str, events.UnmatchedPayment] = {}
    for event in truth.waiting:
        if isinstance(event, PAYMENTS):
            row = _unmatched(event, "waited_too_long")
            bounds_ms = watermarks_ms(partition_of(event.order_id, topics.PAYMENTS.partitions))
            for rows, watermark_ms in zip((must, may), bounds_ms, strict=True):
                if event.occurred_at_ms < watermark_ms - terms.waiting_max_ms:
                    rows[event.event_id] = row
    return must, may


def _unmatched(
    event: events.PaymentCaptured | events.PaymentFailed | events.PaymentRefunded, reason: str
) -> events.UnmatchedPayment:
    return events.UnmatchedPayment(
        event.event_id, type(event).__name__, event.order_id, event.occurred_at_ms, event.payment_id, event.amount_minor,
        event.currency, reason,
    )  # fmt: skip


def compare_unpaid(
    records: Iterable[ReadRecord], truth: Truth, watermarks_ms: Watermarks, terms: Terms
) -> tuple[Rows, list[Problem]]:
    """Compare ``unpaid-orders``: each order of which it is sure, once. It may have been said before a payment came late."""
    topic, problems = topics.UNPAID_ORDERS, list[Problem]()
    must, may = _unpaid(truth, watermarks_ms, terms)
    times: Counter[str] = Counter()
    for _, key, row in rows_of(topic, records, by_order, problems):
        times[row.order_id] += 1
        if row.order_id not in may:
            problems.append(Problem("foreign", topic.name, key, "no row", said(row)))
        elif times[row.order_id] > 1:
            problems.append(Problem("duplicate", topic.name, key, "one row", f"{times[row.order_id]} rows"))
        elif row != may[row.order_id]:
            problems.append(Problem("conflicting", topic.name, key, said(may[row.order_id]), said(row)))
    for order_id in must.keys() - times.keys():
        problems.append(Problem("missing", topic.name, order_id, said(must[order_id]), "no row"))
    wrong = {problem.key for problem in problems}
    expected = must.keys() | (times.keys() & may.keys())
    return Rows(sum(order_id in times and order_id not in wrong for order_id in expected), len(expected)), problems


def _unpaid(truth: Truth, watermarks_ms: Watermarks, terms: Terms) -> tuple[dict[str, UnpaidOrder], dict[str, UnpaidOrder]]:
    """Give of which orders it was sure when the reading began; and, when it ended, whatever came late."""
    of_task: defaultdict[int, list[Booked]] = defaultdict(list)
    for each in truth.booked:
        of_task[partition_of(each.order.order_id, topics.ORDERS.partitions)].append(each)
    must: dict[str, UnpaidOrder] = {}
    may: dict[str, UnpaidOrder] = {}
    for partition, known in of_task.items():
        before_ms, after_ms = watermarks_ms(partition)
        in_time = [each for each in known if each.event is each.order or each.event.event_id not in truth.late_ids]
        must |= unpaid_orders(known, before_ms, terms.unpaid_after_ms, terms.grace_ms)
        may |= unpaid_orders(in_time, after_ms, terms.unpaid_after_ms, terms.grace_ms)
    return must, may


class Adjustments(NamedTuple):
    """What came of ``revenue-adjustments``: rows that settlement said (late), and rows of what met a final window (final)."""

    rows: Rows
    problems: list[Problem]
    late: list[RevenueAdjustment]
    final: list[RevenueAdjustment]


def compare_adjustments(records: Iterable[ReadRecord], truth: Truth, terms: Terms) -> Adjustments:
    """Compare ``revenue-adjustments``: all that the late events would have moved, once each, and nothing else."""
    topic, problems = topics.REVENUE_ADJUSTMENTS, list[Problem]()
    said_once = list(late_rows(truth.booked, truth.late_ids))
    expected = Counter(_content(row, row.dimensions) for row, _ in said_once)
    delays_ms = {row.event_id: delay_ms for row, delay_ms in said_once if delay_ms is not None}
    found: Counter[_Content] = Counter()
    late: list[RevenueAdjustment] = []
    final: list[RevenueAdjustment] = []
    right_count = 0
    for _, key, row in rows_of(topic, records, _adjusted_place, problems):
        if not _is_whole(row):
            right = f"the dimensions of a flow, {DIMENSIONS.get(row.flow, tuple(DIMENSIONS))}"
            problems.append(Problem("conflicting", topic.name, key, right, said(row)))
        elif row.reason == "final":
            final.append(row)
            if not terms.finals_allowed or row.event_id or row.event_type:
                problems.append(Problem("foreign", topic.name, key, "no money that meets a final window", said(row)))
        else:
            late.append(row)
            content = _content(row, {name: value for name, value in row.dimensions.items() if name != "bucket"})
            found[content] += 1
            if content not in expected:
                problems.append(Problem("foreign", topic.name, key, "no row", said(row)))
            elif found[content] > expected[content]:
                right = f"{expected[content]} times {said(row)}"
                problems.append(Problem("duplicate", topic.name, key, right, f"{found[content]} times"))
            elif "bucket" in row.dimensions and not is_close(bucket_ms(int(row.dimensions["bucket"])), delays_ms[row.event_id]):
                right = f"the bucket of {delays_ms[row.event_id]} ms"
                problems.append(Problem("conflicting", topic.name, key, right, said(row)))
            else:
                right_count += 1
    for content, count in (expected - found).items():
        flow, dimensions, minute_ms, *rest = content
        key = row_key(*(value for _, value in dimensions), window_start_ms=minute_ms)
        problems.append(Problem("missing", topic.name, key, f"{count} more of {flow} {rest}", "no row"))
    return Adjustments(Rows(right_count, expected.total()), problems, late, final)


_Content: TypeAlias = tuple[str, tuple[tuple[str, str], ...], int, tuple[tuple[str, int], ...], str, str, str]


def _content(row: RevenueAdjustment, dimensions: Mapping[str, str]) -> _Content:
    """Give all of a row as something that can be counted; a bucket is looked at apart."""
    amounts = tuple(sorted(row.amounts.items()))
    return row.flow, tuple(dimensions.items()), row.minute_ms, amounts, row.event_id, row.event_type, row.reason


def _is_whole(row: RevenueAdjustment) -> bool:
    """Tell whether it can be said what the row is of."""
    bucket = row.dimensions.get("bucket", "0")
    is_bucket = bucket.removeprefix("-").isdecimal() and -1 <= int(bucket) <= BUCKET_MAX
    return tuple(row.dimensions) == DIMENSIONS.get(row.flow) and is_bucket


def _adjusted_place(row: Any) -> Place:
    key = row_key(*row.dimensions.values(), window_start_ms=row.minute_ms)
    return Place(key, key)
