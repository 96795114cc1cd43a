"""Frozen structs in columns, as msgspec writes them in MessagePack: rows of tables, and the bytes that a content is told by.

Only the extension does it; without it rows are read one by one, by msgspec. What is written here is what
msgspec writes, byte for byte. A struct with ``array_like`` is a row of its fields, any other one a map with their names.

===================================  ================================================
type of a field                      column
===================================  ================================================
int, bool, str, bytes                Int64, Boolean, String, Binary
``T | None``                         T with nulls
``tuple[T, ...]``                    List
``tuple[A, B]``, struct              Struct; a tuple's fields are named "0", "1"
a choice of several structs          Binary: each as its own MessagePack
===================================  ================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
from msgspec import inspect

from schemas.extension import extension

_SCALARS: dict[type, tuple[str, Any]] = {
    inspect.IntType: ("long", pl.Int64),
    inspect.BoolType: ("boolean", pl.Boolean),
    inspect.StrType: ("string", pl.String),
    inspect.BytesType: ("bytes", pl.Binary),
}


class PackedColumns:
    """Structs of one type. It holds no state; threads may share one."""

    def __init__(self, struct: type[msgspec.Struct], fields: Sequence[str] = (), *, tagged: bool = True) -> None:
        """Make it once for each type.

        Args:
            struct: whose fields the columns are.
            fields: only these, as a tuple of them would be written; all of the struct, if empty.
            tagged: whether a struct that has a tag is written with it.

        Raises:
            RuntimeError: the extension is not built.
        """
        info: Any = inspect.type_info(struct)
        if fields:
            kept = [field for name in fields for field in info.fields if field.name == name]
            plan, shape = _row([field.name for field in kept], [field.type for field in kept])
        else:
            plan, shape = _struct(info, tagged=tagged)
        self.schema = pl.Schema({field.name: field.dtype for field in shape.fields})
        """Names and types of the columns."""
        self._packer = extension().Packer(plan)

    def decode(self, rows: Sequence[bytes], begin: int = 0) -> tuple[pl.DataFrame, list[int]]:
        """Give the columns of all rows that are of this very layout, in their order, and the indexes of all others.

        Args:
            rows: each holds one struct.
            begin: where it begins in each of them.
        """
        frame, others = self._packer.decode(rows, begin)
        return pl.Series(pl.from_arrow(frame)).struct.unnest(), others

    def checksums(self, frame: pl.DataFrame) -> pl.Series:
        """Give the CRC32 of what :meth:`encode` would give for each row.

        Raises:
            ValueError: as :meth:`encode`.
        """
        return pl.Series(self._packer.checksums(self._stream(frame)), dtype=pl.Int64)

    def encode(self, frame: pl.DataFrame, prefix: bytes = b"") -> list[bytes]:
        """Give ``prefix`` and the struct for each row of a frame that has the columns of :attr:`schema`.

        Raises:
            ValueError: a null stands where there must be none.
        """
        packed: list[bytes] = self._packer.encode(self._stream(frame), prefix)
        return packed

    def _stream(self, frame: pl.DataFrame) -> Any:
        frame = frame.select(self.schema.names())
        return (frame if frame.schema == self.schema else frame.cast(self.schema)).__arrow_c_stream__()


def _plan(node: Any) -> tuple[Any, Any]:
    """Give the extension's plan for a type, and the type of its column."""
    if type(node) in _SCALARS:
        name, dtype = _SCALARS[type(node)]
        return (name,), dtype
    match node:
        case inspect.UnionType():
            others = [each for each in node.types if not isinstance(each, inspect.NoneType)]
            plan, dtype = (("raw",), pl.Binary) if len(others) > 1 else _plan(others[0])
            return (("nullable", plan) if node.includes_none else plan), dtype
        case inspect.VarTupleType():
            plan, dtype = _plan(node.item_type)
            return ("array", plan), pl.List(dtype)
        case inspect.TupleType():
            return _row([str(place) for place in range(len(node.item_types))], node.item_types)
        case inspect.StructType():
            return _struct(node)
    raise TypeError(f"a field of {node} has no column")


def _struct(info: Any, *, tagged: bool = True) -> tuple[Any, pl.Struct]:
    if info.array_like:
        return _row([field.name for field in info.fields], [field.type for field in info.fields])
    plans = [_plan(field.type) for field in info.fields]
    shape = pl.Struct({field.name: dtype for field, (_, dtype) in zip(info.fields, plans, strict=True)})
    names = [field.encode_name for field in info.fields]
    return ("map", info.tag if tagged else None, names, [plan for plan, _ in plans]), shape


def _row(names: list[str], types: Sequence[Any]) -> tuple[Any, pl.Struct]:
    plans = [_plan(each) for each in types]
    shape = pl.Struct({name: dtype for name, (_, dtype) in zip(names, plans, strict=True)})
    return ("row", names, [plan for plan, _ in plans]), shape
