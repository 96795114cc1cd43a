"""What columns the records of a schema have, and how a datum of a writer's schema gets into them.

A plan is made once for each pair of schemas, by Avro's rules of resolution as fastavro follows them. It is nested tuples,
and the extension (``columns_rs/``) and ``columns_by_fastavro.py`` both go by it, so that they refuse the same bytes.

Operations say what stands on the wire: ``("null",)``, ``("boolean",)``, ``("int",)``, ``("long",)``, ``("float",)``,
``("double",)``, ``("bytes",)``, ``("string",)``, ``("fixed", size)``, ``("decimal", precision)``,
``("enum", [reader's index or None, ...])``, ``("array", op)``, ``("map", op)``, ``("union", [op, ...])``,
``("record", [step, ...])``, and ``("refused",)`` for what the reader's schema can make nothing of.
Steps are ``("read", op, column)``, ``("drop", op)`` and ``("default", op, column, datum)``.

Shapes say what the columns are: ``("int", logical type or "")``, ``("decimal", precision, scale)``,
``("enum", [symbol, ...])``, ``("record", [name, ...], [shape, ...])``, ``("nullable", index of null, shape)``; the rest
as above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import fastavro
import polars as pl

from schemas.catalogue import without_logical_types

Op: TypeAlias = tuple[Any, ...]
Shape: TypeAlias = tuple[Any, ...]

DEPTH_MAX = 32
"""Records within records; ours have four. Schemas come from registries, and every level is a call on the stack."""
NODES_MAX = 10_000
"""Of one plan, named types written out: ours have 50 at most, and a few lines of a schema can stand for billions."""
DECIMAL_DIGITS_MAX = 38
"""What 128 bits hold."""

_PRIMITIVE: Mapping[str, Any] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "bytes": pl.Binary(),
    "string": pl.String(),
}
_TIMES: Mapping[tuple[str, str], Any] = {
    ("int", "date"): pl.Date(),
    ("long", "timestamp-millis"): pl.Datetime("ms", "UTC"),
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("long", "timestamp-nanos"): pl.Datetime("ns", "UTC"),
    ("long", "local-timestamp-millis"): pl.Datetime("ms"),
    ("long", "local-timestamp-micros"): pl.Datetime("us"),
    ("long", "local-timestamp-nanos"): pl.Datetime("ns"),
}
_NAMED = ("record", "error", "enum", "fixed")
_PROMOTIONS = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"), ("float", "double"),
    ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip
_REFUSED: Op = ("refused",)


class NoColumnsError(Exception):
    """The records of a schema cannot stand in columns; the message says why. They are read one by one (``codec.py``)."""


@dataclass(frozen=True)
class Plan:
    """How to read what was written with one schema as another one says."""

    name: str
    op: Op
    shape: Shape
    writer: Any
    reader: Any
    """Both as fastavro has parsed them, without logical types."""


def plan_of(writer: Any, reader: Any) -> Plan:
    """Give the plan for bytes of ``writer`` in columns of ``reader``: Avro schemas as JSON values, or parsed by fastavro.

    Raises:
        NoColumnsError: for what no column can hold: unions of more than null and one type, types within themselves,
            null alone, times of day, durations, decimals on fixed, arrays of what takes no byte, records without fields.
    """
    declared = _parsed(reader)
    reader, writer = (_parsed(without_logical_types(schema)) for schema in (reader, writer))
    maker = _Maker(*(schema["__named_schemas"] for schema in (writer, declared, reader)))
    shape = maker.shape(declared)
    return Plan(str(declared["name"]), maker.op(writer, declared), shape, writer, reader)


def _parsed(schema: Any) -> dict[str, Any]:
    """Give a schema with the full names of its types, by which they are found."""
    parsed: Any = fastavro.parse_schema(schema)
    if not isinstance(parsed, dict) or parsed["type"] not in {"record", "error"}:
        raise NoColumnsError("columns need a record, and the schema is none")
    return parsed


def dtype(shape: Shape, *, plain: bool = False) -> Any:  # noqa: PLR0911 - one case for each kind of column
    """Give the type of a column in Polars.

    Args:
        shape: of the column.
        plain: as the extension and fastavro have it: enums are their symbols.
    """
    match shape:
        case ("int" | "long" as kind, logical) if logical:
            return _TIMES[kind, logical]
        case ("fixed", _):
            return pl.Binary()
        case ("decimal", precision, scale):
            return pl.Decimal(precision, scale)
        case ("enum", symbols):
            return pl.String() if plain else pl.Enum(symbols)
        case ("array", item):
            return pl.List(dtype(item, plain=plain))
        case ("map", value):
            return pl.List(pl.Struct({"key": pl.String(), "value": dtype(value, plain=plain)}))
        case ("record", names, shapes):
            return pl.Struct({name: dtype(inner, plain=plain) for name, inner in zip(names, shapes, strict=True)})
        case ("nullable", _, inner):
            return dtype(inner, plain=plain)
    return _PRIMITIVE[shape[0]]


class _Maker:
    """Makes one plan; counts how deep and how large it gets."""

    def __init__(self, writers: dict[str, Any], readers: dict[str, Any], physical: dict[str, Any]) -> None:
        self.writers = writers
        self.readers = readers
        self._physical = physical
        self._depth = 0
        self._nodes = 0

    def whole(self, node: Any, names: dict[str, Any]) -> dict[str, Any]:
        """Give a type as an object whose ``type`` is Avro's own word; a union's branches are its ``branches``."""
        while isinstance(node, dict) and isinstance(node["type"], dict | list):
            node = node["type"]
        if isinstance(node, list):
            return {"type": "union", "branches": node}
        if isinstance(node, str):
            node = {"type": node} if node in _PRIMITIVE or node == "null" else names[node]
        return {**node, "type": "record"} if node["type"] == "error" else dict(node)

    def _enter(self, name: str) -> None:
        self._depth += 1
        self._nodes += 1
        if self._depth > DEPTH_MAX:
            raise NoColumnsError(f"{name} is {DEPTH_MAX} levels deep, or within itself")
        if self._nodes > NODES_MAX:
            raise NoColumnsError(f"the schema has more than {NODES_MAX:,} types when all names are written out")

    def shape(self, node: Any) -> Shape:
        """Give the shape of the column of a reader's type."""
        made = self.whole(node, self.readers)
        self._enter(str(made.get("name", made["type"])))
        shape = self._shape(made)
        self._depth -= 1
        return shape

    def _shape(self, node: dict[str, Any]) -> Shape:  # noqa: C901, PLR0911, PLR0912 - one case for each word of Avro
        logical = node.get("logicalType", "")
        match node["type"]:
            case "record" if not node["fields"]:
                raise NoColumnsError(f"{node['name']} has no fields")
            case "record":
                fields = node["fields"]
                return ("record", [field["name"] for field in fields], [self.shape(field["type"]) for field in fields])
            case "union":
                kinds = [self.whole(branch, self.readers)["type"] for branch in node["branches"]]
                if len(kinds) != 2 or kinds.count("null") != 1:  # noqa: PLR2004 - null and the other one
                    raise NoColumnsError(f"a union of {', '.join(kinds)} has no column: only null and one type have")
                at = kinds.index("null")
                return ("nullable", at, self.shape(node["branches"][1 - at]))
            case "array":
                return ("array", self.shape(node["items"]))
            case "map":
                return ("map", self.shape(node["values"]))
            case "enum":
                return ("enum", list(node["symbols"]))
            case "bytes" if logical == "decimal":
                if node["precision"] > DECIMAL_DIGITS_MAX:
                    raise NoColumnsError(f"a decimal of {node['precision']} digits: {DECIMAL_DIGITS_MAX} have room")
                return ("decimal", node["precision"], node.get("scale", 0))
            case "fixed" if not logical:
                return ("fixed", node["size"])
            case "int" | "long" as kind if not logical or (kind, logical) in _TIMES:
                return (kind, logical)
            case kind if kind in _PRIMITIVE and (not logical or logical == "uuid"):
                return (kind,)
            case kind:
                raise NoColumnsError(f"{logical} on {kind} has no column" if logical else f"{kind} alone has no column")

    def op(self, writer: Any, reader: Any) -> Op:
        """Give how a writer's type is read into the column of a reader's; reader None: it is read and dropped."""
        wire = self.whole(writer, self.writers)
        self._enter(str(wire.get("name", wire["type"])))
        made = self._op(wire, None if reader is None else self.whole(reader, self.readers))
        self._depth -= 1
        return made

    def _op(self, writer: dict[str, Any], reader: dict[str, Any] | None) -> Op:  # noqa: C901, PLR0911 - as above
        if writer["type"] == "union":
            return ("union", [self.op(branch, reader) for branch in writer["branches"]])
        if reader is not None:
            found = self._match(writer, reader)
            if found is None:
                return _REFUSED
            reader = found
        match writer["type"]:
            case "record":
                return ("record", self._steps(writer, reader))
            case "array":
                if self._takes_nothing(writer["items"]):
                    raise NoColumnsError("an array of what takes no byte could be of any length")
                return ("array", self.op(writer["items"], reader and reader["items"]))
            case "map":
                return ("map", self.op(writer["values"], reader and reader["values"]))
            case "fixed":
                return ("fixed", writer["size"])
            case "enum":
                return ("enum", _symbols(writer, reader))
            case "bytes" if reader and reader["type"] == "bytes" and reader.get("logicalType") == "decimal":
                return ("decimal", reader["precision"])
            case "string" if reader and reader["type"] == "bytes" and reader.get("logicalType") == "decimal":
                return _REFUSED
            case kind:
                return (kind,)

    def _match(self, writer: dict[str, Any], reader: dict[str, Any]) -> dict[str, Any] | None:
        """Give the reader's type that a writer's is read as: the first of a union that fits; None: none does."""
        if reader["type"] == "union":
            branches = (self.whole(branch, self.readers) for branch in reader["branches"])
            return next((branch for branch in branches if self._fits(writer, branch)), None)
        return reader if self._fits(writer, reader) else None

    def _fits(self, writer: dict[str, Any], reader: dict[str, Any]) -> bool:
        kinds = (writer["type"], reader["type"])
        if "union" in kinds:
            return True
        if kinds[0] != kinds[1]:
            return kinds in _PROMOTIONS
        if kinds[0] in {"array", "map"}:
            inner = "items" if kinds[0] == "array" else "values"
            return self._fits(self.whole(writer[inner], self.writers), self.whole(reader[inner], self.readers))
        if kinds[0] not in _NAMED:
            return True
        names = [str(kind["name"]).rpartition(".")[2] for kind in (writer, reader)]
        aliases = reader.get("aliases", ())
        return writer.get("size") == reader.get("size") and (
            names[0] == names[1] or writer["name"] in aliases or names[0] in aliases
        )

    def _steps(self, writer: dict[str, Any], reader: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        if reader is None:
            return [("drop", self.op(field["type"], None)) for field in writer["fields"]]
        by_name = {field["name"]: at for at, field in enumerate(reader["fields"])}
        by_alias = {alias: at for at, field in enumerate(reader["fields"]) for alias in field.get("aliases", ())}
        steps: list[tuple[Any, ...]] = []
        filled = set()
        for field in writer["fields"]:
            at = by_name.get(field["name"], by_alias.get(field["name"]))
            if at in filled:
                raise NoColumnsError(f"two fields of the writer are {reader['fields'][at]['name']}")
            if at is None:
                steps.append(("drop", self.op(field["type"], None)))
            else:
                steps.append(("read", self.op(field["type"], reader["fields"][at]["type"]), at))
                filled.add(at)
        for at, field in enumerate(reader["fields"]):
            if at not in filled:
                steps.append(self._default(at, field))
        return steps

    def _default(self, at: int, field: dict[str, Any]) -> tuple[Any, ...]:
        """Give the step for a field that the writer did not know."""
        if "default" not in field:
            return ("read", _REFUSED, at)
        one = {"name": "Default", "type": "record", "fields": [{"name": "it", "type": without_logical_types(field["type"])}]}
        stream = BytesIO()
        try:
            parsed = {**one, "__fastavro_parsed": True, "__named_schemas": self._physical}
            fastavro.schemaless_writer(stream, parsed, {"it": self._value_of(field["type"], field["default"])})
        except Exception as error:
            raise NoColumnsError(f"the default of {field['name']} cannot be written: {error}") from error
        readers = _Maker(self.readers, self.readers, self._physical)
        return ("default", readers.op(field["type"], field["type"]), at, stream.getvalue())

    def _value_of(self, node: Any, default: Any) -> Any:
        """Give a default, which is JSON, as the value that it stands for: bytes are text of their code points."""
        made = self.whole(node, self.readers)
        match made["type"]:
            case "bytes" | "fixed" if isinstance(default, str):
                return default.encode("latin-1")
            case "union" if default is not None:
                kinds = (self.whole(branch, self.readers) for branch in made["branches"])
                return self._value_of(next(kind for kind in kinds if kind["type"] != "null"), default)
            case "array":
                return [self._value_of(made["items"], item) for item in default]
            case "map":
                return {key: self._value_of(made["values"], value) for key, value in default.items()}
            case "record":
                return {
                    inner["name"]: self._value_of(inner["type"], default.get(inner["name"], inner.get("default")))
                    for inner in made["fields"]
                }
        return default

    def _takes_nothing(self, node: Any, depth: int = 0) -> bool:
        made = self.whole(node, self.writers)
        if depth > DEPTH_MAX:
            raise NoColumnsError(f"a record is {DEPTH_MAX} levels deep, or within itself")
        if made["type"] == "record":
            return all(self._takes_nothing(field["type"], depth + 1) for field in made["fields"])
        return made["type"] == "null" or made.get("size") == 0


def _symbols(writer: dict[str, Any], reader: dict[str, Any] | None) -> list[int | None]:
    """Give the reader's index for each symbol of the writer; None: it has none, and no default."""
    if reader is None:
        return list(range(len(writer["symbols"])))
    places = {symbol: at for at, symbol in enumerate(reader["symbols"])}
    return [places.get(symbol, places.get(reader.get("default"))) for symbol in writer["symbols"]]
