"""Batches of records to columns and back: the columnar counterpart of ``codec.py``.

What a batch holds goes to Polars by Arrow's C data interface, without a Python object per field. Two ways, one result:

- **rust**: the extension in ``columns_rs/``, built by ``make`` where cargo exists, and by the image.
- **fastavro**: where it is not built, or is of another version. Same columns, same refusals, slower than ``codec.decode``.

:func:`schemas.extension.way` says which one a process has, as a sentence for its log.

Shapes. A frame has one column per field of the reader's schema, in its order, and one row per good record, in the order of the
values. With n good records:

===========================  ===================================================
Avro                         column of n rows
===========================  ===================================================
string, bytes, fixed         String, Binary, Binary
int, long                    Int32, Int64
timestamp-millis             Datetime("ms", "UTC"); ``.to_physical()`` is free
date, timestamp-*            Date, Datetime of the unit; local ones without zone
decimal on bytes             Decimal(precision, scale)
boolean, float, double       Boolean, Float32, Float64
enum                         Enum(symbols)
null or T                    T with nulls
array, record                List, Struct (order lines: List(Struct))
map                          List(Struct({key, value})), in the order of the wire
===========================  ===================================================

What no column can hold (``column_plans.NoColumnsError`` says it when the codec is made) is left to ``codec.decode``.

Strictness. A record is good when it is one datum of its schema, every byte used. Refused by both ways, though
``codec.decode`` reads them: varints longer than they need be, booleans that are not 0 or 1, ints beyond 32 bits, negative
indexes of unions and enums, a key twice in a map, decimals of too many digits. No writer makes these.

``codec.decode`` stays the judge: an engine gives it every record that is refused here, takes the record if it reads one, and
else its reason and sentence. So what is accepted never depends on the size of a batch or on what is built. The reasons here
are those of ``codec.REASONS``; where a record has several faults, or an impossible length, count or index, which the row codec
finds only where the bytes end, the two may name different ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import polars as pl

from schemas import columns_by_fastavro
from schemas.catalogue import NEWEST
from schemas.codec import REASONS, Undecodable, decode
from schemas.column_plans import NoColumnsError, dtype, plan_of
from schemas.extension import extension, is_built
from schemas.wire import FIXED, SchemaId, Wire, WriterSchema, framing


@dataclass(frozen=True)
class Refusal:
    """A value that is no record: its index among the values, one of ``codec.REASONS``, and a sentence."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Decoded:
    """Records in columns. Row i of ``frame`` was value ``indexes[i]``, ascending; every other value is in ``refused``."""

    frame: pl.DataFrame
    indexes: Sequence[int]
    refused: tuple[Refusal, ...]


class Codec:
    """Batches of one schema. A codec holds no state; threads may share one, and the extension releases the GIL."""

    def __init__(self, writer: Any, reader: Any, *, by_extension: bool | None = None) -> None:
        """Make it once for each pair of schemas; it takes a millisecond.

        Args:
            writer: Avro schema that the bytes were written with, as a JSON value or parsed by fastavro.
            reader: the schema whose fields the columns are, with its logical types; what is encoded is written with it.
            by_extension: None: if it is there. False: by fastavro. True: it must be there.

        Raises:
            NoColumnsError: records of these schemas cannot stand in columns.
            RuntimeError: the extension must be there, and is not.
        """
        plan = plan_of(writer, reader)
        self.name = plan.name
        self.by_extension = by_extension is True or (is_built() and by_extension is not False)
        _, names, shapes = plan.shape
        self.schema = pl.Schema({name: dtype(shape) for name, shape in zip(names, shapes, strict=True)})
        """Names and types of the columns."""
        self._plain = pl.Schema({name: dtype(shape, plain=True) for name, shape in zip(names, shapes, strict=True)})
        self._decoder: Any
        self._encoder: Any
        if self.by_extension:
            made = extension()
            self._decoder = made.Decoder(plan.op, plan.shape)
            self._encoder = made.Encoder(plan.shape)
        else:
            self._decoder = columns_by_fastavro.Decoder(plan)
            self._encoder = columns_by_fastavro.Encoder(plan)

    def decode(self, values: Sequence[bytes], begin: int = 0) -> Decoded:
        """Give the columns of a batch; a bad value is refused alone.

        Args:
            values: each holds one datum.
            begin: where it begins in each of them, such as 5 behind a magic byte and an id.
        """
        frame, refused = self._decoder.decode(values, begin)
        if self.by_extension:
            frame = pl.Series(pl.from_arrow(frame)).struct.unnest()
        if self._plain != self.schema:
            frame = frame.cast(self.schema)
        bad = {index for index, _ in refused}
        indexes = [index for index in range(len(values)) if index not in bad] if bad else range(len(values))
        sentences = tuple(Refusal(index, reason, f"{self.name}: {REASONS[reason]}") for index, reason in refused)
        return Decoded(frame, indexes, sentences)

    def encode(self, frame: pl.DataFrame, prefix: bytes = b"") -> list[bytes]:
        """Give one value for each row: ``prefix``, then the datum, byte for byte as fastavro writes it.

        Args:
            frame: has the columns of :attr:`schema`, in any order; types are cast, more columns are left out.
            prefix: of each value, such as ``wire.prefix_of``.

        Raises:
            ValueError: a column is missing or cannot be cast, or a row does not fit the schema (it says which one).
        """
        missing = [name for name in self.schema if name not in frame.columns]
        if missing:
            raise ValueError(f"{self.name} needs the columns {', '.join(missing)}")
        frame = frame.select(self.schema.names())
        try:
            for wanted in (self.schema, self._plain):
                frame = frame if frame.schema == wanted else frame.cast(wanted)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"the columns do not fit {self.name}: {error}") from error
        given: Any = frame.__arrow_c_stream__() if self.by_extension else frame
        written: list[bytes] = self._encoder.encode(given, prefix)
        return written


