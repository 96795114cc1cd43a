"""The definitions of the aggregates are held to small cases by hand, and to laws that hold for any events."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from connectors import reference, reference_orders
from connectors.ground_truth import truth_of
from connectors.reference import DAY_MS, HOUR_MS, MINUTE_MS, Booked, Rows, booked
from connectors.reference_orders import late_rows, order_status, unpaid_orders
from connectors.sources.generator import plan
from schemas.aggregates import RankedProduct, RevenueAdjustment, UnpaidOrder
from schemas.events import (
    Event,
    OrderCancelled,
    OrderCapture,
    OrderLine,
    OrderPlaced,
    OrderStatus,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
)

NOON = 1_795_003_200_000 // HOUR_MS * HOUR_MS
"""A full hour: 2026-11-18T12:00Z."""
A, B = OrderLine("sku-a", 2, 300), OrderLine("sku-b", 1, 600)


def placed(order_id: str = "o-1", at_ms: int = NOON, lines: tuple[OrderLine, ...] = (A, B), **changes: str) -> OrderPlaced:
    said = {"customer_id": "c-1", "merchant_id": "m-1", "currency": "EUR", **changes}
    amount_minor = sum(line.quantity * line.unit_price_minor for line in lines)
    return OrderPlaced(f"e-{order_id}", order_id, at_ms, "shop", amount_minor=amount_minor, lines=lines, **said)


def captured(payment_id: str, amount_minor: int, at_ms: int, order_id: str = "o-1", method: str = "card") -> PaymentCaptured:
    return PaymentCaptured(f"e-{payment_id}", order_id, at_ms, "psp", payment_id, method, amount_minor, "EUR")


def failed(payment_id: str, at_ms: int, order_id: str = "o-1", method: str = "card") -> PaymentFailed:
    return PaymentFailed(f"e-{payment_id}", order_id, at_ms, "psp", payment_id, method, 1_200, "EUR")


def refunded(refund_id: str, payment_id: str, amount_minor: int, at_ms: int, order_id: str = "o-1") -> PaymentRefunded:
    return PaymentRefunded(f"e-{refund_id}", order_id, at_ms, "psp", refund_id, payment_id, amount_minor, "EUR")


def cancelled(at_ms: int, order_id: str = "o-1") -> OrderCancelled:
    return OrderCancelled(f"e-c-{order_id}", order_id, at_ms, "desk")


def of(*events: Event) -> list[Booked]:
    return booked(events)


def window(start_ms: int, size_ms: int, **fields: Any) -> dict[str, Any]:
    return {"merchant_id": "m-1", "window_start_ms": start_ms, "window_end_ms": start_ms + size_ms, **fields}


def money(start_ms: int, size_ms: int, *measures: int) -> dict[str, Any]:
    names = ("orders_count", "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor", "net_minor")
    return window(start_ms, size_ms, currency="EUR", **dict(zip(names, measures, strict=True)))


def test_revenue_moves_in_the_minute_of_the_later_of_event_and_order() -> None:
    known = of(
        captured("p-1", 700, NOON - 3 * MINUTE_MS), placed(at_ms=NOON + 59_999), refunded("r-1", "p-1", 200, NOON + MINUTE_MS),
        cancelled(NOON + HOUR_MS), failed("p-2", NOON),
    )  # fmt: skip
    assert reference.revenue_by_merchant(known, MINUTE_MS) == {
        "m-1|EUR|2026-11-18T12:00Z": money(NOON, MINUTE_MS, 1, 1_200, 700, 0, 0, 700),
        "m-1|EUR|2026-11-18T12:01Z": money(NOON + MINUTE_MS, MINUTE_MS, 0, 0, 0, 200, 0, -200),
        "m-1|EUR|2026-11-18T13:00Z": money(NOON + HOUR_MS, MINUTE_MS, 0, 0, 0, 0, 1_200, 0),
    }
    midnight = NOON // DAY_MS * DAY_MS
    assert reference.revenue_by_merchant(known, DAY_MS) == {
        "m-1|EUR|2026-11-18T00:00Z": money(midnight, DAY_MS, 1, 1_200, 700, 200, 1_200, 500)
    }


def test_what_has_no_order_or_no_capture_is_in_no_aggregate() -> None:
    known = of(
        placed(), captured("p-9", 70, NOON, "o-9"), refunded("r-8", "p-8", 30, NOON), refunded("r-9", "p-9", 7, NOON, "o-9")
    )
    assert known == of(placed())


def test_products_are_summed_over_lines_and_ranked_by_gross_then_name() -> None:
    known = of(
        placed(), placed("o-2", lines=(A, A)), placed("o-3", NOON + HOUR_MS, (B,)), placed("o-4", merchant_id="m-2", lines=(B,)),
        cancelled(NOON + 1),
    )  # fmt: skip
    by_product = reference.revenue_by_product_1h(known)
    assert by_product["m-1|EUR|sku-a|2026-11-18T12:00Z"] == window(
        NOON, HOUR_MS, currency="EUR", sku="sku-a", units_count=6, gross_minor=1_800
    )
    assert by_product.keys() == {
        "m-1|EUR|sku-a|2026-11-18T12:00Z", "m-1|EUR|sku-b|2026-11-18T12:00Z", "m-1|EUR|sku-b|2026-11-18T13:00Z",
        "m-2|EUR|sku-b|2026-11-18T12:00Z",
    }  # fmt: skip
    lines = (OrderLine("z", 1, 5), *(OrderLine(f"n-{number:02d}", 1, 7) for number in range(12)), OrderLine("best", 1, 8), A)
    top = reference.top_products_1h(of(placed(lines=lines)))["m-1|EUR|2026-11-18T12:00Z"]
    assert [product.sku for product in top["products"]] == ["sku-a", "best", *(f"n-{number:02d}" for number in range(8))]
    assert top["products"][0] == RankedProduct("sku-a", 2, 600)


def test_attempts_are_counted_by_method_in_the_minute_of_the_later_of_event_and_order() -> None:
    known = of(
        failed("p-1", NOON - HOUR_MS, method="wallet"), placed(), failed("p-2", NOON + 5), failed("p-3", NOON + 6),
        captured("p-4", 1_200, NOON + 7), captured("p-5", 1, NOON + MINUTE_MS), failed("p-6", NOON, "o-9"),
    )  # fmt: skip

    def attempts(start_ms: int, method: str, captures: int, failures: int, rate: float) -> dict[str, Any]:
        counts = {"attempts_count": captures + failures, "captures_count": captures, "failures_count": failures}
        return window(start_ms, MINUTE_MS, method=method, **counts, failure_rate=rate)

    assert reference.payments_by_method_1m(known) == {
        "m-1|card|2026-11-18T12:00Z": attempts(NOON, "card", 1, 2, 2 / 3),
        "m-1|card|2026-11-18T12:01Z": attempts(NOON + MINUTE_MS, "card", 1, 0, 0.0),
        "m-1|wallet|2026-11-18T12:00Z": attempts(NOON, "wallet", 0, 1, 1.0),
    }


def test_time_to_capture_is_of_all_captures_of_the_hour_and_no_less_than_nothing() -> None:
    known = of(
        placed(), captured("early", 1, NOON - 9), *(captured(f"p-{n}", 1, NOON + n * 1_000) for n in range(1, 100)),
        captured("late", 1, NOON + HOUR_MS),
    )  # fmt: skip
    one = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), HOUR_MS)
    assert reference.time_to_capture_1h(known) == {
        "m-1|2026-11-18T12:00Z": window(NOON, HOUR_MS, captures_count=100, p50_ms=49_000, p95_ms=94_000, p99_ms=98_000),
        "m-1|2026-11-18T13:00Z": window(NOON + HOUR_MS, HOUR_MS, captures_count=1, **one),
    }  # fmt: skip


def test_customers_are_counted_by_day_and_alerts_are_of_any_hour_that_begins_at_ten_minutes() -> None:
    near_noon = [placed(f"o-{n}", NOON - 5 * MINUTE_MS + n * MINUTE_MS, (OrderLine("s", 1, 100),)) for n in range(10)]
    midnight = NOON // DAY_MS * DAY_MS
    assert reference.customers_1d(of(*near_noon)) == {
        "c-1|EUR|2026-11-18T00:00Z": {
            "customer_id": "c-1", "currency": "EUR", "window_start_ms": midnight, "window_end_ms": midnight + DAY_MS,
            "orders_count": 10, "gross_minor": 1_000,
        }
    }  # fmt: skip
    assert reference.alerts(of(*near_noon), 10, 1_000) == {}
    by_count = reference.alerts(of(*near_noon), 9, 1_000)
    assert [row["window_start_ms"] for row in sorted(by_count.values(), key=lambda row: row["window_start_ms"])] == [
        NOON - minutes * MINUTE_MS for minutes in (50, 40, 30, 20, 10)
    ]
    assert {row["because"] for row in by_count.values()} == {"orders"}
    assert {row["window_end_ms"] - row["window_start_ms"] for row in by_count.values()} == {HOUR_MS}
    assert {row["because"] for row in reference.alerts(of(*near_noon), 9, 999).values()} == {"orders+gross"}
    assert {row["because"] for row in reference.alerts(of(*near_noon), 10, 999).values()} == {"gross"}


def test_an_order_has_its_captures_by_time_and_what_was_given_back_of_each() -> None:
    known = of(
        captured("p-2", 500, NOON + 9), refunded("r-2", "p-2", 100, NOON + 12), refunded("r-1", "p-2", 50, NOON + 30), placed(),
        failed("p-0", NOON + 1), captured("p-1", 700, NOON + 9), cancelled(NOON + 20),
    )  # fmt: skip
    assert order_status(known) == {
        "o-1": OrderStatus(
            "o-1", "m-1", "c-1", "EUR", "cancelled", 1_200, 1_200, 150, refund_due=True, failures_count=1, placed_at_ms=NOON,
            cancelled_at_ms=NOON + 20, updated_at_ms=NOON + 30, revision=7,
            captures=(
                OrderCapture("p-1", "card", NOON + 9, 700, 0, None), OrderCapture("p-2", "card", NOON + 9, 500, 150, NOON + 30),
            ),
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((), "placed"),
        ((captured("p", 1, NOON),), "partially_captured"),
        ((captured("p", 1_200, NOON),), "captured"),
        ((captured("p", 1_200, NOON), refunded("r", "p", 1_199, NOON)), "captured"),
        ((captured("p", 1, NOON), refunded("r", "p", 1, NOON)), "refunded"),
        ((captured("p", 1, NOON), refunded("r", "p", 1, NOON), cancelled(NOON)), "cancelled"),
    ],
)
def test_the_status_of_an_order(events: tuple[Event, ...], status: str) -> None:
    assert order_status(of(placed(), *events))["o-1"].status == status


@pytest.mark.parametrize(
    ("events", "is_unpaid"),
    [
        ((), True),
        ((failed("p", NOON + 1),), True),
        ((captured("p", 1, NOON + 30 * MINUTE_MS),), False),
        ((captured("p", 1, NOON + 30 * MINUTE_MS + 1),), True),
        ((cancelled(NOON + 30 * MINUTE_MS),), False),
        ((cancelled(NOON + 31 * MINUTE_MS), captured("p", 1, NOON + HOUR_MS)), True),
        ((cancelled(NOON + 31 * MINUTE_MS), captured("p", 1, NOON - 5)), False),
    ],
)
def test_an_order_is_unpaid_when_a_grace_has_passed_since_the_minute_in_which_it_should_have_been_paid(
    events: tuple[Event, ...], is_unpaid: bool
) -> None:
    row = UnpaidOrder("o-1", "m-1", "c-1", "EUR", 1_200, NOON, NOON + 30 * MINUTE_MS)
    sure_ms = NOON + 31 * MINUTE_MS + 10_000
    known = of(placed(), *events)
    assert unpaid_orders(known, sure_ms, 30 * MINUTE_MS, 10_000) == ({"o-1": row} if is_unpaid else {})
    assert unpaid_orders(known, sure_ms - 1, 30 * MINUTE_MS, 10_000) == {}


def test_a_late_event_says_all_that_it_would_have_moved() -> None:
    known = of(
        placed(), captured("p-1", 700, NOON + 61_000), failed("p-2", NOON), refunded("r-1", "p-1", 5, NOON), cancelled(NOON)
    )
    rows = list(late_rows(known, {each.event.event_id for each in known}))

    def said(event_id: str) -> list[tuple[str, dict[str, str], int, dict[str, int]]]:
        return [(row.flow, row.dimensions, row.minute_ms, row.amounts) for row, _ in rows if row.event_id == event_id]

    merchant, euros = {"merchant_id": "m-1"}, {"merchant_id": "m-1", "currency": "EUR"}
    assert said("e-o-1") == [
        ("money", euros, NOON, {"orders_count": 1, "gross_minor": 1_200}),
        ("customers", {"customer_id": "c-1", "currency": "EUR"}, NOON, {"orders_count": 1, "gross_minor": 1_200}),
        ("products", {**euros, "sku": "sku-a"}, NOON, {"units_count": 2, "gross_minor": 600}),
        ("products", {**euros, "sku": "sku-b"}, NOON, {"units_count": 1, "gross_minor": 600}),
    ]
    assert said("e-p-1") == [
        ("money", euros, NOON + MINUTE_MS, {"captured_minor": 700}),
        ("attempts", {**merchant, "method": "card"}, NOON + MINUTE_MS, {"captures_count": 1}),
        ("delays", merchant, NOON + MINUTE_MS, {"captures_count": 1}),
    ]
    assert [delay_ms for row, delay_ms in rows if row.flow == "delays"] == [61_000]
    assert said("e-p-2") == [("attempts", {**merchant, "method": "card"}, NOON, {"failures_count": 1})]
    assert said("e-r-1") == [("money", euros, NOON, {"refunded_minor": 5})]
    assert said("e-c-o-1") == [("money", euros, NOON, {"cancelled_minor": 1_200})]
    assert {row.reason for row, _ in rows} == {"late"}
    assert list(late_rows(known, set())) == []


def bucket_of(delay_ms: int) -> int:
    return LogarithmicMapping(reference.QUANTILE_ERROR).key(delay_ms) if delay_ms else -1


@given(st.integers(0, 400 * DAY_MS))
def test_a_bucket_stands_for_its_delays_to_one_percent(delay_ms: int) -> None:
    middle_ms = reference.bucket_ms(bucket_of(delay_ms))
    assert reference.is_close(middle_ms, delay_ms)
    assert not reference.is_close(middle_ms * 1.03 + 3, delay_ms)


MODELS: dict[str, tuple[Callable[..., Rows], tuple[int, ...]]] = {
    "revenue_by_merchant 1m": (reference.revenue_by_merchant, (MINUTE_MS,)),
    "revenue_by_merchant 1h": (reference.revenue_by_merchant, (HOUR_MS,)),
    "revenue_by_merchant 1d": (reference.revenue_by_merchant, (DAY_MS,)),
    "revenue_by_product_1h": (reference.revenue_by_product_1h, ()),
    "top_products_1h": (reference.top_products_1h, ()),
    "payments_by_method_1m": (reference.payments_by_method_1m, ()),
    "time_to_capture_1h": (reference.time_to_capture_1h, ()),
    "customers_1d": (reference.customers_1d, ()),
    "alerts": (reference.alerts, (2, 100_000)),
}


def adjustments(known: list[Booked], late_ids: set[str]) -> list[RevenueAdjustment]:
    """Give the rows with their buckets."""
    rows = []
    for row, delay_ms in late_rows(known, late_ids):
        if delay_ms is not None:
            row.dimensions["bucket"] = str(bucket_of(delay_ms))
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Day:
    """Events of a small plan, and a choice of them."""

    events: tuple[Event, ...]
    late_ids: set[str]


def _day(seed: int, orders: int, share: float) -> Day:
    truth = truth_of(plan(orders, seed, NOON))
    chosen = random.Random(seed)
    return Day(truth.accepted, {event.event_id for event in truth.accepted if chosen.random() < share})


DAYS = st.builds(_day, st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.3, 1.0]))


def _as_it_is(value: Any) -> Any:
    return value


@pytest.mark.parametrize("name", MODELS)
@given(day=DAYS, shuffle=st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter_and_what_is_late_is_as_if_it_had_moved_nothing(
    name: str, day: Day, shuffle: random.Random
) -> None:
    model, arguments = MODELS[name]
    events = list(day.events)
    known = booked(events)
    shuffle.shuffle(events)
    assert model(booked(events), *arguments) == model(known, *arguments)
    in_time = [each for each in known if each.event.event_id not in day.late_ids]
    left, right = model(known, *arguments, adjusted=adjustments(known, day.late_ids)), model(in_time, *arguments)
    assert left.keys() == right.keys()
    for key, row in right.items():
        for field, value in row.items():
            # An adjustment says in which bucket a delay was, and not which it was.
            said = bucket_of if field in {"p50_ms", "p95_ms", "p99_ms"} else _as_it_is
            assert said(left[key][field]) == said(value), (key, field, left[key][field], value)


def test_what_is_taken_away_is_of_its_own_bucket_also_at_the_border_of_two() -> None:
    known = of(placed(), captured("p-1", 600, NOON + 9_899), captured("p-2", 600, NOON + 10_100))
    assert bucket_of(10_100) == bucket_of(9_899) + 1
    for late, left_ms in (("e-p-1", 10_100), ("e-p-2", 9_899)):
        (row,) = reference.time_to_capture_1h(known, adjustments(known, {late})).values()
        assert row["p50_ms"] == left_ms


@given(DAYS)
def test_finer_windows_sum_to_coarser_ones(day: Day) -> None:
    known = booked(day.events)
    for finer_ms, coarser_ms in ((MINUTE_MS, HOUR_MS), (HOUR_MS, DAY_MS)):
        sums: dict[tuple[str, str, int], Counter[str]] = {}
        for row in reference.revenue_by_merchant(known, finer_ms).values():
            place = row["merchant_id"], row["currency"], row["window_start_ms"] // coarser_ms * coarser_ms
            sums.setdefault(place, Counter()).update({name: row[name] for name in row if name.endswith(("_minor", "_count"))})
        coarser = reference.revenue_by_merchant(known, coarser_ms).values()
        assert len(coarser) == len(sums)
        for row in coarser:
            of_window = sums[row["merchant_id"], row["currency"], row["window_start_ms"]]
            assert all(row[name] == amount for name, amount in of_window.items())


@given(DAYS)
def test_what_customers_products_and_orders_say_adds_up_to_what_merchants_have(day: Day) -> None:
    known = booked(day.events)
    merchants = reference.revenue_by_merchant(known, DAY_MS).values()
    statuses = order_status(known).values()
    for other in (reference.customers_1d(known).values(), reference.revenue_by_product_1h(known).values()):
        assert sum(row["gross_minor"] for row in other) == sum(row["gross_minor"] for row in merchants)
    for measure in ("captured_minor", "refunded_minor"):
        assert sum(getattr(row, measure) for row in statuses) == sum(row[measure] for row in merchants)
        assert all(getattr(row, measure) == sum(getattr(each, measure) for each in row.captures) for row in statuses)
    attempts = reference.payments_by_method_1m(known).values()
    assert sum(row["captures_count"] for row in attempts) == sum(len(row.captures) for row in statuses)
    assert sum(row["failures_count"] for row in attempts) == sum(row.failures_count for row in statuses)


def test_every_definition_is_at_most_thirty_lines() -> None:
    models: list[Callable[..., Any]] = [*(model for model, _ in MODELS.values()), booked, unpaid_orders, late_rows]
    parts: list[list[Callable[..., Any]]] = [[order_status, reference_orders._status], [reference_orders._moved]]
    assert all(len(inspect.getsource(model).splitlines()) <= 30 for model in models)
    assert all(sum(len(inspect.getsource(each).splitlines()) for each in part) <= 30 for part in parts)
