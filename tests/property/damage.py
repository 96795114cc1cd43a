"""Strategies: any record of the catalogue, and its bytes with a few things done to them."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from hypothesis import strategies as st

from schemas.catalogue import CATALOGUE, RegisteredSchema
from schemas.codec import encode
from schemas.events import Record

_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "bytes": st.binary(max_size=140),
    "null": st.none(),
}


def any_datum(node: Any) -> st.SearchStrategy[Any]:
    """Give any datum of an Avro schema."""
    if isinstance(node, str):
        return _PLAIN[node]
    if isinstance(node, list):
        return st.one_of([any_datum(branch) for branch in node])
    match node["type"]:
        case "record":
            return st.fixed_dictionaries({field["name"]: any_datum(field["type"]) for field in node["fields"]})
        case "array":
            return st.lists(any_datum(node["items"]), max_size=4)
        case "map":
            return st.dictionaries(st.text(), any_datum(node["values"]), max_size=4)
        case plain:
            return any_datum(plain)


def _records(schema: RegisteredSchema) -> st.SearchStrategy[Record]:
    def made(datum: Any) -> Record:
        return cast("Record", msgspec.convert(datum, schema.record_type))

    return any_datum(schema.physical).map(made)


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
