"""The codec's reasons, one by one; what holds for all bytes is in tests/property."""

from __future__ import annotations

import pytest

from schemas.codec import REASONS, Undecodable, decode, encode
from schemas.events import OrderCancelled, OrderStatus, PaymentCaptured

CANCELLED = OrderCancelled("e", "o", 1, "shop")
GOOD = encode(CANCELLED)
STATUS = encode(OrderStatus("o", "m", "c", "EUR", "s", 1, 2, 3, True, 4, 5, None, 6, 7))  # noqa: FBT003
LONG_MINUS_TWO = b"\x03"
"""-2 as an Avro long: an impossible length of a string."""


@pytest.mark.parametrize(
    ("value", "reason", "sentence"),
    [
        (None, "null_value", "the value is null"),
        (b"", "no_magic_byte", "begins with nothing"),
        (GOOD[:4], "no_magic_byte", "not with 00"),
        (b"\x01" + GOOD[1:], "no_magic_byte", "begins with 0100000002"),
        (b'{"event_id": "e"}', "no_magic_byte", "not with 00"),
        (b"\0" + (7).to_bytes(4, "big") + GOOD[5:], "unknown_schema_id", "schema id 7 is not"),
        (b"\0\xff\xff\xff\xff" + GOOD[5:], "unknown_schema_id", "schema id 4294967295 is not"),
        (GOOD[:5], "truncated", "OrderCancelled ends too early, after 5 bytes"),
        (GOOD[:-1], "truncated", "ends too early"),
        (GOOD + b"\0", "trailing_bytes", "1 bytes are left after OrderCancelled"),
        (GOOD + GOOD, "trailing_bytes", f"{len(GOOD)} bytes are left"),
        (GOOD.replace(b"shop", b"sh\xc3\x28"), "invalid_utf8", "is not UTF-8"),
        (GOOD.replace(b"shop", b"\xed\xa0\x80p"), "invalid_utf8", "is not UTF-8"),
    ],
)
def test_bytes_that_are_no_record_say_why(value: bytes | None, reason: str, sentence: str) -> None:
    with pytest.raises(Undecodable, match=sentence) as raised:
        decode(value)
    assert raised.value.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(
    "value", [GOOD[:5] + LONG_MINUS_TWO + GOOD[6:], GOOD[:5] + b"\xff" * 12, STATUS.replace(b"\x00\x0c\x0e", b"\x7e\x0c\x0e")]
)
def test_impossible_lengths_numbers_and_branches_are_refused(value: bytes) -> None:
    assert value not in (GOOD, STATUS)
    with pytest.raises(Undecodable) as raised:
        decode(value)
    assert raised.value.reason in {"malformed", "truncated", "trailing_bytes"}


def test_a_string_that_claims_to_be_a_terabyte_costs_no_memory() -> None:
    with pytest.raises(Undecodable) as raised:
        decode(GOOD[:5] + b"\x80\x80\x80\x80\x80\x80\x01" + b"x" * 100)
    assert raised.value.reason in {"truncated", "malformed"}


def test_a_record_that_does_not_fit_its_schema_is_a_bug_of_the_caller() -> None:
    for amount in (2**63, -(2**63) - 1, "1", None):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            encode(PaymentCaptured("e", "o", 1, "pay", "p", "card", amount, "EUR"))  # type: ignore[arg-type]
