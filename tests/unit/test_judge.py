"""The judge is judged: a world made from the truth is EXACT, and any one thing off in it is WRONG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from connectors.ground_truth import Truth, truth_of
from connectors.judge import verdict_on
from connectors.reader import ReadRecord, latest_per_key
from connectors.sources.generator import Plan, plan
from connectors.world import World
from schemas import codec, events
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import (
    ORDER_STATUS,
    ORDERS,
    ORDERS_DLQ,
    PAYMENTS,
    PAYMENTS_DLQ,
    REVENUE_BY_MERCHANT_1M,
    REVENUE_CHANGELOG,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    UNMATCHED_PAYMENTS,
)

PREFIX = "t1."
PLAN = plan(400, 5, 1_795_000_000_000, bad_ratio=0.05)
TRUTH = truth_of(PLAN)
REVENUE, STATUS, UNMATCHED = REVENUE_BY_MERCHANT_1M.name, ORDER_STATUS.name, UNMATCHED_PAYMENTS.name


def record(
    topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]
) -> ReadRecord:
    return ReadRecord(PREFIX + topic, partition, offset, 0, key, value, headers)


def revenue_records(truth: Truth) -> list[ReadRecord]:
    """Each row twice: with less in it, then whole."""
    rows: list[ReadRecord] = []
    for (merchant_id, currency, start_ms), measures in truth.revenue.items():
        key = row_key(merchant_id, currency, window_start_ms=start_ms).encode()
        partition = partition_of(merchant_id, 12)
        for revision in (1, 2):
            values = {name: measures[name] if revision == 2 else 0 for name in events.MEASURES}
            row = events.MerchantRevenue(merchant_id, currency, start_ms, start_ms + 60_000, "provisional", revision, **values)
            rows.append(record(REVENUE, partition, len(rows), key, codec.encode(row)))
    return rows


def status_records(truth: Truth) -> list[ReadRecord]:
    return [
        record(STATUS, partition_of(order_id, 12), offset, order_id.encode(), codec.encode(row))
        for offset, (order_id, row) in enumerate(truth.order_status.items())
    ]


def letter(topic: str, key: bytes | None, value: bytes | None, error_class: str, reason: str) -> ReadRecord:
    headers = {
        "__streams.errors.topic": PREFIX + topic, "__tally.errors.class": error_class, "__tally.errors.reason": reason,
    }  # fmt: skip
    return record(f"{topic}.dlq", 0, 0, key, value, *((name, text.encode()) for name, text in headers.items()))


def exact_world(sent: Plan = PLAN, truth: Truth = TRUTH) -> World:
    letters: dict[str, list[ReadRecord]] = {ORDERS_DLQ.name: [], PAYMENTS_DLQ.name: []}
    for (topic, key, value), dead in truth.dead_letters.items():
        letters[f"{topic.name}.dlq"] += [letter(topic.name, key, value, each.error_class, each.reason) for each in dead]
    counters = Counter(
        consumed=truth.sent_count, applied=truth.applied_count, duplicates=truth.duplicates_count, dead=truth.dead_count
    )
    counters.update({f"dead|{reason}": count for reason, count in truth.dead_by_reason.items()})
    counters.update({f"accepted|{currency}|{measure}": amount for (currency, measure), amount in truth.accepted.items()})
    counters.update({f"waiting|{currency}|{measure}": amount for (currency, measure), amount in truth.waiting.items()})
    unmatched = []
    for number, ((topic, key, value), race) in enumerate(truth.racing.items()):  # one half died, the other waited
        event = codec.decode(value)
        assert isinstance(event, events.PaymentCaptured)
        if number % 2:
            letters[PAYMENTS_DLQ.name].append(letter(topic.name, key, value, "rule", race.reason))
            counters.update({"dead": 1, f"dead|{race.reason}": 1})
            continue
        row = events.UnmatchedPayment(
            event.event_id, "PaymentCaptured", event.order_id, event.occurred_at_ms, event.payment_id, event.amount_minor,
            event.currency, race.reason,
        )  # fmt: skip
        unmatched.append(record(UNMATCHED, 0, number, key, codec.encode(row)))
        names = [f"{account}|{event.currency}|captured_minor" for account in ("accepted", "unmatched")]
        counters.update({"applied": 1, **dict.fromkeys(names, event.amount_minor)})
    for (_, key, value), given_up in truth.unmatched.items():
        event = codec.decode(value)
        assert isinstance(event, events.PaymentRefunded)
        row = events.UnmatchedPayment(
            event.event_id, "PaymentRefunded", event.order_id, event.occurred_at_ms, event.payment_id, event.amount_minor,
            event.currency, given_up.reason,
        )  # fmt: skip
        unmatched.append(record(UNMATCHED, 1, len(unmatched), key, codec.encode(row)))
        names = [f"{account}|{event.currency}|refunded_minor" for account in ("accepted", "unmatched")]
        counters.update({"applied": 1, **dict.fromkeys(names, event.amount_minor)})
    counters["duplicates|other_content"] = truth.other_content_count
    counters["waiting_events"] = truth.waiting_count
    windowed: Counter[str] = Counter(consumed=40, applied=40)
    for (_, currency, _), measures in truth.revenue.items():
        for measure in events.MEASURES:
            counters[f"booked|{currency}|{measure}"] += measures[measure]
            windowed[f"windowed|{currency}|{measure}"] += measures[measure]
    ends = {(ORDERS.name, 0): 500, (PAYMENTS.name, 0): 900, (REVENUE_DELTAS.name, 0): 45}
    ends |= {(topic.name, 1): 0 for topic in (ORDERS, PAYMENTS, REVENUE_DELTAS)}
    return World(
        prefix=PREFIX,
        records={REVENUE: revenue_records(truth), STATUS: status_records(truth), UNMATCHED: unmatched, **letters},
        ends=ends,
        delta_ends={0: 43},
        deltas_count=40,
        committed={(ORDERS.name, 0): 500, (PAYMENTS.name, 0): 900, (REVENUE_DELTAS.name, 0): 44},
        markers={
            (SETTLEMENT_CHANGELOG.name, 0): events.TaskMarker(1, 12, "w1", (), dict(counters)),
            (REVENUE_CHANGELOG.name, 0): events.TaskMarker(1, 9, "w1", (), dict(windowed)),
        },
    )


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


def with_counter(name: str, by: int, changelog: str = SETTLEMENT_CHANGELOG.name) -> Change:
    def change(world: World) -> World:
        marker = world.markers[changelog, 0]
        counters = {**marker.counters, name: marker.counters.get(name, 0) + by}
        return replace(world, markers={**world.markers, (changelog, 0): msgspec.structs.replace(marker, counters=counters)})

    return change


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


WRONGS: dict[str, tuple[Change, str, str]] = {
    "a revenue row is altered": (with_row(REVENUE, -1, captured_minor=7), "conflicting", REVENUE),
    "a revenue row is missing": (with_records(REVENUE, lambda rows: rows[2:]), "missing", REVENUE),
    "a revenue row comes with a lower revision": (with_records(REVENUE, lambda rows: [*rows, rows[0]]), "conflicting", REVENUE),
    "a revenue row comes twice": (with_records(REVENUE, lambda rows: [*rows, rows[-1]]), "duplicate", REVENUE),
    "a revenue row has another key": (with_records(REVENUE, another_key), "foreign", REVENUE),
    "a revenue row is in another partition": (with_records(REVENUE, elsewhere), "conflicting", REVENUE),
    "a window ends elsewhere": (with_row(REVENUE, -1, window_end_ms=60_000), "conflicting", REVENUE),
    "a revenue row cannot be read": (
        with_records(REVENUE, lambda rows: [*rows, rows[0]._replace(value=b"x")]), "conflicting", REVENUE,
    ),
    "a row of nobody's is there": (with_row(REVENUE, -1, merchant_id="m-77"), "conflicting", REVENUE),
    "a status row is altered": (with_row(STATUS, 3, status="lost"), "conflicting", STATUS),
    "a status row is missing": (with_records(STATUS, lambda rows: rows[1:]), "missing", STATUS),
    "a status row has a revision too many": (with_row(STATUS, 0, revision=99), "conflicting", STATUS),
    "a status row is foreign": (with_row(STATUS, 0, order_id="o-foreign"), "conflicting", STATUS),
    "a dead letter has another reason": (with_records(ORDERS_DLQ.name, other_reason), "conflicting", ORDERS_DLQ.name),
    "a dead letter is missing": (with_records(PAYMENTS_DLQ.name, lambda rows: rows[1:]), "missing", PAYMENTS_DLQ.name),
    "a dead letter comes twice": (with_records(ORDERS_DLQ.name, lambda rows: [*rows, rows[0]]), "duplicate", ORDERS_DLQ.name),
    "a dead letter is foreign": (
        with_records(ORDERS_DLQ.name, lambda rows: [*rows, letter("orders", b"k", b"v", "undecodable", "no_magic_byte")]),
        "foreign", ORDERS_DLQ.name,
    ),
    "a dead letter's value is altered": (
        with_records(ORDERS_DLQ.name, lambda rows: [rows[0]._replace(value=b"mended"), *rows[1:]]), "missing", ORDERS_DLQ.name,
    ),
    "an unmatched row is missing": (with_records(UNMATCHED, lambda rows: rows[1:]), "missing", UNMATCHED),
    "an unmatched row comes twice": (with_records(UNMATCHED, lambda rows: [*rows, rows[0]]), "duplicate", UNMATCHED),
    "an unmatched row is altered": (with_row(UNMATCHED, 0, reason="other"), "conflicting", UNMATCHED),
    "an offset of orders is one short": (with_committed(ORDERS.name, 499), "conflicting", ORDERS.name),
    "an offset of payments is one too far": (with_committed(PAYMENTS.name, 901), "conflicting", PAYMENTS.name),
    "an offset of payments is not there": (with_committed(PAYMENTS.name, None), "missing", PAYMENTS.name),
    "an offset of the deltas is too low": (with_committed(REVENUE_DELTAS.name, 42), "conflicting", REVENUE_DELTAS.name),
    "a task left no marker": (lambda world: replace(world, markers={}), "missing", SETTLEMENT_CHANGELOG.name),
    **{
        f"one off in {name}": (with_counter(name, 1), "conflicting", SETTLEMENT_CHANGELOG.name)
        for name in (
            "consumed", "applied", "duplicates", "dead", "dead|truncated", "dead|currency_mismatch",
            "accepted|EUR|captured_minor",
            "waiting|EUR|captured_minor", "waiting_events", "unmatched|SEK|captured_minor", "accepted|USD|orders_count",
        )
    },
    "one minor unit off in what is booked": (with_counter("booked|EUR|refunded_minor", -1), "conflicting", "the money"),
    "one minor unit off in what is windowed": (
        with_counter("windowed|EUR|gross_minor", 1, REVENUE_CHANGELOG.name), "conflicting", REVENUE_CHANGELOG.name,
    ),
    "a delta was not consumed": (with_counter("consumed", -1, REVENUE_CHANGELOG.name), "conflicting", REVENUE_CHANGELOG.name),
}  # fmt: skip


def test_a_world_made_from_the_truth_is_exact() -> None:
    verdict = verdict_on(exact_world(), TRUTH)
    assert verdict.problems == ()
    assert verdict.exact
    outcomes = verdict.outcomes
    assert verdict.headline() == (
        f"EXACT revenue-by-merchant-1m {len(TRUTH.revenue):,} of {len(TRUTH.revenue):,} rows, order-status 400 of 400 | "
        f"{len(PLAN.sent):,} events = {outcomes.applied:,} applied + {outcomes.duplicates:,} duplicates + "
        f"{outcomes.dead:,} dead letters, as sent"
    )
    assert verdict.as_json()["exact"] is True


@pytest.mark.parametrize("name", WRONGS)
def test_one_thing_off_is_wrong(name: str) -> None:
    change, kind, topic = WRONGS[name]
    verdict = verdict_on(change(exact_world()), TRUTH)
    assert not verdict.exact
    assert verdict.headline().startswith("WRONG ")
    assert (kind, topic) in {(problem.kind, problem.topic) for problem in verdict.problems}
    assert verdict.problems[0].sentence() in verdict.headline()


def test_a_row_that_is_wrong_is_not_counted_and_says_what_is_right() -> None:
    verdict = verdict_on(with_row(STATUS, 3, status="lost")(exact_world()), TRUTH)
    assert verdict.order_status.right_count == 399
    (problem,) = verdict.problems
    order_id = list(TRUTH.order_status)[3]
    assert problem.key == order_id
    assert (problem.expected, problem.found) == (f"status {TRUTH.order_status[order_id].status}", "status lost")


def test_a_status_row_may_come_again_as_it_is() -> None:
    assert verdict_on(with_records(STATUS, lambda rows: [*rows, rows[0]])(exact_world()), TRUTH).exact


def test_money_in_flight_is_told_apart_from_money_lost() -> None:
    problems = verdict_on(with_counter("booked|EUR|gross_minor", -5)(exact_world()), TRUTH).problems
    assert [(problem.topic, problem.key) for problem in problems] == [("the money", "EUR gross_minor")]
    assert "-5 in flight" in problems[0].found


def test_a_headline_shows_twenty_rows_and_counts_the_rest() -> None:
    verdict = verdict_on(with_records(STATUS, lambda _: [])(exact_world()), TRUTH)
    lines = verdict.headline().splitlines()
    assert len(lines) == 22
    assert lines[-1] == "and 380 more"


def test_the_last_record_of_a_key_is_its_row_and_null_removes_it() -> None:
    records = [
        record("t", 0, offset, key, value)
        for offset, (key, value) in enumerate([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None)])
    ]
    assert {key: row.value for key, row in latest_per_key(records).items()} == {b"a": b"3"}
