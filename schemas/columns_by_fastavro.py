"""The columns of ``columns.py`` by fastavro, for where the extension is not built: slower, and with the same rules.

fastavro reads some bytes that no writer makes, so each datum is looked through by its plan first, and only what passes is
read (``columns_rs/src/read.rs`` does both in one go).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from io import BytesIO
from typing import Any

import fastavro
import polars as pl

from schemas.column_plans import Op, Plan, Shape, dtype

_FLOATS: Mapping[str, int] = {"float": 4, "double": 8}
_VARINT_BYTES_MAX = 10
"""A varint of 64 bits takes no more."""
_UNSIGNED_MAX = 2**64 - 1
"""What 64 bits hold."""
_BYTES_OF_A_DECIMAL_MAX = 16
"""As many as the extension has room for."""


_EXACT = Context(prec=77)
"""Decimals are never rounded."""


class _Refused(Exception):  # noqa: N818 - says what the bytes are
    """A datum that is none of the plan's; the argument is the reason."""


class Decoder:
    """Reads what was written with one schema as another one says; like the extension's class of this name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._plain = _plainer(plan.shape)

    def decode(self, values: Sequence[bytes], begin: int) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        """Give the columns of all that could be read, and index and reason of all that could not."""
        rows: list[Any] = []
        refused = []
        for index, value in enumerate(values):
            try:
                end = _walk(self._plan.op, value, min(begin, len(value)))
                if end != len(value):
                    raise _Refused("trailing_bytes")  # noqa: TRY301 - the walk refuses the same way
            except _Refused as error:
                refused.append((index, error.args[0]))
                continue
            stream = BytesIO(value)
            stream.seek(begin)
            rows.append(self._plain(fastavro.schemaless_reader(stream, self._plan.writer, self._plan.reader)))
        _, names, shapes = self._plan.shape
        columns = [
            pl.Series(name, [row[name] for row in rows], dtype=_numbers(shape)).cast(dtype(shape, plain=True))
            for name, shape in zip(names, shapes, strict=True)
        ]
        return pl.DataFrame(columns), refused


class Encoder:
    """Writes columns with one schema; like the extension's class of this name."""

    def __init__(self, plan: Plan) -> None:
        self._schema = plan.reader
        self._datum = _datum(plan.shape)
        _, names, shapes = plan.shape
        self._numbers = {name: _numbers(shape) for name, shape in zip(names, shapes, strict=True)}

    def encode(self, frame: pl.DataFrame, prefix: bytes) -> list[bytes]:
        """Give one value for each row: the prefix, then the datum."""
        written = []
        for index, row in enumerate(frame.cast(self._numbers).iter_rows(named=True)):
            stream = BytesIO()
            stream.write(prefix)
            try:
                fastavro.schemaless_writer(stream, self._schema, self._datum(row))
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(f"row {index}: {error}") from error
            written.append(stream.getvalue())
        return written


def _numbers(shape: Shape) -> Any:
    """Give the type of a column in Polars whose times are the numbers that they are."""
    match shape:
        case ("int" | "long", _):
            return dtype((shape[0], ""))
        case ("array", item):
            return pl.List(_numbers(item))
        case ("map", value):
            return pl.List(pl.Struct({"key": pl.String(), "value": _numbers(value)}))
        case ("record", names, shapes):
            return pl.Struct({name: _numbers(inner) for name, inner in zip(names, shapes, strict=True)})
        case ("nullable", _, inner):
            return _numbers(inner)
    return dtype(shape, plain=True)


