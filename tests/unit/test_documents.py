"""What is said of a document that is no event, field by field; what a time may look like."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.documents import EVENT_TYPES, NotAnEvent, document_of, model_of, parse_event
from schemas.events import OrderCancelled, PaymentCaptured
from schemas.topics import ORDERS, PAYMENTS
from tests.unit.orders import captured, placed

CAPTURED = document_of(captured(at_ms=1_795_000_020_123))
PLACED = document_of(placed())


def problems(document: object, *types: type) -> list[str]:
    with pytest.raises(NotAnEvent) as refused:
        parse_event(document, types or EVENT_TYPES)
    return [f"{field}: {sentence}" for field, sentence in refused.value.problems]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CAPTURED.items() if key != name}


def test_a_document_has_the_names_of_avro_its_type_first_and_a_readable_time() -> None:
    assert list(CAPTURED) == [
        "type", "event_id", "order_id", "occurred_at", "source", "payment_id", "method", "amount_minor", "currency",
    ]  # fmt: skip
    assert (CAPTURED["type"], CAPTURED["occurred_at"]) == ("PaymentCaptured", "2026-11-18T11:07:00.123Z")
    assert parse_event(CAPTURED, PAYMENTS.values) == captured(at_ms=1_795_000_020_123)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"amount_minor": "500"}, 'amount_minor: must be a whole number, and is "500"'),
        ({"amount_minor": 5.0}, "amount_minor: must be a whole number, and is 5.0"),
        ({"amount_minor": True}, "amount_minor: must be a whole number, and is true"),
        ({"amount_minor": 2**63}, "amount_minor: must be at most 9223372036854775807, and is 9223372036854775808"),
        ({"amount_minor": -(10**5000)}, "amount_minor: must be at least -9223372036854775808, and is a number of 16610 bits"),
        ({"method": None}, "method: must be text, and is null"),
        ({"method": ["card"]}, "method: must be text, and is a list"),
        ({"method": "\ud800"}, "method: must be text that UTF-8 can write, and has half of a surrogate pair"),
        ({"payment": "p-1"}, "payment: is no field of PaymentCaptured; did you mean payment_id?"),
        (
            {"xyz\n": 1},
            (
                '"xyz\\n": is no field of PaymentCaptured; there are event_id, order_id, occurred_at, source, payment_id, '
                "method, amount_minor, currency"
            ),
        ),
        ({"occurred_at": 1.5}, "occurred_at: must be a whole number, and is 1.5"),
        (
            {"occurred_at": "2026-11-23 17:04"},
            (
                "occurred_at: must be a time such as 2026-11-23T17:04:05.678Z (RFC 3339 with offset), or whole milliseconds "
                'since 1970, and is "2026-11-23 17:04"'
            ),
        ),
        (
            {"occurred_at": "2026-02-30T00:00:00Z"},
            'occurred_at: must be a time that exists, and is "2026-02-30T00:00:00Z"',
        ),
        (
            {"occurred_at": "2026-11-23T17:04:05.6789Z"},
            'occurred_at: must not be finer than a millisecond, and is "2026-11-23T17:04:05.6789Z"',
        ),
        ({"type": "OrderStatus"}, 'type: must be PaymentCaptured or PaymentFailed or PaymentRefunded, and is "OrderStatus"'),
        ({"type": ["PaymentCaptured"]}, "type: must be PaymentCaptured or PaymentFailed or PaymentRefunded, and is a list"),
    ],
)
def test_a_wrong_field_is_told_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    assert problems(CAPTURED | change, *PAYMENTS.values) == [sentence]


def test_a_name_that_is_no_text_is_told_wherever_it_stands() -> None:
    assert problems(CAPTURED | {"\ud800": 1}) == [': has a field whose name UTF-8 cannot write: "\\ud800"']
    line = {"sku": "a", "quantity": 1, "unit_price_minor": 100, "\udfff": 1}
    assert problems(PLACED | {"lines": [line]}) == ['lines[0]: has a field whose name UTF-8 cannot write: "\\udfff"']
    numbered: Any = CAPTURED.copy()
    numbered[5] = 1
    assert problems(numbered) == ["[5]: must be named by text, and is 5"]


def test_a_long_value_is_cut_in_its_sentence() -> None:
    (sentence,) = problems(CAPTURED | {"amount_minor": "9" * 1000})
    assert sentence == f'amount_minor: must be a whole number, and is "{"9" * 40}"...'


def test_a_missing_field_is_told_with_its_meaning() -> None:
    assert problems(without("payment_id")) == ["payment_id: is missing: One attempt to pay."]


def test_every_wrong_field_is_told_at_once_and_lines_by_their_place() -> None:
    wrong = PLACED | {
        "lines": [{"sku": "a", "quantity": 2**31, "unit_price_minor": 1}, {"sku": 1, "quantity": 1, "price": 2}, "none"],
        "source": 7,
    }
    assert problems(wrong, *ORDERS.values) == [
        "source: must be text, and is 7",
        "lines[0].quantity: must be at most 2147483647, and is 2147483648",
        "lines[1].sku: must be text, and is 1",
        "lines[1].unit_price_minor: is missing: Price of one unit, minor units; not negative.",
        "lines[1].price: is no field of OrderPlaced; there are sku, quantity, unit_price_minor",
        'lines[2]: must be an object, and is "none"',
    ]


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_what_is_no_object_is_no_event(document: object) -> None:
    (sentence,) = problems(document)
    assert sentence.startswith(": must be an object with an event's fields, and is ")
    with pytest.raises(NotAnEvent, match=r"^the document must be an object"):
        parse_event(document, EVENT_TYPES)


def test_the_type_may_be_left_out_only_when_there_is_one() -> None:
    assert parse_event(without("type"), [PaymentCaptured]) == captured(at_ms=1_795_000_020_123)
    assert problems(without("type"), PaymentCaptured, OrderCancelled) == [
        "type: must be PaymentCaptured or OrderCancelled, and is missing"
    ]


@pytest.mark.parametrize(
    ("written", "time_ms"),
    [
        (1_795_000_020_123, 1_795_000_020_123),
        (-(2**63), -(2**63)),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00.1+01:00", 100),
        ("1969-12-31T23:59:59.999z", -1),
        ("2026-11-18T11:07:00.123000Z", 1_795_000_020_123),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_a_time_may_be_written_in_two_ways(written: object, time_ms: int) -> None:
    event = parse_event(CAPTURED | {"occurred_at": written}, EVENT_TYPES)
    assert event.occurred_at_ms == time_ms
    assert parse_event(document_of(event), EVENT_TYPES) == event


@pytest.mark.parametrize(
    "written", ["2026-11-18", "2026-11-18T11:07:00", "2026-W47-3T11:07:00Z", "20261118T110700Z", "२०२६-11-18T11:07:00Z", ""]
)
def test_a_time_without_its_offset_or_in_another_form_is_refused(written: str) -> None:
    (sentence,) = problems(CAPTURED | {"occurred_at": written})
    assert "RFC 3339 with offset" in sentence


@pytest.mark.parametrize(
    "written", ["2026-11-18T24:00:00Z", "2026-11-18T11:07:60Z", "2026-11-18T11:07:00+24:00", "0000-01-01T00:00:00Z"]
)
def test_a_time_that_no_clock_shows_is_refused(written: str) -> None:
    (sentence,) = problems(CAPTURED | {"occurred_at": written})
    assert sentence.startswith("occurred_at: must be a time")


def test_a_schema_that_grows_a_field_with_a_default_needs_no_new_line_of_code() -> None:
    grown = {
        "type": "record",
        "name": "Grown",
        "fields": [
            {"name": "note", "type": ["null", "string"], "default": None},
            {"name": "is_gift", "type": "boolean", "default": False},
        ],
    }
    model = model_of(grown)
    assert model.model_validate({}).model_dump() == {"note": None, "is_gift": False}
    assert model.model_validate({"note": "n", "is_gift": True}).model_dump() == {"note": "n", "is_gift": True}
    with pytest.raises(TypeError, match="no form yet for the Avro type double"):
        model_of({"type": "record", "name": "Odd", "fields": [{"name": "share", "type": "double"}]})
