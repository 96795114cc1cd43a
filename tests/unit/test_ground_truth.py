from __future__ import annotations

from collections import Counter

from connectors.ground_truth import Truth, truth_of
from connectors.sources.generator import APPLIED, DUPLICATE, Dead, DeadOrUnmatched, Expectation, Plan, Sent
from schemas import codec, events
from schemas.topics import ORDERS, PAYMENTS

MINUTE = 60_000
NOON = 1_795_003_200_000 // MINUTE * MINUTE


def sent(event: events.Event, expected: Expectation = APPLIED) -> Sent:
    topic = ORDERS if type(event) in ORDERS.values else PAYMENTS
    return Sent(topic, event.order_id.encode(), codec.encode(event), expected)


def truth(*records: Sent) -> Truth:
    return truth_of(Plan(1, NOON, list(records)))


def placed(order_id: str = "o-1", at_ms: int = NOON, amount_minor: int = 1_000) -> events.OrderPlaced:
    line = events.OrderLine("sku", 1, amount_minor)
    return events.OrderPlaced(f"e-{order_id}", order_id, at_ms, "shop", "c-1", "m-1", "EUR", amount_minor, (line,))


def captured(
    payment_id: str, amount_minor: int, at_ms: int = NOON + 1, order_id: str = "o-1", currency: str = "EUR"
) -> events.PaymentCaptured:
    return events.PaymentCaptured(f"e-{payment_id}", order_id, at_ms, "psp", payment_id, "card", amount_minor, currency)


def refunded(payment_id: str, amount_minor: int, at_ms: int = NOON + 2, order_id: str = "o-1") -> events.PaymentRefunded:
    return events.PaymentRefunded(
        f"e-r-{payment_id}-{at_ms}", order_id, at_ms, "psp", f"r-{at_ms}", payment_id, amount_minor, "EUR"
    )


def failed(at_ms: int = NOON + 1) -> events.PaymentFailed:
    return events.PaymentFailed("e-f", "o-1", at_ms, "psp", "p-f", "card", 1_000, "EUR")


def cancelled(at_ms: int) -> events.OrderCancelled:
    return events.OrderCancelled("e-c", "o-1", at_ms, "desk")


def row(**changes: object) -> events.OrderStatus:
    fields: dict[str, object] = {
        "order_id": "o-1", "merchant_id": "m-1", "customer_id": "c-1", "currency": "EUR", "status": "placed",
        "amount_minor": 1_000, "captured_minor": 0, "refunded_minor": 0, "refund_due": False, "failures_count": 0,
        "placed_at_ms": NOON, "cancelled_at_ms": None, "updated_at_ms": NOON, "revision": 1,
    }  # fmt: skip
    return events.OrderStatus(**{**fields, **changes})  # type: ignore[arg-type]


def test_an_order_alone_is_one_row_in_each_table() -> None:
    result = truth(sent(placed()))
    assert result.order_status == {"o-1": row()}
    assert result.revenue == {("m-1", "EUR", NOON): Counter(orders_count=1, gross_minor=1_000)}
    assert result.accepted == {("EUR", "orders_count"): 1, ("EUR", "gross_minor"): 1_000}
    assert result.waiting == {}


def test_a_payment_ahead_of_its_order_is_booked_in_the_minute_of_the_order() -> None:
    result = truth(sent(captured("p-1", 400, NOON - 3 * MINUTE)), sent(placed()))
    assert result.revenue == {("m-1", "EUR", NOON): Counter(orders_count=1, gross_minor=1_000, captured_minor=400)}
    assert result.order_status == {"o-1": row(status="partially_captured", captured_minor=400, revision=2)}


def test_a_later_event_is_booked_in_its_own_minute() -> None:
    at_ms = NOON + 5 * MINUTE + 7
    result = truth(sent(placed()), sent(captured("p-1", 1_000, at_ms)), sent(failed()))
    assert result.revenue == {
        ("m-1", "EUR", NOON): Counter(orders_count=1, gross_minor=1_000),
        ("m-1", "EUR", NOON + 5 * MINUTE): Counter(captured_minor=1_000),
    }
    expected = row(status="captured", captured_minor=1_000, failures_count=1, updated_at_ms=at_ms, revision=3)
    assert result.order_status == {"o-1": expected}


def test_a_capture_after_the_cancellation_is_booked_and_a_refund_is_due() -> None:
    result = truth(
        sent(placed()), sent(cancelled(NOON + 5)), sent(captured("p-1", 1_000, NOON + 9)), sent(refunded("p-1", 300, NOON + 10))
    )
    assert result.order_status == {
        "o-1": row(
            status="cancelled", captured_minor=1_000, refunded_minor=300, refund_due=True, cancelled_at_ms=NOON + 5,
            updated_at_ms=NOON + 10, revision=4,
        )
    }  # fmt: skip
    measures = Counter(orders_count=1, gross_minor=1_000, captured_minor=1_000, refunded_minor=300, cancelled_minor=1_000)
    assert result.revenue == {("m-1", "EUR", NOON): measures}


def test_everything_given_back_is_refunded() -> None:
    result = truth(sent(placed()), sent(captured("p-1", 600)), sent(refunded("p-1", 600)))
    assert result.order_status == {
        "o-1": row(status="refunded", captured_minor=600, refunded_minor=600, updated_at_ms=NOON + 2, revision=3)
    }


def test_what_never_finds_its_order_or_its_capture_waits_and_makes_no_row() -> None:
    result = truth(sent(placed()), sent(captured("p-9", 70, order_id="o-9")), sent(refunded("p-8", 30)))
    assert result.order_status == {"o-1": row()}
    assert result.waiting == {("EUR", "captured_minor"): 70, ("EUR", "refunded_minor"): 30}
    assert result.accepted["EUR", "captured_minor"] == 70


def test_duplicates_dead_letters_and_racing_records_change_no_row_and_are_counted() -> None:
    dead = Sent(PAYMENTS, b"o-1", b"junk", Dead("undecodable", "no_magic_byte"))
    racing = sent(captured("p-2", 5, currency="USD"), DeadOrUnmatched("currency_mismatch"))
    result = truth(sent(placed()), sent(placed(), DUPLICATE), dead, racing)
    assert result.order_status == {"o-1": row()}
    assert (result.sent_count, result.applied_count, result.duplicates_count, result.dead_count) == (4, 1, 1, 1)
    assert result.dead_letters == {(PAYMENTS, b"o-1", b"junk"): (Dead("undecodable", "no_magic_byte"),)}
    assert result.dead_by_reason == {"no_magic_byte": 1}
    assert list(result.racing.values()) == [DeadOrUnmatched("currency_mismatch")]
    assert ("USD", "captured_minor") not in result.accepted
