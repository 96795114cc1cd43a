"""Columns hold what fastavro reads and writes, for all schemas, and damage stays with the record that has it."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import BY_ID, CATALOGUE, RegisteredSchema
from schemas.codec import PREFIXES, REASONS, Undecodable, decode, encode
from schemas.columns import Codec, WireColumns
from schemas.events import Record
from tests.property.damage import RECORDS, any_datum, damaged
from tests.support.columns import WAYS, as_pairs, numbers, read_whole, same, written

VERSIONS = [(old, new) for old, new in pairwise(sorted(CATALOGUE, key=lambda s: (s.name, s.version))) if old.name == new.name]
FUZZED_RECORDS = 400
"""Damaged records of one example; hypothesis draws the seed of an example, and prints it when it fails."""


def codec(writer: RegisteredSchema, reader: RegisteredSchema, *, by_extension: bool) -> Codec:
    return _codec(writer.schema_id, reader.schema_id, by_extension)


@cache
def _codec(writer_id: int, reader_id: int, by_extension: bool) -> Codec:
    return Codec(BY_ID[writer_id].physical, json.loads(BY_ID[reader_id].text), by_extension=by_extension)


@pytest.mark.parametrize("by_extension", WAYS)
@pytest.mark.parametrize("schema", CATALOGUE, ids=lambda schema: f"{schema.name}.v{schema.version}")
@settings(max_examples=15)
@given(data=st.data())
def test_columns_hold_what_fastavro_reads_and_are_written_as_it_writes(
    schema: RegisteredSchema, by_extension: bool, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(any_datum(schema.physical), max_size=6))
    values = [written(schema.physical, row, b"\0\0\0\0\7") for row in rows]
    columns = codec(schema, schema, by_extension=by_extension)
    found = columns.decode(values, 5)
    assert not found.refused
    assert list(found.indexes) == list(range(len(rows)))
    assert found.frame.schema == columns.schema
    assert numbers(found.frame) == [as_pairs(row, schema.physical) for row in rows]
    assert columns.encode(found.frame, b"\0\0\0\0\7") == values


@pytest.mark.parametrize("by_extension", WAYS)
@pytest.mark.parametrize(("old", "new"), VERSIONS, ids=lambda schema: f"{schema.name}.v{schema.version}")
@settings(max_examples=30)
@given(data=st.data())
def test_an_older_version_is_read_as_the_newer_one_and_the_other_way_round(
    old: RegisteredSchema, new: RegisteredSchema, by_extension: bool, data: st.DataObject
) -> None:
    for writer, reader in ((old, new), (new, old)):
        rows = data.draw(st.lists(any_datum(writer.physical), max_size=4))
        values = [written(writer.physical, row) for row in rows]
        found = codec(writer, reader, by_extension=by_extension).decode(values)
        expected = [as_pairs(read_whole(value, writer.physical, reader.physical), reader.physical) for value in values]
        assert numbers(found.frame) == expected
        assert not found.refused


def test_there_are_versions_to_try() -> None:
    assert {old.name for old, _ in VERSIONS} == {"OrderStatus", "MerchantRevenue", "TaskMarker"}


@pytest.mark.parametrize("by_extension", WAYS)
@settings(max_examples=100)
@given(values=st.lists(st.one_of(RECORDS.map(encode), damaged(), st.none(), st.binary(max_size=20)), max_size=8))
def test_a_polled_batch_has_the_records_and_the_reasons_of_the_row_codec(values: list[bytes | None], by_extension: bool) -> None:
    polled = WireColumns(by_extension=by_extension).decode(values)
    assert not polled.unserved
    found: dict[int, Any] = {}
    for record_type, part in polled.frames.items():
        again = WireColumns(by_extension=by_extension).newest(record_type).encode(part.frame, PREFIXES[record_type])
        assert list(part.indexes) == sorted(part.indexes)
        found |= {index: decode(value) for index, value in zip(part.indexes, again, strict=True)}
    refused = {refusal.index: refusal.reason for refusal in polled.refused}
    assert found.keys() | refused.keys() == set(range(len(values)))
    assert not found.keys() & refused.keys()
    for index, value in enumerate(values):
        row = row_of(value)
        if index in found:
            assert row == found[index]
        elif isinstance(row, Undecodable):
            assert (row.reason, refused[index]) in {(reason, reason) for reason in REASONS} | DIFFERENCES
        else:
            assert refused[index] == "malformed"
            assert value is not None
            assert encode(row) != value


DIFFERENCES = {("truncated", "malformed"), ("trailing_bytes", "malformed"), ("invalid_utf8", "malformed")}
DIFFERENCES |= {("malformed", "truncated"), ("invalid_utf8", "truncated"), ("malformed", "invalid_utf8")}
"""Where a record has two faults, or one that the row codec does not see: its reason, and that of the columns."""


def row_of(value: bytes | None) -> Record | Undecodable:
    try:
        return decode(value)
    except Undecodable as error:
        return error


@pytest.mark.parametrize("by_extension", WAYS)
@settings(max_examples=40)
@given(schema=st.sampled_from(CATALOGUE), data=st.data(), seed=st.integers(0, 2**32))
def test_damage_hurts_no_neighbour_and_nothing_is_read_that_fastavro_refuses(
    schema: RegisteredSchema, data: st.DataObject, seed: int, by_extension: bool
) -> None:
    dice = random.Random(seed)
    rows = data.draw(st.lists(any_datum(schema.physical), min_size=2, max_size=4))
    good = [written(schema.physical, row) for row in rows]
    bad = [mutated(dice, good) for _ in range(FUZZED_RECORDS)]
    values = [value for one in bad for value in (dice.choice(good), one)]
    found = codec(schema, schema, by_extension=by_extension).decode(values)
    at = dict(zip(found.indexes, numbers(found.frame), strict=True))
    refused = {refusal.index: refusal.reason for refusal in found.refused}
    assert sorted([*at, *refused]) == list(range(len(values)))
    for index, value in enumerate(values):
        try:
            datum = as_pairs(read_whole(value, schema.physical), schema.physical)
        except Exception:  # noqa: BLE001 - whatever fastavro says, it does not read it
            assert index in refused, f"{value.hex()} was read as {at[index]}"
            continue
        if index in at:
            assert same([at[index]], [datum]), value.hex()
        else:
            assert index % 2, f"a good neighbour was refused: {refused[index]}"
            assert only_strictly_wrong(value, schema), f"{value.hex()} was refused as {refused[index]}"


def mutated(dice: random.Random, good: list[bytes]) -> bytes:
    value = bytearray(dice.choice(good))
    for _ in range(dice.randint(1, 3)):
        at = dice.randint(0, len(value))
        match dice.choice(["flip", "set", "cut", "more", "insert", "run", "splice"]):
            case "flip" if at < len(value):
                value[at] ^= 1 << dice.randint(0, 7)
            case "set" if at < len(value):
                value[at] = dice.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF])
            case "cut":
                del value[at : at + dice.choice([1, 1, 2, 1000])]
            case "more":
                value += dice.randbytes(dice.randint(1, 8))
            case "insert":
                value[at:at] = dice.randbytes(dice.randint(1, 4))
            case "run":
                value[at : at + 1] = dice.choice([b"\xff", b"\x80"]) * dice.randint(1, 11) + dice.choice([b"\0", b"\1", b"\2"])
            case _:
                other = dice.choice(good)
                value[at:] = other[dice.randint(0, len(other)) :]
    return bytes(value)


def only_strictly_wrong(value: bytes, schema: RegisteredSchema) -> bool:
    """Whether fastavro itself would never have written these bytes, or an int has more than 32 bits."""
    plain = read_whole(value, schema.physical)
    return written(schema.physical, plain) != value or has_a_wide_int(plain, schema.physical)


def has_a_wide_int(datum: Any, node: Any) -> bool:
    match node:
        case "int" | {"type": "int"}:
            return not -(2**31) <= datum < 2**31
        case {"type": "record", "fields": fields}:
            return any(has_a_wide_int(datum[field["name"]], field["type"]) for field in fields)
        case {"type": "array", "items": items}:
            return any(has_a_wide_int(item, items) for item in datum)
        case {"type": dict() as inner}:
            return has_a_wide_int(datum, inner)
    return False


@settings(max_examples=40)
@given(schema=st.sampled_from(CATALOGUE), data=st.data(), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("by_extension", WAYS[1:])
def test_both_ways_refuse_the_same_for_the_same_reason(
    schema: RegisteredSchema, data: st.DataObject, seed: int, by_extension: bool
) -> None:
    dice = random.Random(seed)
    good = [written(schema.physical, data.draw(any_datum(schema.physical))) for _ in range(2)]
    values = [mutated(dice, good) for _ in range(FUZZED_RECORDS)]
    fast, slow = (codec(schema, schema, by_extension=way).decode(values) for way in (by_extension, False))
    assert fast.refused == slow.refused
    assert fast.frame.equals(slow.frame)
    assert Counter(refusal.reason for refusal in fast.refused).keys() <= REASONS.keys()
