"""One thing off in a world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from connectors.compare_tables import AGGREGATES
from connectors.judge import Terms, Verdict, verdict_on
from connectors.reader import ReadRecord
from connectors.world import World
from schemas import codec, events
from schemas.aggregates import RevenueAdjustment
from schemas.topics import (
    ORDER_STATUS,
    REVENUE_ADJUSTMENTS,
    REVENUE_BY_MERCHANT_1D,
    REVENUE_BY_MERCHANT_1H,
    REVENUE_CHANGELOG,
    SETTLEMENT_CHANGELOG,
    UNMATCHED_PAYMENTS,
    UNPAID_ORDERS,
    Topic,
)
from tests.unit.judged_world import (
    ADJUSTMENTS,
    DAY,
    HOUR,
    MINUTE,
    PREFIX,
    REVENUE,
    START_MS,
    TERMS,
    TRUTH,
    adjusted_record,
    row_record,
    unmatched,
)

WINDOWED = tuple(aggregate.topic for aggregate in AGGREGATES)
OUTPUTS = (*WINDOWED, ORDER_STATUS, REVENUE_ADJUSTMENTS, UNPAID_ORDERS, UNMATCHED_PAYMENTS)


def judged(world: World, terms: Terms = TERMS) -> Verdict:
    return verdict_on(world, TRUTH, terms)


Change = Callable[[World], World]


def with_records(topic: str, change: Callable[[list[ReadRecord]], list[ReadRecord]]) -> Change:
    return lambda world: replace(world, records={**world.records, topic: change(world.records[topic])})


def with_row(topic: str, place: int, **changes: object) -> Change:
    def change(records: list[ReadRecord]) -> list[ReadRecord]:
        row = msgspec.structs.replace(codec.decode(records[place].value), **changes)
        return [
            *records[:place],
            *([records[place]._replace(value=codec.encode(row))]),
            *(records[place + 1 :] if place != -1 else []),
        ]

    return with_records(topic, change)


def with_counter(name: str, by: int, changelog: str = SETTLEMENT_CHANGELOG.name, *, every: bool = False) -> Change:
    """Move a counter of task 0, or of ``every`` task."""

    def change(world: World) -> World:
        markers = dict(world.markers)
        for place, marker in world.markers.items():
            if place == (changelog, 0) or (every and place[0] == changelog):
                counters = {**marker.counters, name: marker.counters.get(name, 0) + by}
                markers[place] = msgspec.structs.replace(marker, counters=counters)
        return replace(world, markers=markers, earlier=markers)

    return change


def without_marker(changelog: Topic) -> Change:
    return lambda world: replace(
        world, markers={place: marker for place, marker in world.markers.items() if place != (changelog.name, 0)}
    )


def with_committed(topic: str, offset: int | None) -> Change:
    def change(world: World) -> World:
        others = {place: at for place, at in world.committed.items() if place != (topic, 0)}
        return replace(world, committed=others if offset is None else {**others, (topic, 0): offset})

    return change


def other_reason(records: list[ReadRecord]) -> list[ReadRecord]:
    headers = tuple((name, b"amount_too_large" if name.endswith("reason") else value) for name, value in records[0].headers)
    return [records[0]._replace(headers=headers), *records[1:]]


def another_key(records: list[ReadRecord]) -> list[ReadRecord]:
    return [each._replace(key=each.key and each.key.replace(b"m-1|", b"m-01|")) for each in records]


def elsewhere(records: list[ReadRecord]) -> list[ReadRecord]:
    return [*records[:-1], records[-1]._replace(partition=(records[-1].partition + 1) % 12)]


def foreign(records: list[ReadRecord]) -> list[ReadRecord]:
    """One more window, of a time long ago."""
    row: Any = codec.decode(records[0].value)
    aggregate = next(each for each in AGGREGATES if records[0].topic == PREFIX + each.topic.name)
    other = msgspec.structs.replace(row, window_start_ms=0, window_end_ms=aggregate.size_ms)
    return [*records, row_record(aggregate.topic, *aggregate.place_of(other), other)]


def is_final(record: ReadRecord) -> bool:
    return codec.decode(record.value).status == "final"  # type: ignore[union-attr]


def after_final(status: str) -> Callable[[list[ReadRecord]], list[ReadRecord]]:
    def change(records: list[ReadRecord]) -> list[ReadRecord]:
        last = next(each for each in records if is_final(each))
        return [*records, last._replace(value=codec.encode(replaced(last, status=status, revision=3)))]

    return change


def replaced(record: ReadRecord, **changes: object) -> events.Record:
    return msgspec.structs.replace(codec.decode(record.value), **changes)


def other_bucket(bucket: str) -> Callable[[list[ReadRecord]], list[ReadRecord]]:
    def change(records: list[ReadRecord]) -> list[ReadRecord]:
        rows = [codec.decode(each.value) for each in records]
        return [adjusted_record(changed(row)) for row in rows if isinstance(row, RevenueAdjustment)]

    def changed(row: RevenueAdjustment) -> RevenueAdjustment:
        dimensions = {**row.dimensions, "bucket": bucket} if row.flow == "delays" else row.dimensions
        return msgspec.structs.replace(row, dimensions=dimensions)

    return change


def with_final(world: World) -> World:
    """All that one merchant moved in one minute met a final window: what it is in has less, and so have the books."""
    records = dict(world.records)
    last = next(each for each in reversed(records[REVENUE]) if not is_final(each))
    row: Any = codec.decode(last.value)
    for name, size_ms in ((REVENUE, MINUTE), (REVENUE_BY_MERCHANT_1H.name, HOUR), (REVENUE_BY_MERCHANT_1D.name, DAY)):
        records[name] = [less(each, row, size_ms) for each in records[name]]
    amounts = {name: getattr(row, name) for name in events.MEASURES if getattr(row, name)}
    minute = RevenueAdjustment(
        "money", {"merchant_id": row.merchant_id, "currency": row.currency}, row.window_start_ms, amounts, "", "", "final"
    )
    records[REVENUE] = [each for each in records[REVENUE] if each.key != last.key]
    records[ADJUSTMENTS] = [*records[ADJUSTMENTS], adjusted_record(minute)]
    world = replace(world, records=records)
    for name, amount in amounts.items():
        for account, by in (("adjusted", amount), ("windowed", -amount)):
            world = with_counter(f"{account}|{row.currency}|{name}", by, REVENUE_CHANGELOG.name)(world)
    return world


def less(record: ReadRecord, minute: Any, size_ms: int) -> ReadRecord:
    """Take a minute out of the window that it is in."""
    row: Any = codec.decode(record.value)
    start_ms = minute.window_start_ms // size_ms * size_ms
    if (row.merchant_id, row.currency, row.window_start_ms) != (minute.merchant_id, minute.currency, start_ms):
        return record
    amounts = {name: getattr(row, name) - getattr(minute, name) for name in (*events.MEASURES, "net_minor")}
    return record._replace(value=codec.encode(msgspec.structs.replace(row, **amounts)))


def paid_order(records: list[ReadRecord]) -> list[ReadRecord]:
    paid = next(row.order_id for row in TRUTH.order_status.values() if row.captures and row.placed_at_ms > START_MS - HOUR)
    return [*records, row_record(UNPAID_ORDERS, paid, paid, replaced(records[0], order_id=paid))]


def given_up_one(records: list[ReadRecord]) -> list[ReadRecord]:
    waiting = next(each for each in TRUTH.waiting if isinstance(each, events.PaymentCaptured))
    return [*records, unmatched(waiting, "waited_too_long")]
