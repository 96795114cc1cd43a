from __future__ import annotations

from connectors.ground_truth import Truth, truth_of, waiting_money
from connectors.reference import MINUTE_MS, revenue_by_merchant
from connectors.sources.generator import APPLIED, DUPLICATE, Dead, DeadOrUnmatched, Expectation, Late, Plan, Sent, Unmatched
from connectors.sources.sent import OTHER_CONTENT
from schemas import codec, events
from schemas.topics import ORDERS, PAYMENTS

NOON = 1_795_003_200_000 // MINUTE_MS * MINUTE_MS


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


def failed(at_ms: int = NOON + 1, order_id: str = "o-1") -> events.PaymentFailed:
    return events.PaymentFailed(f"e-f-{order_id}", order_id, at_ms, "psp", "p-f", "card", 1_000, "EUR")


def cancelled(at_ms: int, order_id: str = "o-1") -> events.OrderCancelled:
    return events.OrderCancelled(f"e-c-{order_id}", order_id, at_ms, "desk")


def test_what_was_accepted_is_all_that_the_aggregates_are_made_of() -> None:
    result = truth(sent(captured("p-1", 400, NOON - 3 * MINUTE_MS)), sent(placed()), sent(cancelled(NOON)), sent(failed()))
    assert [type(event).__name__ for event in result.accepted] == [
        "PaymentCaptured", "OrderPlaced", "OrderCancelled", "PaymentFailed",
    ]  # fmt: skip
    assert len(result.booked) == 4
    assert result.waiting == []
    (row,) = result.order_status.values()
    assert (row.status, row.captured_minor, row.failures_count, row.revision) == ("cancelled", 400, 1, 4)
    assert revenue_by_merchant(result.booked, MINUTE_MS)["m-1|EUR|2026-11-18T12:00Z"]["captured_minor"] == 400
    assert result.accepted_money == {
        ("EUR", "orders_count"): 1, ("EUR", "gross_minor"): 1_000, ("EUR", "captured_minor"): 400,
        ("EUR", "cancelled_minor"): 1_000,
    }  # fmt: skip


def test_what_never_finds_its_order_or_its_capture_waits_and_makes_no_row() -> None:
    never = (captured("p-9", 70, order_id="o-9"), refunded("p-8", 30), failed(order_id="o-9"), cancelled(NOON, "o-9"))
    result = truth(sent(placed()), *(sent(event) for event in never))
    assert result.order_status.keys() == {"o-1"}
    assert result.waiting == list(never)
    assert waiting_money(result.waiting) == {("EUR", "captured_minor"): 70, ("EUR", "refunded_minor"): 30}
    assert result.accepted_money == {
        ("EUR", "orders_count"): 1, ("EUR", "gross_minor"): 1_000, ("EUR", "captured_minor"): 70, ("EUR", "refunded_minor"): 30,
    }  # fmt: skip


def test_a_late_event_is_accepted_like_any_other_and_known_to_be_late() -> None:
    result = truth(sent(placed(), Late()), sent(captured("p-1", 1_000)))
    assert result.late_ids == {"e-o-1"}
    assert result.applied_count == 2
    assert result.order_status["o-1"].status == "captured"
    assert result.accepted_money["EUR", "gross_minor"] == 1_000


def test_duplicates_dead_letters_and_racing_records_change_no_row_and_are_counted() -> None:
    dead = Sent(PAYMENTS, b"o-1", b"junk", Dead("undecodable", "no_magic_byte"))
    racing = sent(captured("p-2", 5, currency="USD"), DeadOrUnmatched("currency_mismatch"))
    given_up = sent(refunded("p-7", 6), Unmatched("waited_too_long"))
    result = truth(sent(placed()), sent(placed(), DUPLICATE), sent(placed(), OTHER_CONTENT), dead, racing, given_up)
    assert result.order_status["o-1"].revision == 1
    assert (result.sent_count, result.applied_count, result.duplicates_count, result.dead_count) == (6, 1, 2, 1)
    assert result.other_content_count == 1
    assert result.dead_letters == {(PAYMENTS, b"o-1", b"junk"): (Dead("undecodable", "no_magic_byte"),)}
    assert result.dead_by_reason == {"no_magic_byte": 1}
    assert list(result.racing.values()) == [DeadOrUnmatched("currency_mismatch")]
    assert list(result.unmatched.values()) == [Unmatched("waited_too_long")]
    assert result.waiting == []
    assert ("USD", "captured_minor") not in result.accepted_money