def _long(value: bytes, at: int) -> tuple[int, int]:
    """Read a varint in its one shortest form: the number, and where it ends."""
    found = shift = 0
    begin = at
    while at < len(value):
        byte = value[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if at - begin == _VARINT_BYTES_MAX and (byte > 1 or found > _UNSIGNED_MAX):
            raise _Refused("malformed")
        if byte < 0x80:  # noqa: PLR2004 - the bit that says: goes on
            if byte == 0 and at - begin > 1:
                raise _Refused("malformed")
            return (found >> 1) ^ -(found & 1), at
    raise _Refused("truncated")


def _bytes(value: bytes, at: int) -> tuple[bytes, int]:
    size, at = _long(value, at)
    if size < 0:
        raise _Refused("malformed")
    return value[at : at + size], _skip(value, at, size)


def _skip(value: bytes, at: int, size: int) -> int:
    if at + size > len(value):
        raise _Refused("truncated")
    return at + size


def _text(value: bytes, at: int) -> tuple[str, int]:
    text, at = _bytes(value, at)
    try:
        return text.decode(), at
    except UnicodeDecodeError as error:
        raise _Refused("invalid_utf8") from error


def _index(value: bytes, at: int, count: int) -> tuple[int, int]:
    index, at = _long(value, at)
    if not 0 <= index < count:
        raise _Refused("malformed")
    return index, at


def _walk(op: Op, value: bytes, at: int) -> int:  # noqa: C901, PLR0911, PLR0912 - one case for each word of Avro
    """Give where the datum that begins at ``at`` ends.

    Raises:
        _Refused: it is none.
    """
    match op:
        case ("null",):
            return at
        case ("record", steps):
            for step in steps:
                if step[0] != "default":
                    at = _walk(step[1], value, at)
            return at
        case ("string",):
            return _text(value, at)[1]
        case ("long",):
            return _long(value, at)[1]
        case ("int",):
            number, at = _long(value, at)
            if not -(2**31) <= number < 2**31:
                raise _Refused("malformed")
            return at
        case ("boolean",):
            end = _skip(value, at, 1)
            if value[at] > 1:
                raise _Refused("malformed")
            return end
        case ("float" | "double" as kind,):
            return _skip(value, at, _FLOATS[kind])
        case ("bytes",):
            return _bytes(value, at)[1]
        case ("fixed", size):
            return _skip(value, at, size)
        case ("decimal", precision):
            digits, at = _bytes(value, at)
            if len(digits) > _BYTES_OF_A_DECIMAL_MAX or abs(int.from_bytes(digits, "big", signed=True)) >= 10**precision:
                raise _Refused("malformed")
            return at
        case ("enum", symbols):
            index, at = _index(value, at, len(symbols))
            if symbols[index] is None:
                raise _Refused("incompatible_schema")
            return at
        case ("union", branches):
            index, at = _index(value, at, len(branches))
            return _walk(branches[index], value, at)
        case ("array", item):
            return _blocks(value, at, lambda where: _walk(item, value, where))
        case ("map", inner):
            return _map(inner, value, at)
    raise _Refused("incompatible_schema")


def _map(inner: Op, value: bytes, at: int) -> int:
    seen = set()

    def pair(where: int) -> int:
        key, where = _text(value, where)
        if key in seen:
            raise _Refused("malformed")
        seen.add(key)
        return _walk(inner, value, where)

    return _blocks(value, at, pair)


def _blocks(value: bytes, at: int, item: Callable[[int], int]) -> int:
    """Give where the blocks of an array or a map end; each item takes a byte at least, so a count above what is left is a lie."""
    while True:
        count, at = _long(value, at)
        if count < 0:
            _, at = _long(value, at)
            count = -count
            if count >= 2**63:
                raise _Refused("malformed")
        if count > len(value) - at:
            raise _Refused("truncated")
        if count == 0:
            return at
        for _ in range(count):
            at = item(at)


def _plainer(shape: Shape) -> Callable[[Any], Any]:  # noqa: PLR0911 - one case for each kind of column
    """Give what makes of fastavro's value one that Polars takes: maps as pairs, decimals as such."""
    match shape:
        case ("record", names, shapes):
            fields = [(name, _plainer(inner)) for name, inner in zip(names, shapes, strict=True)]
            return lambda value: {name: inner(value[name]) for name, inner in fields}
        case ("nullable", _, nullable):
            some = _plainer(nullable)
            return lambda value: None if value is None else some(value)
        case ("array", items):
            item = _plainer(items)
            return lambda value: [item(one) for one in value]
        case ("map", values):
            plain = _plainer(values)
            return lambda value: [{"key": key, "value": plain(one)} for key, one in value.items()]
        case ("bytes",) | ("fixed", _):
            return _binary
        case ("decimal", _, scale):
            return lambda value: Decimal(int.from_bytes(_binary(value), "big", signed=True)).scaleb(-scale, _EXACT)
        case ("float",):  # a long that is read as a float is rounded once
            return lambda value: struct.unpack("<f", struct.pack("<f", value))[0]
    return lambda value: value


def _binary(value: bytes | str) -> bytes:
    """Give bytes; fastavro gives a default as the text that JSON has."""
    return value.encode("latin-1") if isinstance(value, str) else value


def _datum(shape: Shape) -> Callable[[Any], Any]:
    """Give what makes of a value of Polars one that fastavro writes, and refuses what it would write without a word."""
    match shape:
        case ("nullable", _, nullable):
            some = _datum(nullable)
            return lambda value: None if value is None else some(value)
    made = _made(shape)

    def given(value: Any) -> Any:
        if value is None:
            raise ValueError("null stands where the schema has none")
        return made(value)

    return given


def _made(shape: Shape) -> Callable[[Any], Any]:
    match shape:
        case ("record", names, shapes):
            fields = [(name, _datum(inner)) for name, inner in zip(names, shapes, strict=True)]
            return lambda value: {name: inner(value[name]) for name, inner in fields}
        case ("array", items):
            item = _datum(items)
            return lambda value: [item(one) for one in value]
        case ("map", values):
            return _pairs(_datum(values))
        case ("decimal", precision, scale):
            return lambda value: _decimal(value, precision, scale)
        case ("fixed", size):
            return lambda value: _sized(value, size)
    return lambda value: value


def _pairs(made: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def given(value: Any) -> Any:
        found: dict[str, Any] = {}
        for pair in value:
            if pair is None or pair["key"] is None:
                raise ValueError("null stands where the schema has none")
            if pair["key"] in found:
                raise ValueError(f"a map has the key {pair['key']!r} twice")
            found[pair["key"]] = made(pair["value"])
        return found

    return given


def _decimal(value: Decimal, precision: int, scale: int) -> bytes:
    number = int(value.scaleb(scale, _EXACT))
    if abs(number) >= 10**precision:
        raise ValueError(f"a decimal has more than {precision} digits")
    size = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return number.to_bytes(size, "big", signed=True)


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes stand where the schema has {size}")
    return value
