"""What is on a cluster when all is right: made of the truth of a small plan."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from ddsketch.mapping import LogarithmicMapping

from connectors.compare_tables import AGGREGATES
from connectors.ground_truth import Truth, truth_of, waiting_money
from connectors.judge import Terms
from connectors.reader import ReadRecord
from connectors.reference_orders import late_rows, unpaid_orders
from connectors.sources.generator import Plan, plan
from connectors.world import SHUFFLES, World
from schemas import codec, events
from schemas.aggregates import RevenueAdjustment
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import (
    CUSTOMER_DELTAS,
    CUSTOMERS_CHANGELOG,
    ORDER_STATUS,
    ORDERS,
    ORDERS_DLQ,
    PAYMENTS,
    PAYMENTS_DLQ,
    REVENUE_ADJUSTMENTS,
    REVENUE_BY_MERCHANT_1M,
    REVENUE_CHANGELOG,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    UNMATCHED_PAYMENTS,
    UNPAID_ORDERS,
    Topic,
)

PREFIX = "t1."
START_MS = 1_795_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
PLAN = plan(400, 5, START_MS, bad_ratio=0.05, waiting_ratio=0.02)
TRUTH = truth_of(PLAN)
TERMS = Terms(grace_ms=5 * MINUTE, alert_orders_max=2, alert_gross_minor_max=100_000)
REVENUE, STATUS, UNMATCHED = REVENUE_BY_MERCHANT_1M.name, ORDER_STATUS.name, UNMATCHED_PAYMENTS.name
ADJUSTMENTS, UNPAID = REVENUE_ADJUSTMENTS.name, UNPAID_ORDERS.name
SETTLED_MS = START_MS + 25 * MINUTE
"""So far is settlement: orders of the first minutes of the plan are known to be unpaid."""
WINDOWED_MS = START_MS - 8 * MINUTE
"""So far are the windows: a half of the minutes is final, and no hour."""


def record(
    topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]
) -> ReadRecord:
    return ReadRecord(PREFIX + topic, partition, offset, 0, key, value, headers)


def row_record(topic: Topic, key: str, owner: str, row: events.Record, offset: int = 0) -> ReadRecord:
    return record(topic.name, partition_of(owner, topic.partitions), offset, key.encode(), codec.encode(row))


def adjustments(truth: Truth) -> list[RevenueAdjustment]:
    rows = []
    for row, delay_ms in late_rows(truth.booked, truth.late_ids):
        bucket = {} if delay_ms is None else {"bucket": str(bucket_of(delay_ms))}
        rows.append(msgspec.structs.replace(row, dimensions={**row.dimensions, **bucket}))
    return rows


def bucket_of(delay_ms: int) -> int:
    return LogarithmicMapping(0.01).key(delay_ms) if delay_ms else -1


def adjusted_record(row: RevenueAdjustment) -> ReadRecord:
    key = row_key(*row.dimensions.values(), window_start_ms=row.minute_ms)
    return row_record(REVENUE_ADJUSTMENTS, key, key, row)


def window_records(truth: Truth, terms: Terms) -> dict[str, list[ReadRecord]]:
    """Each row twice: with a revision of 1, then with 2 and its status."""
    records: dict[str, list[ReadRecord]] = {}
    for aggregate in AGGREGATES:
        topic, rows = aggregate.topic, records.setdefault(aggregate.topic.name, [])
        for key, fields in aggregate.model(truth.booked, adjustments(truth), terms).items():
            is_over = fields["window_end_ms"] + terms.grace_ms <= WINDOWED_MS
            for revision, status in enumerate(("provisional", "final" if is_over else "provisional"), 1):
                make: Any = topic.values[0]
                row = make(**fields, status=status, revision=revision)
                rows.append(row_record(topic, key, fields[aggregate.dimensions[0]], row, len(rows)))
    return records


def letter(topic: str, key: bytes | None, value: bytes | None, error_class: str, reason: str) -> ReadRecord:
    headers = {
        "__streams.errors.topic": PREFIX + topic, "__tally.errors.class": error_class, "__tally.errors.reason": reason,
    }  # fmt: skip
    return record(f"{topic}.dlq", 0, 0, key, value, *((name, text.encode()) for name, text in headers.items()))


def unmatched(event: events.PaymentCaptured | events.PaymentFailed | events.PaymentRefunded, reason: str) -> ReadRecord:
    row = events.UnmatchedPayment(
        event.event_id, type(event).__name__, event.order_id, event.occurred_at_ms, event.payment_id, event.amount_minor,
        event.currency, reason,
    )  # fmt: skip
    return row_record(UNMATCHED_PAYMENTS, event.order_id, event.order_id, row)


def told(topic: Topic, offset: int, *, adds: bool) -> ReadRecord:
    """A record that adds to a window, or only tells the time."""
    cells = (events.FlowDeltas("money", (events.Cell(("m-1", "EUR"), 0, (1, 1, 0, 0, 0)),)),) if adds else ()
    return record(topic.name, 0, offset, b"settlement", codec.encode(events.Deltas((events.Source(0, 1, 0, idle=False),), cells)))


def marker(counters: Counter[str], **positions: int) -> events.TaskMarker:
    at = tuple(events.InputPosition(PREFIX + topic.replace("_", "-"), 0, 0, offset) for topic, offset in positions.items())
    return events.TaskMarker(1, 12, "w1", at, dict(counters))


def exact_world(sent: Plan = PLAN, truth: Truth = TRUTH, terms: Terms = TERMS) -> World:
    letters: dict[str, list[ReadRecord]] = {ORDERS_DLQ.name: [], PAYMENTS_DLQ.name: []}
    for (topic, key, value), dead in truth.dead_letters.items():
        letters[f"{topic.name}.dlq"] += [letter(topic.name, key, value, each.error_class, each.reason) for each in dead]
    counters = Counter(
        consumed=truth.sent_count, applied=truth.applied_count, duplicates=truth.duplicates_count, dead=truth.dead_count
    )
    counters.update({f"dead|{reason}": count for reason, count in truth.dead_by_reason.items()})
    for account, money in (("accepted", truth.accepted_money), ("waiting", waiting_money(truth.waiting))):
        counters.update({f"{account}|{currency}|{measure}": amount for (currency, measure), amount in money.items()})
    unmatched_rows = []
    for number, ((topic, key, value), race) in enumerate(truth.racing.items()):  # one half died, the other waited
        event = codec.decode(value)
        assert isinstance(event, events.PaymentCaptured)
        if number % 2:
            letters[PAYMENTS_DLQ.name].append(letter(topic.name, key, value, "rule", race.reason))
            counters.update({"dead": 1, f"dead|{race.reason}": 1})
            continue
        unmatched_rows.append(unmatched(event, race.reason))
        names = [f"{account}|{event.currency}|captured_minor" for account in ("accepted", "unmatched")]
        counters.update({"applied": 1, **dict.fromkeys(names, event.amount_minor)})
    for (_, _, value), given_up in truth.unmatched.items():
        event = codec.decode(value)
        assert isinstance(event, events.PaymentRefunded)
        unmatched_rows.append(unmatched(event, given_up.reason))
        names = [f"{account}|{event.currency}|refunded_minor" for account in ("accepted", "unmatched")]
        counters.update({"applied": 1, **dict.fromkeys(names, event.amount_minor)})
    counters["duplicates|other_content"] = truth.other_content_count
    counters["waiting_events"] = len(truth.waiting)
    late = adjustments(truth)
    for row in late:
        if row.flow == "money":
            counters.update({f"adjusted|{row.dimensions['currency']}|{name}": amount for name, amount in row.amounts.items()})
    records = {
        **window_records(truth, terms),
        STATUS: [row_record(ORDER_STATUS, key, key, row) for key, row in truth.order_status.items()],
        UNMATCHED: unmatched_rows,
        UNPAID: [
            row_record(UNPAID_ORDERS, key, key, row)
            for key, row in unpaid_orders(truth.booked, SETTLED_MS, terms.unpaid_after_ms, terms.grace_ms).items()
        ],
        ADJUSTMENTS: [adjusted_record(row) for row in late],
        **letters,
        **{topic.name: [*(told(topic, offset, adds=offset % 2 == 0) for offset in range(1, 41))] for topic in SHUFFLES},
    }
    windowed = Counter(consumed=40, applied=40, watermark_ms=WINDOWED_MS)
    for place in records[REVENUE][1::2]:
        minute: Any = codec.decode(place.value)
        for measure in events.MEASURES:
            counters[f"booked|{minute.currency}|{measure}"] += getattr(minute, measure)
            windowed[f"windowed|{minute.currency}|{measure}"] += getattr(minute, measure)
    ends = {(ORDERS.name, 0): 500, (PAYMENTS.name, 0): 900, (REVENUE_DELTAS.name, 0): 45, (CUSTOMER_DELTAS.name, 0): 45}
    ends |= {(topic.name, 1): 0 for topic in (ORDERS, PAYMENTS, *SHUFFLES)}
    markers = {
        (changelog.name, partition): marker(Counter(watermark_ms=watermark_ms))
        for changelog, watermark_ms in (
            (SETTLEMENT_CHANGELOG, SETTLED_MS), (REVENUE_CHANGELOG, WINDOWED_MS), (CUSTOMERS_CHANGELOG, WINDOWED_MS),
        )
        for partition in range(12)
    } | {
        (SETTLEMENT_CHANGELOG.name, 0): marker(Counter(watermark_ms=SETTLED_MS) + counters, orders=500, payments=900),
        (REVENUE_CHANGELOG.name, 0): marker(windowed, revenue_deltas=42),
        (CUSTOMERS_CHANGELOG.name, 0): marker(Counter(consumed=40, applied=40, watermark_ms=WINDOWED_MS), customer_deltas=42),
    }  # fmt: skip
    return World(
        prefix=PREFIX,
        records=records,
        ends=ends,
        committed={(ORDERS.name, 0): 500, (PAYMENTS.name, 0): 900, **{(topic.name, 0): 42 for topic in SHUFFLES}},
        markers=markers,
        earlier=markers,
    )
