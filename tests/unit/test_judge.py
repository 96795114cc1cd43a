"""The judge is judged: a world made from the truth is EXACT, and any one thing off in it is WRONG."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import pytest

from agents.flows import FLOWS
from agents.ports import Limits
from connectors.compare_once import DIMENSIONS
from connectors.judge import Terms
from connectors.reader import latest_per_key
from connectors.reference_orders import unpaid_orders
from schemas import codec, events
from schemas.topics import (
    ALERTS,
    CONTROL_TOTALS,
    CUSTOMERS_1D,
    CUSTOMERS_CHANGELOG,
    ORDERS,
    ORDERS_DLQ,
    PAYMENTS,
    PAYMENTS_BY_METHOD_1M,
    PAYMENTS_DLQ,
    REVENUE_BY_MERCHANT_1D,
    REVENUE_BY_MERCHANT_1H,
    REVENUE_BY_PRODUCT_1H,
    REVENUE_CHANGELOG,
    REVENUE_DELTAS,
    SETTLEMENT_CHANGELOG,
    TIME_TO_CAPTURE_1H,
    TOP_PRODUCTS_1H,
    TOPICS,
    UNPAID_ORDERS,
    Kind,
)
from streams.settings import Settings
from tests.unit.judged_world import (
    ADJUSTMENTS,
    DAY,
    MINUTE,
    PLAN,
    REVENUE,
    START_MS,
    STATUS,
    TERMS,
    TRUTH,
    UNMATCHED,
    UNPAID,
    exact_world,
    letter,
    record,
    row_record,
    told,
    unmatched,
)
from tests.unit.wrong_worlds import (
    OUTPUTS,
    WINDOWED,
    Change,
    after_final,
    another_key,
    elsewhere,
    foreign,
    given_up_one,
    is_final,
    judged,
    other_bucket,
    other_reason,
    paid_order,
    replaced,
    with_committed,
    with_counter,
    with_final,
    with_records,
    with_row,
    without_marker,
)

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
    "an offset of the deltas is too low": (with_committed(REVENUE_DELTAS.name, 40), "conflicting", REVENUE_DELTAS.name),
    "a task left no marker": (lambda world: replace(world, markers={}), "missing", SETTLEMENT_CHANGELOG.name),
    "a task of customers left no marker": (without_marker(CUSTOMERS_CHANGELOG), "missing", CUSTOMERS_CHANGELOG.name),
    **{
        f"one off in {name}": (with_counter(name, 1), "conflicting", SETTLEMENT_CHANGELOG.name)
        for name in (
            "consumed", "applied", "duplicates", "dead", "dead|truncated", "dead|currency_mismatch",
            "accepted|EUR|captured_minor",
            "waiting|EUR|captured_minor", "unmatched|SEK|captured_minor", "accepted|USD|orders_count",
        )
    },
    "one minor unit off in what is booked": (with_counter("booked|EUR|refunded_minor", -1), "conflicting", "the money"),
    "one minor unit off in what is windowed": (
        with_counter("windowed|EUR|gross_minor", 1, REVENUE_CHANGELOG.name), "conflicting", REVENUE_CHANGELOG.name,
    ),
    "one minor unit off in what settlement adjusted": (
        with_counter("adjusted|EUR|gross_minor", -1), "conflicting", SETTLEMENT_CHANGELOG.name,
    ),
    "money that nobody sees was adjusted by revenue": (
        with_counter("adjusted|EUR|gross_minor", 1, REVENUE_CHANGELOG.name), "conflicting", REVENUE_CHANGELOG.name,
    ),
    **{
        f"a record was not consumed that {name} says was": (with_counter("consumed", -1, name), "conflicting", name)
        for name in (REVENUE_CHANGELOG.name, CUSTOMERS_CHANGELOG.name)
    },
    "money is left in the shuffle": (
        with_records(REVENUE_DELTAS.name, lambda rows: [*rows, told(REVENUE_DELTAS, 44, adds=True)]),
        "missing", REVENUE_CHANGELOG.name,
    ),
    **{
        f"{what} of {topic.name}": (change, kind, topic.name)
        for topic in WINDOWED
        for what, change, kind in (
            ("a row is missing", with_records(topic.name, lambda rows: rows[2:]), "missing"),
            ("a row is foreign", with_records(topic.name, foreign), "foreign"),
            ("a row is in another partition", with_records(topic.name, elsewhere), "conflicting"),
            ("a row comes twice", with_records(topic.name, lambda rows: [*rows, rows[-1]]), "duplicate"),
            ("a window ends elsewhere", with_row(topic.name, -1, window_end_ms=60_000), "conflicting"),
            ("a status is unknown", with_row(topic.name, -1, status="open"), "conflicting"),
            ("a row is final too early", with_row(topic.name, -1, status="final"), "conflicting"),
        )
    },
    **{
        f"{field} of {topic.name} is off": (with_row(topic.name, -1, **{field: value}), "conflicting", topic.name)
        for topic, field, value in (
            (REVENUE_BY_MERCHANT_1H, "net_minor", 1), (REVENUE_BY_MERCHANT_1D, "cancelled_minor", 1),
            (REVENUE_BY_PRODUCT_1H, "units_count", 99), (TOP_PRODUCTS_1H, "products", ()),
            (PAYMENTS_BY_METHOD_1M, "failure_rate", 0.123), (PAYMENTS_BY_METHOD_1M, "attempts_count", 99),
            (TIME_TO_CAPTURE_1H, "captures_count", 9_999), (TIME_TO_CAPTURE_1H, "p95_ms", 3_600_000),
            (CUSTOMERS_1D, "orders_count", 99), (ALERTS, "because", "nothing"), (ALERTS, "gross_minor", 1),
        )
    },
    "a final row comes twice": (with_records(REVENUE, after_final("final")), "duplicate", REVENUE),
    "a row comes behind a final one": (with_records(REVENUE, after_final("provisional")), "conflicting", REVENUE),
    "a window that is over is not final": (
        with_records(REVENUE, lambda rows: [each for each in rows if not is_final(each)]), "conflicting", REVENUE,
    ),
    "the watermark is not as far as the windows say": (
        with_counter("watermark_ms", -MINUTE, REVENUE_CHANGELOG.name, every=True), "conflicting", REVENUE,
    ),
    "the watermark is farther than the windows say": (
        with_counter("watermark_ms", MINUTE, REVENUE_CHANGELOG.name, every=True), "conflicting", REVENUE,
    ),
    "an adjustment is missing": (with_records(ADJUSTMENTS, lambda rows: rows[1:]), "missing", ADJUSTMENTS),
    "an adjustment comes twice": (with_records(ADJUSTMENTS, lambda rows: [*rows, rows[0]]), "duplicate", ADJUSTMENTS),
    "an adjustment is of another event": (with_row(ADJUSTMENTS, 0, event_id="e-other"), "foreign", ADJUSTMENTS),
    "an adjustment has another amount": (with_row(ADJUSTMENTS, 0, amounts={"gross_minor": 1}), "foreign", ADJUSTMENTS),
    "an adjustment is of another minute": (with_row(ADJUSTMENTS, 0, minute_ms=START_MS), "conflicting", ADJUSTMENTS),
    "an adjustment has another reason": (with_row(ADJUSTMENTS, 0, reason="lost"), "foreign", ADJUSTMENTS),
    "an adjustment is of no flow": (with_row(ADJUSTMENTS, 0, flow="tips"), "conflicting", ADJUSTMENTS),
    "an adjustment is in another partition": (with_records(ADJUSTMENTS, elsewhere), "conflicting", ADJUSTMENTS),
    "a delay is in another bucket": (with_records(ADJUSTMENTS, other_bucket("3")), "conflicting", ADJUSTMENTS),
    "a delay is in no bucket": (with_records(ADJUSTMENTS, other_bucket("soon")), "conflicting", ADJUSTMENTS),
    "money met a final window": (with_final, "foreign", ADJUSTMENTS),
    "an unpaid order is not said": (with_records(UNPAID, lambda rows: rows[1:]), "missing", UNPAID),
    "an unpaid order is said twice": (with_records(UNPAID, lambda rows: [*rows, rows[0]]), "duplicate", UNPAID),
    "an unpaid order is altered": (with_row(UNPAID, 0, amount_minor=1), "conflicting", UNPAID),
    "an order is said to be unpaid that was paid": (with_records(UNPAID, paid_order), "foreign", UNPAID),
    "it was too early to say that an order is unpaid": (
        with_counter("watermark_ms", -30 * MINUTE, SETTLEMENT_CHANGELOG.name, every=True), "foreign", UNPAID,
    ),
    "a payment that waits is given up too early": (with_records(UNMATCHED, given_up_one), "foreign", UNMATCHED),
    "nothing that waits is given up though it is time": (
        with_counter("watermark_ms", 2 * DAY, SETTLEMENT_CHANGELOG.name, every=True), "missing", UNMATCHED,
    ),
}  # fmt: skip


def test_a_world_made_from_the_truth_is_exact() -> None:
    verdict = judged(exact_world())
    assert verdict.problems == ()
    assert verdict.exact
    assert list(verdict.topics) == [*(topic.name for topic in OUTPUTS)]
    assert min(rows.expected_count for rows in verdict.topics.values()) > 0, "nothing is judged of a topic without rows"
    outcomes, revenue = verdict.outcomes, verdict.revenue.expected_count
    others = sum(rows.expected_count for rows in verdict.topics.values()) - revenue - 405
    assert verdict.headline() == (
        f"EXACT revenue-by-merchant-1m {revenue:,} of {revenue:,} rows, order-status 405 of 405, "
        f"11 more topics {others:,} of {others:,} | "
        f"{len(PLAN.sent):,} events = {outcomes.applied:,} applied + {outcomes.duplicates:,} duplicates + "
        f"{outcomes.dead:,} dead letters, as sent"
    )
    report = verdict.as_json()
    assert (report["exact"], report["rows"][ALERTS.name]["right"]) == (True, verdict.topics[ALERTS.name].right_count)
    assert [line for line in verdict.table() if "order-status" in line] == ["order-status            405 of 405"]


def test_the_terms_are_those_of_a_deployment_that_sets_nothing() -> None:
    terms = asdict(Terms())
    assert terms.pop("finals_allowed") is False
    assert terms == {name: value for name, value in asdict(Limits()).items() if name in terms}
    assert Terms.of(Limits(grace_ms=7)) == replace(Terms(), grace_ms=7) == Terms.of(Settings(grace_ms=7))
    assert {flow.name: flow.dimensions for flow in FLOWS} == DIMENSIONS
    outputs = {topic.name for topic in TOPICS if topic.kind is Kind.OUTPUT}
    assert {topic.name for topic in OUTPUTS} == outputs - {CONTROL_TOTALS.name}, "markers are judged, of which it is a copy"


@pytest.mark.parametrize("name", WRONGS)
def test_one_thing_off_is_wrong(name: str) -> None:
    change, kind, topic = WRONGS[name]
    verdict = judged(change(exact_world()))
    assert not verdict.exact
    assert verdict.headline().startswith("WRONG ")
    assert (kind, topic) in {(problem.kind, problem.topic) for problem in verdict.problems}
    assert verdict.problems[0].sentence() in verdict.headline()


def test_a_row_that_is_wrong_is_not_counted_and_says_what_is_right() -> None:
    verdict = judged(with_row(STATUS, 3, status="lost")(exact_world()))
    assert verdict.order_status.right_count == 404
    (problem,) = verdict.problems
    assert verdict.topics[STATUS] == verdict.order_status
    order_id = list(TRUTH.order_status)[3]
    assert problem.key == order_id
    assert (problem.expected, problem.found) == (f"status {TRUTH.order_status[order_id].status}", "status lost")


def test_a_status_row_may_come_again_as_it_is() -> None:
    assert judged(with_records(STATUS, lambda rows: [*rows, rows[0]])(exact_world())).exact


def test_money_in_flight_is_told_apart_from_money_lost() -> None:
    problems = judged(with_counter("booked|EUR|gross_minor", -5)(exact_world())).problems
    assert [(problem.topic, problem.key) for problem in problems] == [("the money", "EUR gross_minor")]
    assert "-5 in flight" in problems[0].found


def test_a_headline_shows_twenty_rows_and_counts_the_rest() -> None:
    verdict = judged(with_records(STATUS, lambda _: [])(exact_world()))
    lines = verdict.headline().splitlines()
    assert len(lines) == 22
    assert lines[-1] == "and 385 more"


def test_the_last_record_of_a_key_is_its_row_and_null_removes_it() -> None:
    records = [
        record("t", 0, offset, key, value)
        for offset, (key, value) in enumerate([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None)])
    ]
    assert {key: row.value for key, row in latest_per_key(records).items()} == {b"a": b"3"}


def test_money_that_met_a_final_window_is_counted_and_may_be_allowed() -> None:
    verdict = judged(with_final(exact_world()), replace(TERMS, finals_allowed=True))
    assert verdict.problems == ()
    assert verdict.finals_count == verdict.as_json()["finals_count"] == 1


def test_windows_may_become_final_while_they_are_read() -> None:
    world = exact_world()
    earlier = with_counter("watermark_ms", -3 * MINUTE, REVENUE_CHANGELOG.name, every=True)(world).markers
    later = with_counter("watermark_ms", 3 * MINUTE, REVENUE_CHANGELOG.name, every=True)(world).markers
    assert judged(replace(world, earlier=earlier)).exact
    assert judged(replace(world, markers=later)).exact


def test_quantiles_are_right_to_one_percent() -> None:
    rows = exact_world().records[TIME_TO_CAPTURE_1H.name]
    p99_ms: int = codec.decode(rows[-1].value).p99_ms  # type: ignore[union-attr]
    for share, is_exact in ((0.01, True), (-0.01, True), (0.02, False), (-0.02, False)):
        world = with_row(TIME_TO_CAPTURE_1H.name, -1, p99_ms=round(p99_ms * (1 + share)))(exact_world())
        assert judged(world).exact == is_exact


def test_an_order_whose_payment_came_late_may_have_been_said_to_be_unpaid_before() -> None:
    late = {each.order.order_id: each.order for each in TRUTH.booked if each.event.event_id in TRUTH.late_ids}
    captures = [each.event for each in TRUTH.booked if isinstance(each.event, events.PaymentCaptured)]
    paid = {each.order_id for each in captures if each.event_id in TRUTH.late_ids}
    assert paid
    for order in (late[order_id] for order_id in paid):
        order_id = order.order_id
        row = replaced(
            exact_world().records[UNPAID][0], order_id=order_id, merchant_id=order.merchant_id, customer_id=order.customer_id,
            currency=order.currency, amount_minor=order.amount_minor, placed_at_ms=order.occurred_at_ms,
            unpaid_at_ms=order.occurred_at_ms + 30 * MINUTE,
        )  # fmt: skip
        said = row_record(UNPAID_ORDERS, order_id, order_id, row)
        assert judged(with_records(UNPAID, partial(lambda said, rows: [*rows, said], said))(exact_world())).exact


def test_what_waited_too_long_by_the_watermark_is_given_up() -> None:
    world = with_counter("watermark_ms", 2 * DAY, SETTLEMENT_CHANGELOG.name, every=True)(exact_world())
    payments = [each for each in TRUTH.waiting if isinstance(each, events.PaymentCaptured | events.PaymentRefunded)]
    for event in payments:
        measure = "captured_minor" if isinstance(event, events.PaymentCaptured) else "refunded_minor"
        for account, sign in (("waiting", -1), ("unmatched", 1)):
            world = with_counter(f"{account}|{event.currency}|{measure}", sign * event.amount_minor)(world)
    world = with_counter("waiting_events", -len(payments))(world)
    before = world
    world = with_records(UNMATCHED, lambda rows: [*rows, *(unmatched(each, "waited_too_long") for each in payments)])(world)
    all_unpaid = unpaid_orders(TRUTH.booked, START_MS + 2 * DAY, TERMS.unpaid_after_ms, TERMS.grace_ms)
    world = with_records(UNPAID, lambda _: [row_record(UNPAID_ORDERS, key, key, row) for key, row in all_unpaid.items()])(world)
    assert judged(world).problems == ()
    once_more = with_records(UNMATCHED, lambda rows: [*rows, rows[-1]])(world)
    assert ("duplicate", UNMATCHED) in {(problem.kind, problem.topic) for problem in judged(once_more).problems}
    # They may be given up while the rows are read already: the books have them then, the rows not yet.
    assert judged(replace(world, earlier=exact_world().markers)).problems == ()
    not_yet = with_records(UNMATCHED, lambda _: before.records[UNMATCHED])(world)
    assert judged(replace(not_yet, earlier=exact_world().markers)).exact
    assert not judged(not_yet).exact


def test_time_goes_on_while_nothing_is_sent() -> None:
    told_only = with_records(REVENUE_DELTAS.name, lambda rows: [*rows, told(REVENUE_DELTAS, 44, adds=False)])
    assert judged(told_only(exact_world())).exact
