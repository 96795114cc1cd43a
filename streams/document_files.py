"""Files of events, as people and tools write them: one JSON document after the other, or an array of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from schemas.codec import encode
from schemas.documents import EVENT_TYPES, NotAnEvent, Problem, parse_event
from schemas.events import Event
from schemas.topics import INPUTS, Topic
from streams.effects import RecordTooLargeError, check_size
from streams.errors import TallyError
from streams.printable import printable

FILE_BYTES_MAX = 64 << 20
"""Of one file: some 200,000 events; more is a producer's work."""
_BLANKS = re.compile(r"[ \t\r\n]*")
"""What JSON allows between values."""


class FileError(TallyError):
    """A file that holds no documents; the sentence says what it holds."""


class Document(NamedTuple):
    """One document of a file, counted from 1: the event that it is, or what is wrong with it."""

    number: int
    event: Event | None
    problems: tuple[Problem, ...] = ()


def read_documents(file: BinaryIO, topic: Topic | None = None) -> list[Document]:
    """Give the documents of a file in their order; with ``topic`` only its event types are events.

    Raises:
        FileError: the file is empty, too large, or no JSON at all.
    """
    data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise FileError(f"the file has more than {FILE_BYTES_MAX >> 20} MiB: cut it into parts")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"the file is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from error
    values = list(_values(text))
    if not values:
        raise FileError("the file has no document: write at least one event as a JSON object")
    return [_document(number, value, topic) for number, value in enumerate(values, 1)]


def _values(text: str) -> Iterator[Any]:
    """Give one JSON value after the other, those of an array one by one.

    Raises:
        FileError: what comes next is no JSON.
    """
    decoder, number, at = json.JSONDecoder(object_pairs_hook=_object), 0, _after_blanks(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise FileError(f"document {number + 1} is nested too deeply") from error
        except ValueError as error:
            raise FileError(f"document {number + 1} is no JSON: {printable(str(error))}") from error
        for each in value if isinstance(value, list) else [value]:
            number += 1
            yield each
        at = _after_blanks(text, at)


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; a field that stands twice would silently lose one of its values."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)} stands twice in one object")
    return made


def _document(number: int, value: Any, topic: Topic | None) -> Document:
    astray = _astray(value, topic)
    if astray is not None:
        return Document(number, None, (astray,))
    try:
        event = parse_event(value, topic.values if topic else EVENT_TYPES)
        check_size(input_of(event), len(event.order_id.encode()) + len(encode(event)))
    except NotAnEvent as error:
        return Document(number, None, error.problems)
    except RecordTooLargeError as error:
        return Document(number, None, (Problem("", f"is too large: {error}"),))
    return Document(number, event)


def input_of(event: Event) -> Topic:
    """Give the input that carries events of this type."""
    return next(topic for topic in INPUTS if type(event) in topic.values)


def _astray(value: Any, topic: Topic | None) -> Problem | None:
    """Tell an event of another topic, which is a likelier mistake than a name that does not exist."""
    name = value.get("type") if isinstance(value, dict) else None
    for other in INPUTS:
        if topic not in (None, other) and any(each.__name__ == name for each in other.values):
            return Problem("type", f"is {name}, which goes to {other.name}")
    return None


def problem_lines(documents: Iterable[Document], *, as_json: bool) -> Iterator[str]:
    """Give a line for each field that is wrong, or with ``as_json`` an object for each document that is no event."""
    for number, _, problems in documents:
        if as_json and problems:
            yield json.dumps({"document": number, "outcome": "invalid", "problems": [problem._asdict() for problem in problems]})
        elif problems:
            yield from (printable(f"document {number}: {f'{field} {sentence}'.lstrip()}") for field, sentence in problems)
