"""Which schema ids stand on the wire, and what a reader makes of each: those of the catalogue, or those of a registry.

A writer's schema is resolved against our newest one of the same full name, so that an older or
a newer compatible version of a record is read as the record that we know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

import fastavro
import msgspec

from schemas.catalogue import CATALOGUE, NEWEST, RegisteredSchema, without_logical_types

SchemaId: TypeAlias = int | UUID
"""Of one version of one schema: the number that a registry gave, or Confluent's newer GUID."""

ID_HEADER = "__value_schema_id"
"""Header in which a producer may put the id, in the same form, instead of before the datum."""
NUMBER_MAGIC, GUID_MAGIC = 0, 1
"""The byte before an id: four bytes big endian follow, or the sixteen of a GUID."""
_NUMBER_END, _GUID_END = 5, 17


@dataclass(frozen=True)
class WriterSchema:
    """A schema that bytes may have been written with; ``read_as`` is ours, where it is another one."""

    name: str
    record_type: type[msgspec.Struct]
    physical: Any
    read_as: Any = None


@dataclass(frozen=True)
class UnreadableSchema:
    """A schema that exists and from which no record of ours can come; the reason is one of ``codec.REASONS``."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Wire:
    """The ids of one deployment. ``prefixes`` has the first bytes of what is written, by declared topic and record type.

    A topic that is not in ``prefixes`` is written with the catalogue's ids.
    """

    readers: Mapping[SchemaId, WriterSchema | UnreadableSchema]
    prefixes: Mapping[str, Mapping[type, bytes]] = field(default_factory=dict)
    by_registry: bool = False

    @property
    def origin(self) -> str:
        """Who gave the ids, for a sentence."""
        return "registry" if self.by_registry else "catalogue"


def own(schema: RegisteredSchema) -> WriterSchema:
    """Give a schema of the catalogue as its own writers use it."""
    return WriterSchema(schema.name, schema.record_type, schema.physical)


FIXED = Wire(MappingProxyType({schema.schema_id: own(schema) for schema in CATALOGUE}))
"""The catalogue of this repository: nothing to ask, nothing to wait for."""

FULL_NAMES: Mapping[str, RegisteredSchema] = {schema.full_name: schema for schema in NEWEST.values()}
"""Avro full name, such as ``tally.OrderPlaced``, to our newest schema of it."""


def prefix_of(schema_id: int) -> bytes:
    """Give the bytes that stand before a datum of this schema."""
    return bytes([NUMBER_MAGIC]) + schema_id.to_bytes(4, "big")


def framing(value: bytes, header: bytes | None) -> tuple[SchemaId, int] | None:
    """Give a value's schema id and where its datum begins; None: neither value nor header has an id.

    Args:
        value: of the record.
        header: its :data:`ID_HEADER`, if it has one. It wins, and the whole value is then the datum.
    """
    said = value if header is None else header
    if not said:
        return None
    if said[0] == NUMBER_MAGIC and len(said) >= _NUMBER_END:
        schema_id: SchemaId = int.from_bytes(said[1:_NUMBER_END], "big")
        end = _NUMBER_END
    elif said[0] == GUID_MAGIC and len(said) >= _GUID_END:
        schema_id, end = UUID(bytes=said[1:_GUID_END]), _GUID_END
    else:
        return None
    return schema_id, 0 if header is not None else end


def understood(text: str, schema_type: str = "AVRO") -> WriterSchema | UnreadableSchema:
    """Give what a schema of a registry means to us; whatever it says, this raises nothing.

    Args:
        text: the schema as the registry has it.
        schema_type: as the registry names it; only AVRO can be read.
    """
    if schema_type != "AVRO":
        return UnreadableSchema("incompatible_schema", f"the schema is {schema_type}, not AVRO")
    try:
        declared = json.loads(text)
        physical: Any = fastavro.parse_schema(without_logical_types(declared))
        name = str(physical["name"])
    except Exception as error:  # noqa: BLE001 - bytes from outside: whatever is wrong with them, no record comes of it
        return UnreadableSchema("incompatible_schema", f"the schema is no Avro record that can be read alone: {error}")
    ours = FULL_NAMES.get(name)
    if ours is None:
        return UnreadableSchema("unexpected_type", f"the schema is of {name}, which is no record of ours")
    if declared == json.loads(ours.text):
        return own(ours)
    meanings = dict(_logical_types(json.loads(ours.text)))
    for path, meaning in _logical_types(declared):
        if meanings.get(path, meaning) != meaning:
            detail = f"{path} of {name} is {meaning}, where we read {meanings[path]}"
            return UnreadableSchema("incompatible_schema", detail)
    return WriterSchema(ours.name, ours.record_type, physical, ours.physical)


def in_ids_of(wire: Wire, value: bytes | None) -> bytes | None:
    """Give a value that was written with the catalogue's ids with those of ``wire``; what is no such value stays as it is."""
    found = framing(value, None) if value else None
    schema = FIXED.readers.get(found[0]) if found else None
    if value is None or not isinstance(schema, WriterSchema):
        return value
    prefix = next((some[schema.record_type] for some in wire.prefixes.values() if schema.record_type in some), None)
    return value if prefix is None else prefix + value[_NUMBER_END:]


def _logical_types(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give where a schema says what a number means: field path and logical type."""
    if isinstance(node, list):
        for branch in node:
            yield from _logical_types(branch, path)
    elif isinstance(node, dict):
        if "logicalType" in node:
            yield path, str(node["logicalType"])
        for child in node.get("fields", ()):
            yield from _logical_types(child.get("type"), f"{path}.{child.get('name')}".lstrip("."))
        for inner in ("type", "items", "values"):
            if isinstance(node.get(inner), dict | list):
                yield from _logical_types(node[inner], path)
