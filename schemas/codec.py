"""Records to bytes and back: Avro in the Confluent wire format.

A value is one zero byte, the schema id as four bytes big endian, then one Avro datum that uses
every byte that is left. Where a registry gives the ids, they may also be GUIDs, or stand in a header.
Whatever else arrives raises :class:`Undecodable` with a reason, and
nothing else: bytes from outside can never raise anything that looks like a bug of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO

import fastavro
import msgspec
from fastavro.read import SchemaResolutionError

from schemas.catalogue import NEWEST
from schemas.events import Record
from schemas.wire import FIXED, ID_HEADER, NUMBER_MAGIC, SchemaId, UnreadableSchema, Wire, framing, prefix_of

_BEGIN = 5
"""Of the datum, behind the magic byte and an id of four bytes."""
PREFIXES: Mapping[type, bytes] = {record_type: prefix_of(schema.schema_id) for record_type, schema in NEWEST.items()}
"""What the catalogue puts before a record of each type."""

_AVRO_TYPES = (bytes,)
"""Of Python, that fastavro takes as they are."""


class Undecodable(Exception):  # noqa: N818 - says what the bytes are
    """Bytes that are no record of ours. ``reason`` is one of :data:`REASONS`; never retriable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


REASONS = {
    "null_value": "the record has no value",
    "no_magic_byte": "the value does not begin with the Confluent magic byte 0",
    "unknown_schema_id": "no schema has this id",
    "incompatible_schema": "the writer's schema cannot be read as ours",
    "truncated": "the Avro datum ends before its schema does",
    "trailing_bytes": "bytes are left after the Avro datum",
    "invalid_utf8": "a string is not UTF-8",
    "malformed": "the bytes do not fit their schema",
    "unexpected_type": "the topic does not carry this record type",
}
"""Why a value cannot be read, as it stands in ``__tally.errors.reason``."""


def decode(value: bytes | None, wire: Wire = FIXED, header: bytes | None = None) -> Record:
    """Give the record that ``value`` holds.

    Args:
        value: of the record.
        wire: which ids stand for which schemas.
        header: the record's ``__value_schema_id``; only a registry's ids may stand there.

    Raises:
        Undecodable: with the reason, for every other sequence of bytes.
    """
    if value is None:
        raise Undecodable("null_value", "the value is null, so there is nothing to read")
    schema_id: SchemaId
    if header is None and len(value) >= _BEGIN and value[0] == NUMBER_MAGIC:  # nearly every record
        schema_id, begin = int.from_bytes(value[1:_BEGIN], "big"), _BEGIN
    else:
        schema_id, begin = _framed(value, wire, header)
    schema = wire.readers.get(schema_id)
    if schema is None:
        raise Undecodable("unknown_schema_id", f"schema id {schema_id} is not in the {wire.origin}")
    if isinstance(schema, UnreadableSchema):
        raise Undecodable(schema.reason, f"schema id {schema_id}: {schema.detail}")
    stream = BytesIO(value)
    stream.seek(begin)
    try:
        datum = fastavro.schemaless_reader(stream, schema.physical, schema.read_as)
        record = msgspec.convert(datum, schema.record_type)
    except UnicodeDecodeError as error:
        raise Undecodable("invalid_utf8", f"a string of {schema.name} is not UTF-8: {error.reason}") from error
    except (EOFError, IndexError) as error:
        raise Undecodable("truncated", f"{schema.name} ends too early, after {len(value)} bytes") from error
    except SchemaResolutionError as error:
        raise Undecodable("incompatible_schema", f"schema id {schema_id} cannot be read as our {schema.name}: {error}") from error
    except (ValueError, TypeError, OverflowError, MemoryError, KeyError, struct.error) as error:
        raise Undecodable("malformed", f"not a {schema.name}: {error}") from error
    if stream.tell() != len(value):
        raise Undecodable("trailing_bytes", f"{len(value) - stream.tell()} bytes are left after {schema.name}")
    return record  # type: ignore[return-value]


def _framed(value: bytes, wire: Wire, header: bytes | None) -> tuple[SchemaId, int]:
    """Give a value's schema id and where its datum begins, also in the framings that only a registry's clients use."""
    found = framing(value, header) if wire.by_registry else None
    if found is None:
        where, said = ("value", value) if header is None else (f"header {ID_HEADER}", header)
        raise Undecodable("no_magic_byte", f"the {where} begins with {said[:5].hex() or 'nothing'}, not with 00 and a schema id")
    return found


def encode(record: Record, prefixes: Mapping[type, bytes] = PREFIXES) -> bytes:
    """Give the bytes of ``record`` with the newest schema of its type, whose id is the one in ``prefixes``.

    Raises:
        ValueError, TypeError, OverflowError: when a field does not fit its schema (a bug of the caller).
    """
    stream = BytesIO()
    stream.write(prefixes[type(record)])
    fastavro.schemaless_writer(stream, NEWEST[type(record)].physical, msgspec.to_builtins(record, builtin_types=_AVRO_TYPES))
    return stream.getvalue()
