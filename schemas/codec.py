"""Records to bytes and back: Avro in the Confluent wire format.

A value is one zero byte, the schema id as four bytes big endian, then one Avro datum that uses
every byte that is left. Whatever else arrives raises :class:`Undecodable` with a reason, and
nothing else: bytes from outside can never raise anything that looks like a bug of ours.
"""

from __future__ import annotations

import struct
from io import BytesIO

import fastavro
import msgspec

from schemas.catalogue import BY_ID, NEWEST
from schemas.events import Record

MAGIC_BYTE = 0
_HEADER = struct.Struct(">bI")
_PREFIX = {record_type: _HEADER.pack(MAGIC_BYTE, schema.schema_id) for record_type, schema in NEWEST.items()}

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
    "unknown_schema_id": "the schema id is not in the catalogue",
    "truncated": "the Avro datum ends before its schema does",
    "trailing_bytes": "bytes are left after the Avro datum",
    "invalid_utf8": "a string is not UTF-8",
    "malformed": "the bytes do not fit their schema",
    "unexpected_type": "the topic does not carry this record type",
}
"""Why a value cannot be read, as it stands in ``__tally.errors.reason``."""


def decode(value: bytes | None) -> Record:
    """Give the record that ``value`` holds.

    Raises:
        Undecodable: with the reason, for every other sequence of bytes.
    """
    if value is None:
        raise Undecodable("null_value", "the value is null, so there is nothing to read")
    if len(value) < _HEADER.size or value[0] != MAGIC_BYTE:
        raise Undecodable("no_magic_byte", f"the value begins with {value[:5].hex() or 'nothing'}, not with 00 and a schema id")
    schema = BY_ID.get(int.from_bytes(value[1:5], "big"))
    if schema is None:
        raise Undecodable("unknown_schema_id", f"schema id {int.from_bytes(value[1:5], 'big')} is not in the catalogue")
    stream = BytesIO(value)
    stream.seek(_HEADER.size)
    try:
        datum = fastavro.schemaless_reader(stream, schema.physical, None)
        record = msgspec.convert(datum, schema.record_type)
    except UnicodeDecodeError as error:
        raise Undecodable("invalid_utf8", f"a string of {schema.name} is not UTF-8: {error.reason}") from error
    except (EOFError, IndexError) as error:
        raise Undecodable("truncated", f"{schema.name} ends too early, after {len(value)} bytes") from error
    except (ValueError, TypeError, OverflowError, MemoryError, KeyError, struct.error) as error:
        raise Undecodable("malformed", f"not a {schema.name}: {error}") from error
    if stream.tell() != len(value):
        raise Undecodable("trailing_bytes", f"{len(value) - stream.tell()} bytes are left after {schema.name}")
    return record  # type: ignore[return-value]


def encode(record: Record) -> bytes:
    """Give the bytes of ``record`` with the newest schema of its type.

    Raises:
        ValueError, TypeError, OverflowError: when a field does not fit its schema (a bug of the caller).
    """
    stream = BytesIO()
    stream.write(_PREFIX[type(record)])
    fastavro.schemaless_writer(stream, NEWEST[type(record)].physical, msgspec.to_builtins(record, builtin_types=_AVRO_TYPES))
    return stream.getvalue()