@dataclass(frozen=True)
class Polled:
    """What a batch of framed values holds.

    ``frames`` has one :class:`Decoded` for each record type that came, all in the columns of its newest schema, whatever
    version they were written with. ``refused`` has what is no record, ascending, the refusals within the frames included.
    ``unserved`` has the indexes of records whose schema has no columns: ``codec.decode`` reads them.
    """

    frames: Mapping[type[msgspec.Struct], Decoded]
    refused: tuple[Refusal, ...]
    unserved: tuple[int, ...]


class WireColumns:
    """Framed values to columns and back, with the ids of one :class:`~schemas.wire.Wire`."""

    def __init__(self, wire: Wire = FIXED, *, by_extension: bool | None = None) -> None:
        """Take the ids of ``wire``; a codec is made when the first value of its schema comes."""
        self._wire = wire
        self._by_extension = by_extension
        self._codecs: dict[SchemaId, tuple[WriterSchema, Codec] | None] = {}
        self.newest = cache(self._newest)
        """From a record type to the codec of its newest schema: ``columns.newest(OrderPlaced).encode(frame, prefix)``."""

    def decode(self, values: Sequence[bytes | None], headers: Mapping[int, bytes] | None = None) -> Polled:
        """Give the columns of all record types in a batch.

        Args:
            values: of the records, as they were polled.
            headers: by index, the ``__value_schema_id`` of the records that have one.
        """
        apart: dict[tuple[SchemaId, int], list[int]] = defaultdict(list)
        refused: list[Refusal] = []
        for index, prefix in self._prefixed(values, headers or {}):
            apart[prefix].append(index)
        unserved = []
        parts: dict[type[msgspec.Struct], list[Decoded]] = defaultdict(list)
        for (schema_id, begin), indexes in apart.items():
            found = self._codec(schema_id) if begin >= 0 else None
            if found is None:
                for index in indexes:
                    refusal = self._refusal(index, values[index], (headers or {}).get(index))
                    unserved += [index] if refusal is None else []
                    refused += [] if refusal is None else [refusal]
                continue
            schema, codec = found
            part = _moved(codec.decode([values[index] for index in indexes], begin), indexes)  # type: ignore[misc]
            refused += part.refused
            parts[schema.record_type].append(part)
        by_index = sorted(refused, key=lambda refusal: refusal.index)
        return Polled({kind: _joined(some) for kind, some in parts.items()}, tuple(by_index), tuple(sorted(unserved)))

    def _prefixed(
        self, values: Sequence[bytes | None], headers: Mapping[int, bytes]
    ) -> Iterator[tuple[int, tuple[SchemaId, int]]]:
        """Give each index with schema id and begin of the datum; a begin of -1: there is none."""
        none: tuple[SchemaId, int] = (0, -1)
        known: dict[bytes, tuple[SchemaId, int]] = {}
        for index, value in enumerate(values):
            if value is None:
                yield index, none
                continue
            prefix = value[:5]
            if not headers and prefix in known:  # nearly every record
                yield index, known[prefix]
                continue
            header = headers.get(index)
            by_number = header is None and len(prefix) == len(b"\0\0\0\0\0") and prefix[0] == 0
            found = framing(value, header) if by_number or self._wire.by_registry else None
            if by_number and found is not None:
                known[prefix] = found
            yield index, found or none

    def _codec(self, schema_id: SchemaId) -> tuple[WriterSchema, Codec] | None:
        """Give the codec of a writer's schema; None: no columns can come of it."""
        if schema_id not in self._codecs:
            schema = self._wire.readers.get(schema_id)
            if schema is None:
                return None  # a registry may know it later
            made = None
            if isinstance(schema, WriterSchema):
                try:
                    reader = json.loads(NEWEST[schema.record_type].text)
                    made = (schema, Codec(schema.physical, reader, by_extension=self._by_extension))
                except NoColumnsError:
                    made = None
            self._codecs[schema_id] = made
        return self._codecs[schema_id]

    def _newest(self, record_type: type[msgspec.Struct]) -> Codec:
        schema = json.loads(NEWEST[record_type].text)
        return Codec(schema, schema, by_extension=self._by_extension)

    def _refusal(self, index: int, value: bytes | None, header: bytes | None) -> Refusal | None:
        """Say what the row codec says; None: it reads a record."""
        try:
            decode(value, self._wire, header)
        except Undecodable as error:
            return Refusal(index, error.reason, str(error))
        return None


