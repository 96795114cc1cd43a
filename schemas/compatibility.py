"""Schemas over time: what was released never changes, and every version of a record reads every other.

Records of years ago are still in topics and backups, and readers are upgraded after writers or before
them. So a new version must read what all older ones wrote, and they must read what it writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

RELEASED_FILE = "released.json"
"""Beside the schemas: the fingerprint of each version that was released."""

_FILE_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)\.v(?P<version>[1-9]\d*)\.avsc")
_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""What is written as the one may be read as any of the others (Avro 1.12, schema resolution)."""


@dataclass(frozen=True)
class SchemaFile:
    """One version of one record: ``declared`` is its file's JSON, ``schema`` the same with all names made full."""

    name: str
    version: int
    declared: Any
    schema: Any

    @property
    def title(self) -> str:
        """Such as ``OrderPlaced.v1``."""
        return f"{self.name}.v{self.version}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything but the docs; Avro's own canonical form would leave defaults and logical types out."""
        canonical = json.dumps(_without_docs(self.declared), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def check_folder(folder: Path, against: Path | None = None) -> list[str]:
    """Give one sentence for each thing that is wrong with the schemas in ``folder``; an empty list says that all is well.

    What was released stands in the folder's :data:`RELEASED_FILE`, or else is what ``against`` holds:
    the schema files of another release, such as the one in production.

    Raises:
        ValueError: ``against`` or the list of released schemas cannot be read; a sentence.
    """
    files, problems = read_folder(folder)
    if against is None:
        released = _released(folder / RELEASED_FILE)
        problems += _unrecorded(files, released)
    else:
        theirs, unreadable = read_folder(against)
        if unreadable or not theirs:
            raise ValueError("; ".join(unreadable) or f"{against} has no schema files (Record.vN.avsc)")
        released = {file.title: file.fingerprint for file in theirs}
    return problems + _changed(files, released, folder) + _incompatible(files)


def read_folder(folder: Path) -> tuple[list[SchemaFile], list[str]]:
    """Give the schema files of a folder by name and version, and a sentence for each that is none."""
    files, problems = [], []
    for path in sorted(folder.glob("*.avsc")):
        try:
            files.append(_read(path))
        except ValueError as error:
            problems.append(str(error))
    return sorted(files, key=lambda file: (file.name, file.version)), problems


def _read(path: Path) -> SchemaFile:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name}: call it after its record and version, such as OrderPlaced.v2.avsc")
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))
        schema = fastavro.parse_schema(declared, _write_hint=False)
    except UnknownType as error:
        raise ValueError(f"{path.name} is no Avro schema: nothing is called {error}") from error
    except (ValueError, SchemaParseException, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is no Avro schema: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record" or _last(schema["name"]) != match["name"]:
        raise ValueError(f"{path.name} must hold the record {match['name']}")
    return SchemaFile(match["name"], int(match["version"]), declared, schema)


def _released(path: Path) -> dict[str, str]:
    try:
        released: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the list of released schemas cannot be read: {error}") from error
    return released


def _unrecorded(files: Sequence[SchemaFile], released: Mapping[str, str]) -> list[str]:
    return [
        f'{file.title} is not recorded: when it is ready for ever, add "{file.title}": "{file.fingerprint}" to {RELEASED_FILE}'
        for file in files
        if file.title not in released
    ]


def _changed(files: Sequence[SchemaFile], released: Mapping[str, str], folder: Path) -> list[str]:
    now = {file.title: file.fingerprint for file in files}
    problems = []
    for title, fingerprint in released.items():
        if title not in now and not (folder / f"{title}.avsc").exists():
            problems.append(f"{title} was released and is gone: put it back, records of years ago name it")
        elif now.get(title, fingerprint) != fingerprint:
            problems.append(f"{title} was released and has changed: put it back, and make the change in a new version")
    return problems


def _incompatible(files: Sequence[SchemaFile]) -> list[str]:
    problems = []
    for older, newer in combinations(files, 2):
        if older.name == newer.name:
            problems += [
                f"{newer.title} cannot read what {older.title} wrote: {why}" for why in unread(newer.schema, older.schema)
            ]
            problems += [
                f"{older.title} cannot read what {newer.title} writes: {why}" for why in unread(older.schema, newer.schema)
            ]
    return problems


# Schema resolution.


def unread(reader: Any, writer: Any) -> list[str]:
    """Give what keeps ``reader`` from reading everything that ``writer`` may write, by the rules of Avro and one of our own.

    Our own: a logical type is part of the meaning, so it may not come, go or change. Both schemas
    are as :func:`fastavro.parse_schema` gives them, with full names.
    """
    return list(_Resolution(reader, writer).differences(reader, writer, ""))


class _Resolution:
    def __init__(self, reader: Any, writer: Any) -> None:
        self._readers, self._writers = dict(_named_types(reader)), dict(_named_types(writer))
        self._within: list[tuple[Any, Any]] = []

    def differences(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = _looked_up(reader, self._readers), _looked_up(writer, self._writers)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.differences(reader, branch, path)
        elif isinstance(reader, list):
            if all(list(self.differences(branch, writer, path)) for branch in reader):
                yield f"{path} may be written as {_kind(writer)}, and is read as {' or '.join(map(_kind, reader))}"
        elif _kind(writer) != _kind(reader) and _kind(reader) not in _PROMOTIONS.get(_kind(writer), ()):
            yield f"{path} is written as {_kind(writer)}, and is read as {_kind(reader)}"
        elif _logical(writer) != _logical(reader):
            yield f"{path} is written with {_logical(writer)}, and is read with {_logical(reader)}"
        elif isinstance(reader, dict) and isinstance(writer, dict):
            yield from self._inside(reader, writer, path)

    def _inside(self, reader: dict[str, Any], writer: dict[str, Any], path: str) -> Iterator[str]:
        called, known = writer.get("name", ""), reader.get("name", "")
        if _last(called) != _last(known) and called not in _aliases(reader):
            yield f"{path or 'the record'} is called {_last(called)} by the writer, and {_last(known)} by the reader"
        match reader["type"]:
            case "record":
                yield from self._fields(reader, writer, path)
            case "array":
                yield from self.differences(reader["items"], writer["items"], f"{path}[]")
            case "map":
                yield from self.differences(reader["values"], writer["values"], f"{path}{{}}")
            case "enum" if "default" not in reader:
                for symbol in sorted({*writer["symbols"]} - {*reader["symbols"]}):
                    yield f"{path} may be written as {symbol}, which the reader's enum does not have"
            case "fixed" if reader["size"] != writer["size"]:
                yield f"{path} has {writer['size']} bytes when written, and {reader['size']} when read"

    def _fields(self, reader: dict[str, Any], writer: dict[str, Any], path: str) -> Iterator[str]:
        if (reader, writer) in self._within:  # a record inside itself: asked already
            return
        self._within.append((reader, writer))
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            found = next((written[name] for name in names if name in written), None)
            inner = f"{path}.{field['name']}".lstrip(".")
            if found is not None:
                yield from self.differences(field["type"], found["type"], inner)
            elif "default" not in field:
                yield f"{inner} is not written, and has no default where it is read"
        self._within.pop()


def _named_types(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for each in node:
            yield from _named_types(each)
    elif isinstance(node, dict):
        if "name" in node and node["type"] in {"record", "enum", "fixed"}:
            yield node["name"], node
        for inner in (*(field["type"] for field in node.get("fields", ())), node.get("items"), node.get("values")):
            yield from _named_types(inner)


def _looked_up(node: Any, named: Mapping[str, Any]) -> Any:
    return named.get(node, node) if isinstance(node, str) else node


def _kind(node: Any) -> str:
    return str(node["type"]) if isinstance(node, dict) else "union" if isinstance(node, list) else str(node)


def _logical(node: Any) -> str:
    """Say what a value means beyond its bytes, such as ``timestamp-millis`` or ``decimal 9 2``."""
    stated = [str(node[each]) for each in ("logicalType", "precision", "scale") if each in node] if isinstance(node, dict) else []
    return " ".join(stated) or "no logical type"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _aliases(named: dict[str, Any]) -> set[str]:
    namespace = named["name"].rpartition(".")[0]
    return {alias if "." in alias or not namespace else f"{namespace}.{alias}" for alias in named.get("aliases", ())}


def _without_docs(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_docs(value) for key, value in node.items() if key != "doc"}
    return [_without_docs(each) for each in node] if isinstance(node, list) else node
