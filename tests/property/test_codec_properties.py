"""The codec: what is written is read back, and bytes from outside only ever give a record or a reason."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import CATALOGUE, RegisteredSchema
from schemas.codec import REASONS, Undecodable, decode, encode
from schemas.events import Record

_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "null": st.none(),
}


def _data(node: Any) -> st.SearchStrategy[Any]:
    """Give any datum of an Avro schema."""
    if isinstance(node, str):
        return _PLAIN[node]
    if isinstance(node, list):
        return st.one_of([_data(branch) for branch in node])
    match node["type"]:
        case "record":
            return st.fixed_dictionaries({field["name"]: _data(field["type"]) for field in node["fields"]})
        case "array":
            return st.lists(_data(node["items"]), max_size=4)
        case "map":
            return st.dictionaries(st.text(), _data(node["values"]), max_size=4)
        case plain:
            return _data(plain)


def _records(schema: RegisteredSchema) -> st.SearchStrategy[Record]:
    def made(datum: Any) -> Record:
        return cast("Record", msgspec.convert(datum, schema.record_type))

    return _data(schema.physical).map(made)


RECORDS = st.one_of([_records(schema) for schema in CATALOGUE])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give the bytes of a record with a few things done to them."""
    value = bytearray(encode(draw(RECORDS)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(value) - 1, 0)))
        match draw(st.sampled_from(["flip", "truncate", "extend", "insert", "schema id", "run"])):
            case "flip" if value:
                value[at] ^= 1 << draw(st.integers(0, 7))
            case "truncate":
                del value[at:]
            case "extend":
                value += draw(st.binary(min_size=1, max_size=8))
            case "insert":
                value[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "schema id":
                value[1:5] = draw(st.sampled_from(CATALOGUE)).schema_id.to_bytes(4, "big")
            case _:  # the longest varints: huge lengths, counts and numbers
                value[at : at + 1] = draw(st.sampled_from([b"\xff", b"\x80"])) * draw(st.integers(1, 11)) + b"\x01"
    return bytes(value)


def record_or_reason(value: bytes) -> Record | Undecodable:
    try:
        return decode(value)
    except Undecodable as error:
        return error


def hold(value: bytes) -> None:
    found = record_or_reason(value)
    if isinstance(found, Undecodable):
        assert found.reason in REASONS
        assert str(found)
    else:
        assert decode(encode(found)) == found


@settings(max_examples=300)
@given(RECORDS)
def test_every_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert decode(encode(record)) == record


@settings(max_examples=1_000)
@given(damaged())
def test_damaged_bytes_only_ever_give_a_record_or_a_reason(value: bytes) -> None:
    hold(value)


@settings(max_examples=300)
@given(st.binary(max_size=64), st.sampled_from(CATALOGUE))
def test_random_bytes_only_ever_give_a_record_or_a_reason(value: bytes, schema: RegisteredSchema) -> None:
    hold(value)
    hold(b"\0" + schema.schema_id.to_bytes(4, "big") + value)


@given(RECORDS, st.data())
def test_bytes_that_end_early_or_go_on_are_never_a_record(record: Record, data: st.DataObject) -> None:
    value = encode(record)
    for changed in (value[: data.draw(st.integers(0, len(value) - 1))], value + data.draw(st.binary(min_size=1, max_size=8))):
        found = record_or_reason(changed)
        assert isinstance(found, Undecodable), f"{changed.hex()} was read as {found}"
        assert found.reason in {"no_magic_byte", "truncated", "trailing_bytes"}