@cache
def fixed() -> WireColumns:
    """Give the columns of the catalogue's own ids, one for all."""
    return WireColumns()


def encoded(record_type: type[msgspec.Struct], frame: pl.DataFrame, prefix: bytes) -> list[bytes]:
    """Give the values of records, from a frame that has the names of their fields: the prefix, and the newest schema's datum."""
    return fixed().newest(record_type).encode(as_wire(record_type, frame), prefix)


def as_records(record_type: type[msgspec.Struct], frame: pl.DataFrame) -> pl.DataFrame:
    """Give columns under the names that the record's fields have in Python, times as integers in their unit."""
    names = {field.encode_name: field.name for field in msgspec.structs.fields(record_type)}
    times = [name for name, kind in frame.schema.items() if kind.is_temporal()]
    return frame.with_columns(pl.col(times).to_physical()).rename(names, strict=False)


def empty_records(record_type: type[msgspec.Struct]) -> pl.DataFrame:
    """Give the columns of :func:`as_records` for no record."""
    return as_records(record_type, pl.DataFrame(schema=fixed().newest(record_type).schema))


def as_wire(record_type: type[msgspec.Struct], frame: pl.DataFrame) -> pl.DataFrame:
    """Give columns with the names of a record's fields, and of those of records in it, under the names of its schema."""
    return frame.select(_on_wire(pl.col(field.name), field).alias(field.encode_name) for field in _fields(record_type))


def _fields(struct: type[msgspec.Struct]) -> Sequence[Any]:
    info: Any = msgspec.inspect.type_info(struct)
    return list(info.fields)


def _on_wire(column: pl.Expr, field: Any) -> pl.Expr:
    inner = getattr(getattr(field.type, "item_type", None), "fields", None)
    if inner is None:
        return column
    return column.list.eval(pl.element().struct.rename_fields([each.encode_name for each in inner]))


def _moved(part: Decoded, indexes: Sequence[int]) -> Decoded:
    """Give what was decoded of some of the values with the indexes of all."""
    refused = tuple(Refusal(indexes[refusal.index], refusal.reason, refusal.detail) for refusal in part.refused)
    return Decoded(part.frame, [indexes[index] for index in part.indexes], refused)


def _joined(parts: Sequence[Decoded]) -> Decoded:
    """Give the records of several versions as one, in the order of the values."""
    if len(parts) == 1:
        return parts[0]
    indexes = [index for part in parts for index in part.indexes]
    order = sorted(range(len(indexes)), key=indexes.__getitem__)
    frame = pl.concat([part.frame for part in parts])[order]
    refused = sorted((refusal for part in parts for refusal in part.refused), key=lambda refusal: refusal.index)
    return Decoded(frame, [indexes[at] for at in order], tuple(refused))
