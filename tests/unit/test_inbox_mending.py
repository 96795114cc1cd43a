"""Mending: fields are set, the document must be an event, and rules that need no state are asked."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.documents import document_of
from schemas.events import Event, OrderLine
from streams.errors import RefusedError
from streams.inbox.mending import broken_rule, mended, with_changes
from tests.unit.orders import T0_MS, captured, placed, refunded

FUTURE_MAX_MS = 600_000


def test_fields_are_set_by_name_and_keep_their_kind() -> None:
    event = mended(document_of(captured(amount_minor=-5)), ["amount_minor=500", "currency=SEK", "event_id=123"])
    assert event == captured("123", amount_minor=500, currency="SEK")


def test_a_path_reaches_into_lists_and_what_it_changes_is_a_copy() -> None:
    document = document_of(placed(amount_minor=100))
    event = mended(document, ["lines[0].quantity=2", "lines.0.unit_price_minor=50"])
    assert event == placed(lines=(OrderLine("sku", 2, 50),))
    assert document == document_of(placed(amount_minor=100))
    assert mended(document, ['lines=[{"sku": "a", "quantity": 1, "unit_price_minor": 100}]']) == placed(
        lines=(OrderLine("a", 1, 100),)
    )
    assert mended(document, ['lines[0]={"sku": "a", "quantity": 1, "unit_price_minor": 100}']).lines[0].sku == "a"  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [str(T0_MS), "2026-11-18T11:07:00.000Z", "2026-11-18T12:07:00+01:00"])
def test_a_time_is_set_as_milliseconds_or_as_text_whatever_it_was(value: str) -> None:
    for wrong_ms in (T0_MS // 1000, T0_MS * 1000):
        assert mended(document_of(captured(at_ms=wrong_ms)), [f"occurred_at={value}"]) == captured()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("amount_minor", "amount_minor sets nothing: write it as name=value"),
        ("=5", "=5 sets nothing"),
        ("amount_minor=five", 'amount_minor must be a whole number, and is "five"; nothing was sent'),
        ("amount_minor=5.0", "amount_minor must be a whole number, and is 5.0"),
        ("amount_minor=", 'amount_minor must be a whole number, and is ""'),
        ("amuont_minor=5", "amuont_minor is no field of PaymentCaptured; did you mean amount_minor?"),
        ("lines[0].sku=a", "there is no field lines[0].sku: nothing is called lines"),
        ("currency.code=EUR", "there is no field currency.code"),
        ("type=OrderPaid", "type must be OrderPlaced or"),
        ("occurred_at=now", "occurred_at must be a time such as 2026-11-23T17:04:05.678Z"),
    ],
)
def test_what_cannot_be_set_is_refused_with_a_sentence(change: str, sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        mended(document_of(captured()), [change])
    assert sentence in str(refused.value)


def test_an_entry_that_a_list_does_not_have_is_refused() -> None:
    for change in ("lines[1].quantity=2", "lines[x]=2", "lines[-1]=2"):
        with pytest.raises(RefusedError, match="the list has the entries 0 to 0"):
            with_changes(document_of(placed()), [change])


@pytest.mark.parametrize("document", [None, 5, "text", [], {}, {"type": "OrderStatus"}])
def test_a_document_that_is_no_event_of_an_input_is_refused(document: Any) -> None:
    with pytest.raises(RefusedError, match="nothing was sent"):
        mended(document)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (captured(), None),
        (refunded(amount_minor=10**6), None),  # whether so much was captured, only the order knows
        (captured(amount_minor=0), "amount_not_positive"),
        (captured(currency="eur"), "unknown_currency"),
        (captured(payment_id=""), "bad_id"),
        (captured(at_ms=T0_MS // 1000), "bad_time"),
        (captured(at_ms=T0_MS + FUTURE_MAX_MS), None),
        (captured(at_ms=T0_MS + FUTURE_MAX_MS + 1), "from_the_future"),
        (placed(lines=(OrderLine("sku", 1, 99),)), "amount_mismatch"),
    ],
)
def test_a_rule_that_an_event_breaks_by_itself_is_named(event: Event, reason: str | None) -> None:
    broken = broken_rule(event, T0_MS, FUTURE_MAX_MS)
    assert (broken and broken.reason) == reason
