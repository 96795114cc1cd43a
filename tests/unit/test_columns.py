"""Columns by example: every type, every rule of resolution, what is refused, and what has no columns."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
import pytest

from schemas import extension
from schemas.catalogue import NEWEST, without_logical_types
from schemas.codec import Undecodable, decode, encode
from schemas.column_plans import DEPTH_MAX, NoColumnsError, plan_of
from schemas.columns import Codec, WireColumns
from schemas.events import OrderCancelled, OrderLine, OrderPlaced, OrderStatus
from schemas.wire import Wire, WriterSchema, prefix_of, understood
from tests.support.columns import WAYS, numbers, read_whole, written

pytestmark = pytest.mark.parametrize("by_extension", WAYS)

CANCELLED = OrderCancelled("e", "o", 1, "shop")
PLACED = OrderPlaced("e", "o", 1, "shop", "c", "m", "EUR", 300, (OrderLine("s", 3, 100),))


def record(*fields: Any, name: str = "R", **more: Any) -> Any:
    """Give a schema; a field is its name, its type, and perhaps its default."""
    keys = ("name", "type", "default")
    return {"type": "record", "name": name, "fields": [dict(zip(keys, field, strict=False)) for field in fields], **more}


ALL_TYPES = record(
    ("flag", "boolean"),
    ("small", "int"),
    ("large", "long"),
    ("rough", "float"),
    ("fine", "double"),
    ("raw", "bytes"),
    ("text", "string"),
    ("four", {"type": "fixed", "name": "Four", "size": 4}),
    ("colour", {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN", "BLUE"]}),
    ("price", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}),
    ("day", {"type": "int", "logicalType": "date"}),
    ("at", {"type": "long", "logicalType": "timestamp-millis"}),
    ("at_us", {"type": "long", "logicalType": "timestamp-micros"}),
    ("local", {"type": "long", "logicalType": "local-timestamp-millis"}),
    ("id", {"type": "string", "logicalType": "uuid"}),
    ("maybe", ["null", "string"]),
    ("maybe_last", [{"type": "long", "logicalType": "timestamp-millis"}, "null"]),
    ("maybe_record", ["null", record(("x", "int"), ("y", ["null", "double"]), name="Point")]),
    ("points", {"type": "array", "items": "Point"}),
    ("maybe_colours", ["null", {"type": "array", "items": ["null", "Colour"]}]),
    ("prices", {"type": "map", "values": {"type": "array", "items": "long"}}),
)
ZERO = {"type": "fixed", "name": "Zero", "size": 0}
SOME: dict[str, Any] = {
    "flag": True, "small": -(2**31), "large": 2**63 - 1, "rough": 0.5, "fine": -0.1, "raw": b"\xff\x00",
    "text": "ü€😀", "four": b"abcd", "colour": "BLUE", "price": Decimal("-123456789012345678.91"), "day": date(2026, 11, 25),
    "at": datetime(2026, 11, 25, 12, 0, 0, 123_000, UTC), "at_us": datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    "local": datetime(2026, 1, 1),  # noqa: DTZ001 - local, as it says
    "id": "6f0e4e5e-6b0b-4e09-8a8b-0f6f3c1d2e3f", "maybe": "x", "maybe_last": datetime(1970, 1, 1, tzinfo=UTC),
    "maybe_record": {"x": 1, "y": None}, "points": [{"x": 2, "y": 0.25}, {"x": 3, "y": None}], "maybe_colours": ["RED", None],
    "prices": {"a": [1, 2], "": []},
}  # fmt: skip
NONE: dict[str, Any] = {
    **SOME, "flag": False, "maybe": None, "maybe_last": None, "maybe_record": None, "points": [], "maybe_colours": None,
    "prices": {}, "price": Decimal(0),
}  # fmt: skip


def in_pairs(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "prices": [{"key": key, "value": value} for key, value in row["prices"].items()]}


def test_every_type_comes_and_goes_with_its_meaning(by_extension: bool) -> None:
    codec = Codec(ALL_TYPES, ALL_TYPES, by_extension=by_extension)
    parsed = fastavro.parse_schema(ALL_TYPES)
    values = [written(parsed, row) for row in (SOME, NONE, SOME)]
    found = codec.decode(values)
    assert found.refused == ()
    assert found.frame.to_dicts() == [in_pairs(row) for row in (SOME, NONE, SOME)]
    assert found.frame.schema == codec.schema
    assert codec.schema["at"] == pl.Datetime("ms", "UTC")
    assert codec.schema["colour"] == pl.Enum(["RED", "GREEN", "BLUE"])
    assert codec.encode(found.frame) == values
    assert codec.encode(found.frame.select(sorted(found.frame.columns)).with_columns(more=1)) == values


def test_a_slice_and_several_chunks_are_written_as_what_they_show(by_extension: bool) -> None:
    codec = Codec(ALL_TYPES, ALL_TYPES, by_extension=by_extension)
    parsed = fastavro.parse_schema(ALL_TYPES)
    values = [written(parsed, {**row, "small": at}) for at, row in enumerate([SOME, NONE] * 3)]
    frame = codec.decode(values).frame
    assert codec.encode(frame[2:5]) == values[2:5]
    assert codec.encode(pl.concat([frame[4:], frame[:1]], rechunk=False)) == [*values[4:], values[0]]
    assert codec.encode(frame[:0]) == codec.encode(codec.decode([]).frame) == []
    assert codec.decode([]).frame.schema == codec.schema


@pytest.mark.parametrize(
    ("old", "new", "datum", "expected"),
    [
        (record(("a", "int")), record(("a", "long")), {"a": -1}, {"a": -1}),
        (record(("a", "int")), record(("a", "float")), {"a": 16_777_217}, {"a": 16_777_216.0}),
        (record(("a", "int")), record(("a", "double")), {"a": 3}, {"a": 3.0}),
        (record(("a", "long")), record(("a", "double")), {"a": 2**53 + 1}, {"a": float(2**53)}),
        (record(("a", "float")), record(("a", "double")), {"a": 0.5}, {"a": 0.5}),
        (record(("a", "string")), record(("a", "bytes")), {"a": "ü"}, {"a": "ü".encode()}),
        (record(("a", "bytes")), record(("a", "string")), {"a": b"x"}, {"a": "x"}),
        (record(("a", "int")), record(("a", ["null", "long"])), {"a": 1}, {"a": 1}),
        (record(("a", ["null", "int"])), record(("a", ["long", "null"])), {"a": None}, {"a": None}),
        (record(("a", ["null", "int"])), record(("a", "long")), {"a": 1}, {"a": 1}),
        (record(("a", ["int", "string", "null"])), record(("a", ["null", "long"])), {"a": 1}, {"a": 1}),
        (record(("a", "int"), ("b", "string")), record(("b", "string"), ("a", "int")), {"a": 1, "b": "x"}, {"b": "x", "a": 1}),
        (record(("a", ["int", "string"]), ("b", "int")), record(("b", "int")), {"a": "x", "b": 1}, {"b": 1}),
        (record(("a", {"type": "map", "values": "int"}), ("b", "int")), record(("b", "int")), {"a": {"k": 1}, "b": 1}, {"b": 1}),
        (
            record(("b", "int")),
            record(("b", "int"), ("c", "string", "ü"), ("d", "bytes", "\u00ff")),
            {"b": 1},
            {"b": 1, "c": "ü", "d": b"\xff"},
        ),
        (record(("b", "int")), record(("b", "int"), ("c", ["null", "long"], None)), {"b": 1}, {"b": 1, "c": None}),
        (
            record(("b", "int")),
            record(("b", "int"), ("c", {"type": "array", "items": record(("x", "int"), name="X")}, [{"x": 4}])),
            {"b": 1},
            {"b": 1, "c": [{"x": 4}]},
        ),
        (
            record(("a", {"type": "enum", "name": "E", "symbols": ["P", "Q"]})),
            record(("a", {"type": "enum", "name": "E", "symbols": ["R", "P"], "default": "R"})),
            {"a": "Q"},
            {"a": "R"},
        ),
        (
            record(("a", {"type": "array", "items": record(("x", "int"), name="X")})),
            record(("a", {"type": "array", "items": record(("y", "long", 7), ("x", "long"), name="X")})),
            {"a": [{"x": 1}, {"x": 2}]},
            {"a": [{"y": 7, "x": 1}, {"y": 7, "x": 2}]},
        ),
        (
            record(("old", "int"), name="Old"),
            record(aliases=["Old"], fields=[{"name": "new", "type": "int", "aliases": ["old"]}]),
            {"old": 1},
            {"new": 1},
        ),
    ],
)  # fmt: skip
def test_another_version_is_read_by_avros_rules(old: Any, new: Any, datum: Any, expected: Any, by_extension: bool) -> None:
    writer = fastavro.parse_schema(old)
    found = Codec(old, new, by_extension=by_extension).decode([written(writer, datum)] * 2)
    assert found.refused == ()
    assert numbers(found.frame) == [expected] * 2
    by_fastavro = read_whole(written(writer, datum), writer, fastavro.parse_schema(new))
    assert {name: value for name, value in by_fastavro.items() if name not in {"a", "d"}} == {
        name: value for name, value in expected.items() if name not in {"a", "d"}
    }


@pytest.mark.parametrize(
    ("old", "new", "datum"),
    [
        (record(("a", "string")), record(("a", "long")), {"a": "x"}),
        (record(("a", ["null", "int"])), record(("a", "int")), {"a": None}),
        (record(("a", ["int", "string"])), record(("a", ["null", "int"])), {"a": "x"}),
        (record(("a", "int")), record(("a", "int"), ("b", "int")), {"a": 1}),
        (
            record(("a", {"type": "enum", "name": "E", "symbols": ["P", "Q"]})),
            record(("a", {"type": "enum", "name": "E", "symbols": ["P"]})),
            {"a": "Q"},
        ),
        (record(("a", "int"), name="R"), record(("a", "int"), name="S"), {"a": 1}),
    ],
)
def test_what_cannot_be_read_as_ours_is_incompatible(old: Any, new: Any, datum: Any, by_extension: bool) -> None:
    found = Codec(old, new, by_extension=by_extension).decode([written(fastavro.parse_schema(old), datum)])
    assert [(refusal.index, refusal.reason) for refusal in found.refused] == [(0, "incompatible_schema")]
    assert found.frame.height == 0


@pytest.mark.parametrize(
    ("field", "datum", "reason"),
    [
        ("long", b"\x80\x00", "malformed"),  # longer than it need be
        ("long", b"\xff" * 9 + b"\x02", "malformed"),  # 65 bits
        ("long", b"\xff" * 10 + b"\x01", "malformed"),
        ("long", b"\x80", "truncated"),
        ("int", b"\x80\x80\x80\x80\x10", "malformed"),  # 2 ** 31
        ("boolean", b"\x02", "malformed"),
        ("string", b"\x01", "malformed"),  # -1 bytes
        ("string", b"\x02\xff", "invalid_utf8"),
        ("string", b"\x06\xed\xa0\x80", "invalid_utf8"),  # half a surrogate pair
        ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "truncated"),
        (["null", "int"], b"\x04\x00", "malformed"),
        (["null", "int"], b"\x01\x00", "malformed"),  # -1, which in Python is the last
        ({"type": "enum", "name": "E", "symbols": ["P"]}, b"\x02", "malformed"),
        ({"type": "enum", "name": "E", "symbols": ["P"]}, b"\x01", "malformed"),
        ({"type": "array", "items": "int"}, b"\xfe\xff\xff\xff\x0f", "truncated"),
        ({"type": "array", "items": "int"}, b"\xff" * 9 + b"\x01\x00", "malformed"),  # -2 ** 63 items
        ({"type": "map", "values": "int"}, b"\x04\x02k\x00\x02k\x00\x00", "malformed"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\x02\x64", "malformed"),  # 100
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\x22" + b"\0" * 17, "malformed"),
        ("double", b"\0" * 7, "truncated"),
        ("double", b"\0" * 9, "trailing_bytes"),
        ({"type": "fixed", "name": "F", "size": 4}, b"\0" * 3, "truncated"),
    ],
)
def test_a_bad_record_is_refused_alone(field: Any, datum: bytes, reason: str, by_extension: bool) -> None:
    schema = record(("before", "string"), ("it", field))
    codec = Codec(schema, schema, by_extension=by_extension)
    good = (
        b"\x02x\x02\0"
        if "decimal" in str(field)
        else b"\x02x" + {"long": b"\x7e", "int": b"\x7e", "boolean": b"\1", "double": b"\0" * 8}.get(str(field), b"\0")
    )
    good = b"\x02x\0\0\0\0" if reason == "truncated" and "fixed" in str(field) else good
    assert codec.decode([good]).refused == ()
    found = codec.decode([good, b"\x02y" + datum, good])
    assert [(refusal.index, refusal.reason) for refusal in found.refused] == [(1, reason)]
    assert list(found.indexes) == [0, 2]
    assert found.frame["before"].to_list() == ["x", "x"]
    assert codec.encode(found.frame) == [good, good]


def test_what_is_written_in_several_blocks_is_read(by_extension: bool) -> None:
    schema = record(("it", {"type": "array", "items": "int"}), ("m", {"type": "map", "values": "int"}))
    value = b"\x02\x02" + b"\x03\x04\x04\x06" + b"\x00" + b"\x02\x02a\x02" + b"\x01\x06\x02b\x04" + b"\x00"
    found = Codec(schema, schema, by_extension=by_extension).decode([value])
    assert numbers(found.frame) == [{"it": [1, 2, 3], "m": [{"key": "a", "value": 1}, {"key": "b", "value": 2}]}]
    assert read_whole(value, fastavro.parse_schema(schema)) == {"it": [1, 2, 3], "m": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("string", "need a record"),
        (["null", record(("a", "int"))], "need a record"),
        (record(), "no fields"),
        (record(("a", "null")), "null alone"),
        (record(("a", ["int", "string"])), "a union of int, string"),
        (record(("a", ["null", "int", "string"])), "a union of null, int, string"),
        (record(("a", ["int"])), "a union of int"),
        (record(("a", ["null", "R"])), "within itself"),
        (record(("a", {"type": "array", "items": ZERO})), "takes no byte"),
        (record(("a", {"type": "array", "items": record(("b", ZERO), name="B")})), "takes no byte"),
        (record(("a", {"type": "int", "logicalType": "time-millis"})), "time-millis on int"),
        (record(("a", {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"})), "duration on fixed"),
        (record(("a", {"type": "fixed", "name": "D", "size": 12, "logicalType": "decimal", "precision": 3})), "decimal on fixed"),
        (record(("a", {"type": "bytes", "logicalType": "decimal", "precision": 39})), "39 digits"),
    ],
)
def test_what_has_no_columns_says_so_at_once(schema: Any, why: str, by_extension: bool) -> None:
    with pytest.raises(NoColumnsError, match=why):
        Codec(schema, schema, by_extension=by_extension)


def test_a_schema_that_grows_when_its_names_are_written_out_ends_early(by_extension: bool) -> None:
    node: Any = "int"
    for level in range(DEPTH_MAX - 4):
        node = record(("a", node), ("b", f"L{level - 1}" if level else "int"), name=f"L{level}")
    with pytest.raises(NoColumnsError, match="10,000 types"):
        Codec(node, node, by_extension=by_extension)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"text": None}, "row 1: null stands"),
        ({"points": [None]}, "row 1: null stands"),
        ({"maybe_record": {"x": None, "y": 1.0}}, "row 1: null stands"),
        ({"four": b"abc"}, "row 1: 3 bytes stand where the schema has 4"),
        ({"prices": [{"key": "a", "value": []}, {"key": "a", "value": []}]}, "row 1: a map has the key"),
    ],
)
def test_a_row_that_does_not_fit_its_schema_is_named(change: Any, why: str, by_extension: bool) -> None:
    codec = Codec(ALL_TYPES, ALL_TYPES, by_extension=by_extension)
    frame = pl.DataFrame([in_pairs(SOME), {**in_pairs(SOME), **change}], schema=dict(codec.schema))
    with pytest.raises(ValueError, match=why):
        codec.encode(frame)


@pytest.mark.parametrize(
    ("columns_given", "why"),
    [
        ({"large": [1]}, "needs the columns small"),
        ({"small": [2**31], "large": [1]}, "do not fit R"),
        ({"small": ["x"], "large": [1]}, "do not fit R"),
    ],
)
def test_columns_that_do_not_fit_are_named(columns_given: Any, why: str, by_extension: bool) -> None:
    schema = record(("small", "int"), ("large", "long"))
    with pytest.raises(ValueError, match=why):
        Codec(schema, schema, by_extension=by_extension).encode(pl.DataFrame(columns_given))


def test_smaller_types_are_cast(by_extension: bool) -> None:
    schema = record(("small", "int"), ("large", "long"))
    frame = pl.DataFrame({"large": [1], "small": [-1]}, schema={"large": pl.UInt8, "small": pl.Int64})
    assert Codec(schema, schema, by_extension=by_extension).encode(frame, b"p") == [b"p\x01\x02"]


def test_a_topic_with_several_types_gives_a_frame_for_each(by_extension: bool) -> None:
    values = [encode(PLACED), encode(CANCELLED), None, b"{}", encode(PLACED), encode(PLACED)[:-1], b"\0\0\0\0\7"]
    polled = WireColumns(by_extension=by_extension).decode(values)
    assert {kind: list(part.indexes) for kind, part in polled.frames.items()} == {OrderPlaced: [0, 4], OrderCancelled: [1]}
    assert polled.frames[OrderPlaced].frame["lines"].to_list() == [[{"sku": "s", "quantity": 3, "unit_price_minor": 100}]] * 2
    assert [(refusal.index, refusal.reason) for refusal in polled.refused] == [
        (2, "null_value"), (3, "no_magic_byte"), (5, "truncated"), (6, "unknown_schema_id"),
    ]  # fmt: skip
    assert polled.unserved == ()


def test_versions_of_one_type_come_in_one_frame_in_order(by_extension: bool) -> None:
    status = OrderStatus("o", "m", "c", "EUR", "s", 1, 2, 3, True, 4, 5, None, 6, 7)  # noqa: FBT003
    newer = encode(status)
    older = prefix_of(20) + newer[5:-1]
    polled = WireColumns(by_extension=by_extension).decode([newer, older, newer, older[:-1], older])
    part = polled.frames[OrderStatus]
    assert list(part.indexes) == [0, 1, 2, 4]
    assert part.frame.n_unique() == 1
    assert [refusal.index for refusal in part.refused] == [3]
    columns_back = WireColumns(by_extension=by_extension).newest(OrderStatus).encode(part.frame, newer[:5])
    assert [decode(value) for value in columns_back] == [status] * 4


def test_ids_of_a_registry_may_stand_in_a_header(by_extension: bool) -> None:
    reader = understood(NEWEST[OrderCancelled].text)
    assert isinstance(reader, WriterSchema)
    wire = Wire({700: reader}, by_registry=True)
    datum = encode(CANCELLED)[5:]
    header = b"\0" + (700).to_bytes(4, "big")
    polled = WireColumns(wire, by_extension=by_extension).decode([datum, header + datum, datum], {0: header})
    assert list(polled.frames[OrderCancelled].indexes) == [0, 1]
    assert [(refusal.index, refusal.reason) for refusal in polled.refused] == [(2, decode_reason(datum, wire))]


def decode_reason(value: bytes, wire: Wire) -> str:
    with pytest.raises(Undecodable) as raised:
        decode(value, wire)
    return raised.value.reason


def test_a_writers_schema_without_columns_is_left_to_the_row_codec(by_extension: bool) -> None:
    declared = json.loads(NEWEST[OrderCancelled].text)
    declared["fields"].append({"name": "more", "type": {"type": "array", "items": "null"}})
    reader = understood(json.dumps(declared))
    assert isinstance(reader, WriterSchema)
    polled = WireColumns(Wire({1: reader}), by_extension=by_extension).decode(
        [prefix_of(1) + encode(CANCELLED)[5:] + b"\0", b"\0\0\0\0\1"]
    )
    assert polled.unserved == (0,)
    assert [(refusal.index, refusal.reason) for refusal in polled.refused] == [(1, "truncated")]


def test_a_long_array_beside_many_records_costs_what_its_bytes_cost(by_extension: bool) -> None:
    large = encode(OrderPlaced("e", "o", 1, "shop", "c", "m", "EUR", 300, PLACED.lines * 10_000))
    polled = WireColumns(by_extension=by_extension).decode([encode(PLACED)] * 100 + [large])
    assert polled.frames[OrderPlaced].frame["lines"].list.len().to_list() == [1] * 100 + [10_000]


def test_the_log_is_told_which_way_it_is(by_extension: bool) -> None:
    assert extension.is_built() == extension.way().startswith("Avro columns by the extension")
    assert Codec(ALL_TYPES, ALL_TYPES, by_extension=by_extension).by_extension is by_extension
    assert Codec(ALL_TYPES, ALL_TYPES).by_extension is extension.is_built()


def test_a_plan_has_the_same_bytes_with_and_without_logical_types(by_extension: bool) -> None:
    plan = plan_of(ALL_TYPES, ALL_TYPES)
    assert plan.reader == fastavro.parse_schema(without_logical_types(ALL_TYPES))
    assert Codec(plan.writer, ALL_TYPES, by_extension=by_extension).schema == Codec(ALL_TYPES, ALL_TYPES).schema
