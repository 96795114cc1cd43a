"""Schema ids and writers' schemas: what a reader makes of them, whoever wrote."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import msgspec
import pytest

from schemas.catalogue import NEWEST
from schemas.codec import PREFIXES, REASONS, Undecodable, decode, encode
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, TaskMarker
from schemas.wire import FIXED, UnreadableSchema, Wire, WriterSchema, framing, in_ids_of, prefix_of, understood
from tests.unit.orders import captured, placed

GUID = UUID("7fb2d5a4-6c1e-4a52-9b0a-0d9a3f6f1a11")
EVENT = captured()
DATUM = encode(EVENT)[5:]
OURS = json.loads(NEWEST[PaymentCaptured].text)


def changed(**fields: Any) -> dict[str, Any]:
    """Give our schema of PaymentCaptured with these fields put in, replaced, or taken out (None)."""
    by_name = {field["name"]: field for field in OURS["fields"]}
    for name, kind in fields.items():
        by_name.pop(name) if kind is None else by_name.update({name: {"name": name, **kind}})
    return {**OURS, "fields": list(by_name.values())}


def wire_with(schema: dict[str, Any], schema_id: int = 77) -> Wire:
    return Wire({schema_id: understood(json.dumps(schema))}, by_registry=True)


def written(schema: dict[str, Any], **datum: Any) -> bytes:
    stream = BytesIO(prefix_of(77))
    stream.seek(5)
    parsed = fastavro.parse_schema(schema)
    values = {"event_id": "e", "order_id": "o-1", "occurred_at": 5, "source": "s", "payment_id": "p", "method": "card"}
    fastavro.schemaless_writer(stream, parsed, {**values, "amount_minor": 3, "currency": "EUR", **datum})
    return stream.getvalue()


def reason_of(value: bytes | None, wire: Wire = FIXED, header: bytes | None = None) -> tuple[str, str]:
    with pytest.raises(Undecodable) as raised:
        decode(value, wire, header)
    assert raised.value.reason in REASONS
    return raised.value.reason, str(raised.value)


@pytest.mark.parametrize("schema", NEWEST.values(), ids=lambda schema: schema.full_name)
def test_our_own_schema_in_a_registry_is_read_without_resolution(schema: Any) -> None:
    found = understood(schema.text)
    assert isinstance(found, WriterSchema)
    assert (found.record_type, found.read_as) == (schema.record_type, None)


def test_a_newer_producer_s_new_field_is_passed_over() -> None:
    newer = changed(acquirer={"type": "string"})
    assert decode(written(newer, acquirer="bank"), wire_with(newer)) == PaymentCaptured("e", "o-1", 5, "s", "p", "card", 3, "EUR")


def test_a_new_field_inside_of_a_line_is_passed_over_too() -> None:
    newer = json.loads(NEWEST[OrderPlaced].text)
    newer["fields"][-1]["type"]["items"]["fields"].insert(0, {"name": "tax", "type": ["null", "long"], "default": None})
    stream = BytesIO(prefix_of(77))
    stream.seek(5)
    order = msgspec.to_builtins(placed())
    fastavro.schemaless_writer(
        stream, fastavro.parse_schema(newer), {**order, "lines": [{**line, "tax": 7} for line in order["lines"]]}
    )
    assert decode(stream.getvalue(), wire_with(newer)) == placed()


def test_a_producer_s_narrower_number_is_read_as_ours() -> None:
    older = changed(amount_minor={"type": "int"})
    record = decode(written(older), wire_with(older))
    assert isinstance(record, PaymentCaptured)
    assert record.amount_minor == 3


def test_a_producer_without_a_field_that_we_need_is_incompatible_and_says_so() -> None:
    older = changed(currency=None)
    reason, sentence = reason_of(written(older), wire_with(older))
    assert reason == "incompatible_schema"
    assert "schema id 77 cannot be read as our PaymentCaptured" in sentence
    assert "currency" in sentence


def test_a_field_of_another_type_is_incompatible() -> None:
    other = changed(amount_minor={"type": "string"})
    assert reason_of(written(other, amount_minor="3"), wire_with(other))[0] == "incompatible_schema"


def test_microseconds_where_we_read_milliseconds_are_incompatible_and_never_a_time() -> None:
    micros = changed(occurred_at={"type": {"type": "long", "logicalType": "timestamp-micros"}})
    reason, sentence = reason_of(written(micros), wire_with(micros))
    assert reason == "incompatible_schema"
    assert "occurred_at of tally.PaymentCaptured is timestamp-micros, where we read timestamp-millis" in sentence
    plain = changed(occurred_at={"type": "long"})
    assert isinstance(decode(written(plain), wire_with(plain)), PaymentCaptured), "a producer without logical types means ours"


@pytest.mark.parametrize(
    ("text", "schema_type", "reason"),
    [
        ("", "AVRO", "incompatible_schema"),
        ("null", "AVRO", "incompatible_schema"),
        ('"string"', "AVRO", "incompatible_schema"),
        ('["null", "string"]', "AVRO", "incompatible_schema"),
        ('{"type": "record"}', "AVRO", "incompatible_schema"),
        (NEWEST[OrderPlaced].text.replace('"long"', '"tally.Nowhere"'), "AVRO", "incompatible_schema"),
        ('{"type": "record", "name": "tally.OrderPlaced", "fields": 7}', "AVRO", "incompatible_schema"),
        ('{"type": "record", "name": "OrderPlaced", "fields": []}', "AVRO", "unexpected_type"),
        ('{"type": "record", "name": "shop.Basket", "fields": []}', "AVRO", "unexpected_type"),
        ("{}", "JSON", "incompatible_schema"),
        ('syntax = "proto3";', "PROTOBUF", "incompatible_schema"),
    ],
)  # fmt: skip
def test_a_schema_from_which_no_record_of_ours_can_come_is_named_not_raised(text: str, schema_type: str, reason: str) -> None:
    found = understood(text, schema_type)
    assert isinstance(found, UnreadableSchema)
    assert found.reason == reason
    assert reason_of(prefix_of(5) + b"x", Wire({5: found}, by_registry=True)) == (reason, f"schema id 5: {found.detail}")


REGISTRY = Wire({3: understood(NEWEST[PaymentCaptured].text), GUID: understood(NEWEST[PaymentCaptured].text)}, by_registry=True)


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (prefix_of(3) + DATUM, None),
        (b"\1" + GUID.bytes + DATUM, None),
        (DATUM, prefix_of(3)),
        (DATUM, b"\1" + GUID.bytes),
    ],
)
def test_an_id_is_read_from_the_value_or_from_the_header_as_a_number_or_a_guid(value: bytes, header: bytes | None) -> None:
    assert decode(value, REGISTRY, header) == EVENT


def test_the_header_wins_over_a_value_that_looks_like_an_id() -> None:
    assert framing(prefix_of(9) + b"rest", prefix_of(3)) == (3, 0)
    assert reason_of(prefix_of(3) + DATUM, REGISTRY, prefix_of(3))[0] in {"trailing_bytes", "truncated", "malformed"}


@pytest.mark.parametrize("header", [b"", b"\0", b"\0\0\0\0", b"\1" + GUID.bytes[:15], b"\2" + GUID.bytes])
def test_a_header_that_is_no_id_is_said_so(header: bytes) -> None:
    reason, sentence = reason_of(DATUM, REGISTRY, header)
    assert reason == "no_magic_byte"
    assert "the header __value_schema_id begins with" in sentence


def test_an_id_that_nobody_gave_names_who_was_asked() -> None:
    assert reason_of(prefix_of(4) + DATUM, REGISTRY) == ("unknown_schema_id", "schema id 4 is not in the registry")
    assert reason_of(b"\1" + bytes(16) + DATUM, REGISTRY)[1].startswith(
        "schema id 00000000-0000-0000-0000-000000000000 is not in"
    )


def test_without_a_registry_headers_and_guids_mean_nothing() -> None:
    assert reason_of(b"\1" + GUID.bytes + DATUM)[0] == "no_magic_byte"
    assert reason_of(DATUM, FIXED, prefix_of(3))[0] == "no_magic_byte"


@pytest.mark.parametrize("wire", [FIXED, REGISTRY, wire_with(changed(extra={"type": "string"}))])
def test_bytes_in_every_framing_raise_nothing_but_undecodable(wire: Wire) -> None:
    """One byte after the other is cut off, and each is flipped."""
    whole = written(changed(extra={"type": "string"}), extra="x")
    pieces = [whole[:at] for at in range(len(whole))]
    pieces += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    for piece in pieces:
        for header in (None, piece[:5], piece):
            with suppress(Undecodable):
                decode(piece, wire, header)


def test_what_is_written_carries_the_ids_that_were_given() -> None:
    prefixes: dict[type, bytes] = {OrderPlaced: prefix_of(900), PaymentCaptured: prefix_of(901)}
    assert encode(EVENT, prefixes) == prefix_of(901) + DATUM
    assert encode(EVENT) == PREFIXES[PaymentCaptured] + DATUM


def test_a_planned_value_gets_the_registry_s_id_and_junk_stays_junk() -> None:
    prefixes: dict[str, dict[type, bytes]] = {
        "orders": {OrderPlaced: prefix_of(900)},
        "payments": {PaymentCaptured: prefix_of(901)},
    }
    wire = Wire({}, prefixes, by_registry=True)
    assert in_ids_of(wire, encode(placed())) == prefix_of(900) + encode(placed())[5:]
    assert in_ids_of(wire, encode(EVENT)) == prefix_of(901) + DATUM
    failed = encode(PaymentFailed("e", "o-1", 5, "s", "p", "card", 3, "EUR"))
    for unchanged in (None, b"", b"{}", prefix_of(9_999) + DATUM, b"\1" + bytes(20), failed, encode(EVENT)[:4]):
        assert in_ids_of(wire, unchanged) == unchanged
    assert in_ids_of(FIXED, encode(EVENT)) == encode(EVENT)


def test_full_names_are_those_of_the_files() -> None:
    assert NEWEST[TaskMarker].full_name == "tally.TaskMarker"
    assert NEWEST[OrderCancelled].full_name == "tally.OrderCancelled"
