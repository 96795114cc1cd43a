"""The two ways to columns, to run a test on each, and frames as the values that fastavro gives."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro
import polars as pl
import pytest

from schemas.extension import is_built

NEEDS_EXTENSION = pytest.mark.skipif(not is_built(), reason="tally_columns is not built: make setup builds it where cargo exists")
"""For what is in columns only with the extension; the names of such tests say so."""

WAYS = [
    pytest.param(False, id="by fastavro"),
    pytest.param(
        True,
        id="by the extension" if is_built() else "by the extension (not built here: make setup builds it where cargo is)",
        marks=NEEDS_EXTENSION,
    ),
]
"""Whether it is the extension's."""


def numbers(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a frame with times as the numbers that they are."""
    return frame.cast({name: _without_times(kind) for name, kind in frame.schema.items()}).to_dicts()


def _without_times(kind: Any) -> Any:
    match kind:
        case pl.Datetime():
            return pl.Int64()
        case pl.Date():
            return pl.Int32()
        case pl.List():
            return pl.List(_without_times(kind.inner))
        case pl.Struct():
            return pl.Struct({field.name: _without_times(field.dtype) for field in kind.fields})
    return kind


def as_pairs(datum: Any, schema: Any) -> Any:  # noqa: PLR0911 - one case for each word of Avro
    """Give a datum of fastavro with its maps as the columns have them."""
    match schema:
        case {"type": "record", "fields": fields}:
            return {field["name"]: as_pairs(datum[field["name"]], field["type"]) for field in fields}
        case {"type": "array", "items": items}:
            return [as_pairs(item, items) for item in datum]
        case {"type": "map", "values": values}:
            return [{"key": key, "value": as_pairs(value, values)} for key, value in datum.items()]
        case list() if datum is not None:
            return as_pairs(datum, next(branch for branch in schema if branch != "null"))
        case "bytes" if isinstance(datum, str):  # a default, which fastavro gives as JSON has it
            return datum.encode("latin-1")
        case {"type": dict() | list() as inner}:
            return as_pairs(datum, inner)
    return datum


def written(schema: Any, datum: Any, prefix: bytes = b"") -> bytes:
    """Give the bytes that fastavro writes."""
    stream = BytesIO(prefix)
    stream.seek(len(prefix))
    fastavro.schemaless_writer(stream, schema, datum)
    return stream.getvalue()


def read_whole(value: bytes, writer: Any, reader: Any = None) -> Any:
    """Give the datum that fastavro reads, if that takes every byte; else whatever error says that it does not."""
    stream = BytesIO(value)
    datum = fastavro.schemaless_reader(stream, writer, reader)
    if stream.tell() != len(value):
        raise EOFError(f"{len(value) - stream.tell()} bytes are left")
    return datum


def same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two lists of rows are the same; a NaN is itself."""
    return repr(left) == repr(right)
