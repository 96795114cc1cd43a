"""The codec: what is written is read back, and bytes from outside only ever give a record or a reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import CATALOGUE, RegisteredSchema
from schemas.codec import REASONS, Undecodable, decode, encode
from schemas.events import Record
from tests.property.damage import RECORDS, damaged


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
