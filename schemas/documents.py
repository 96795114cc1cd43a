"""Events as JSON documents, for people, files and tools: the same fields as in Avro, checked one by one.

::

    {"type": "PaymentCaptured", "event_id": "e-1", "occurred_at": "2026-11-23T17:04:05.678Z", ...}

The pydantic models are made from the Avro schemas, so the two cannot differ; a property test holds
them equal all the same. A document has exactly the fields of its record, by their Avro names.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from schemas import events
from schemas.catalogue import NEWEST

EVENT_TYPES: tuple[type[events.Event], ...] = (
    events.OrderPlaced,
    events.OrderCancelled,
    events.PaymentCaptured,
    events.PaymentFailed,
    events.PaymentRefunded,
)
SHOWN_CHARACTERS_MAX = 40
"""Of a wrong value in a sentence: enough to find it again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):\d\d:\d\d(\.(?P<fraction>\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_A_TIME = "a time such as 2026-11-23T17:04:05.678Z (RFC 3339 with offset), or whole milliseconds since 1970"


class Problem(NamedTuple):
    """What is wrong with one field: its path (``lines[0].quantity``; empty for the whole document), and what to say of it."""

    field: str
    sentence: str


class NotAnEvent(ValueError):  # noqa: N818 - says what the document is
    """A document that is no event of the types asked for; ``problems`` has one entry per field."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{field or 'the document'} {sentence}" for field, sentence in self.problems))


def parse_event(document: object, types: Collection[type]) -> events.Event:
    """Give the event that ``document`` (as :func:`json.loads` gives it) says.

    Its ``type`` names one of ``types``; it may be left out when there is only one. A time is a
    whole number of milliseconds since 1970, or RFC 3339 text with an offset, down to the millisecond.

    Raises:
        NotAnEvent: with every field that is missing, unknown, of the wrong kind, or outside of what Avro can hold.
    """
    if not isinstance(document, dict):
        raise NotAnEvent([Problem("", f"must be an object with an event's fields, and is {_shown(document)}")])
    names = {each.__name__: each for each in types}
    fields = dict(document)
    name = fields.pop("type", next(iter(names)) if len(names) == 1 else None)
    if not isinstance(name, str) or name not in names:
        wanted = " or ".join(names)
        raise NotAnEvent([Problem("type", f"must be {wanted}, and is {_shown(name) if 'type' in document else 'missing'}")])
    try:
        model = MODELS[names[name]].model_validate(fields)
    except ValidationError as error:
        raise NotAnEvent(Problem(_path(each["loc"]), _sentence(each, names[name])) for each in error.errors()) from error
    return cast("events.Event", msgspec.convert(model.model_dump(), names[name]))


def document_of(event: events.Event) -> dict[str, Any]:
    """Give the document that :func:`parse_event` turns into ``event``: JSON-ready, ``type`` first, times as RFC 3339 in UTC.

    A time that no calendar of four-digit years holds stays the integer that it is.
    """
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    return document | {"occurred_at": _time_text(event.occurred_at_ms)}


# Models, made from the schemas.


def model_of(record: dict[str, Any]) -> type[BaseModel]:
    """Give the pydantic model of an Avro record (as its file says it, logical types included).

    Raises:
        TypeError: the schema uses an Avro type that no document has a form for yet.
    """
    fields: dict[str, Any] = {}
    for field in record["fields"]:
        default = field.get("default", ...)
        fields[field["name"]] = (_type_of(field["type"]), Field(default, description=field.get("doc")))
    made: type[BaseModel] = create_model(record["name"], __config__=ConfigDict(strict=True, extra="forbid"), **fields)
    return made


def _type_of(node: Any) -> Any:
    match node:
        case str() if node in _PRIMITIVES:
            return _PRIMITIVES[node]
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return Annotated[_type_of("long"), BeforeValidator(_milliseconds)]
        case {"type": "array", "items": items}:
            return list[_type_of(items)]  # type: ignore[misc]  # made at run time
        case {"type": "record"}:
            return model_of(node)
        case ["null", other] | [other, "null"]:
            return _type_of(other) | None
    raise TypeError(f"a document has no form yet for the Avro type {node}: teach schemas/documents.py")


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be text that UTF-8 can write, and has half of a surrogate pair") from error
    return text


def _milliseconds(value: object) -> object:
    """Give a time's milliseconds since 1970; what is no text is left for the model to judge."""
    if not isinstance(value, str):
        return value
    match = _RFC_3339.fullmatch(value)
    if match is None:
        raise ValueError(f"must be {_A_TIME}, and is {_shown(value)}")
    if (match["fraction"] or "")[3:].strip("0"):
        raise ValueError(f"must not be finer than a millisecond, and is {_shown(value)}")
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"must be a time that exists, and is {_shown(value)}") from error
    return (moment - _EPOCH) // _MILLISECOND


def _time_text(time_ms: int) -> str | int:
    try:
        moment = _EPOCH + time_ms * _MILLISECOND
    except OverflowError:
        return time_ms
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_PRIMITIVES: dict[str, Any] = {
    "string": Annotated[str, AfterValidator(_utf8)],
    "boolean": bool,
    "int": Annotated[int, Field(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, Field(ge=-(2**63), le=2**63 - 1)],
}
_RECORDS = {each: json.loads(NEWEST[each].text) for each in EVENT_TYPES}
MODELS: dict[type, type[BaseModel]] = {each: model_of(record) for each, record in _RECORDS.items()}
"""The model of each event type, made from its newest schema."""


# Sentences.


def _sentence(error: ErrorDetails, event_type: type) -> str:
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return f"is missing: {_meanings(event_type)[_plain_path(error['loc'])]}"
    if kind == "extra_forbidden":
        return _unknown(error["loc"], event_type)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "string_unicode":
        return f"has a field whose name UTF-8 cannot write: {_shown(value)}"
    bounds = error.get("ctx", {})
    wanted = {
        "string_type": "text",
        "int_type": "a whole number",
        "bool_type": "true or false",
        "greater_than_equal": f"at least {bounds.get('ge')}",
        "less_than_equal": f"at most {bounds.get('le')}",
        "list_type": "a list",
        "model_type": "an object",
        "invalid_key": "named by text",
    }
    return f"must be {wanted.get(kind, error['msg'])}, and is {_shown(value)}"


def _unknown(loc: tuple[int | str, ...], event_type: type) -> str:
    parent, _, name = _plain_path(loc).rpartition(".")
    there = [path.rpartition(".")[2] for path in _meanings(event_type) if path.rpartition(".")[0] == parent]
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}"
    return f"is no field of {event_type.__name__}; {hint}"


def _meanings(event_type: type) -> dict[str, str]:
    """Give what each field means, by its path without places in lists."""
    return dict(_walk(_RECORDS[event_type], ""))


def _walk(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for each in node:
            yield from _walk(each, path)
    elif isinstance(node, dict) and node["type"] == "array":
        yield from _walk(node["items"], path)
    elif isinstance(node, dict) and node["type"] == "record":
        for field in node["fields"]:
            inner = f"{path}.{field['name']}".lstrip(".")
            yield inner, field.get("doc", "")
            yield from _walk(field["type"], inner)


def _plain_path(loc: tuple[int | str, ...]) -> str:
    return ".".join(part for part in loc if isinstance(part, str))


def _path(loc: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part if part.isprintable() else _shown(part)}" for part in loc)
    return "".join(parts).lstrip(".")


def _shown(value: object) -> str:
    """Give a wrong value as JSON has it, on one line and never long."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004 - what Avro's largest integer has
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS_MAX:
        return f"{json.dumps(value[:SHOWN_CHARACTERS_MAX])}..."
    return json.dumps(value, default=repr)
