"""Mending: fields of a document are set, and the event is asked whether it would be accepted today. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from agents.ports import Limits
from agents.rehearsal import Outcome, rehearse
from schemas.documents import EVENT_TYPES, NotAnEvent, parse_event
from schemas.events import Event
from streams.errors import RefusedError


def mended(document: Any, changes: Iterable[str] = ()) -> Event:
    """Give the event that a document says once each ``name=value`` is set.

    Raises:
        RefusedError: it is no event of ours then; the sentence names every field that is wrong.
    """
    try:
        return parse_event(with_changes(document, changes), EVENT_TYPES)
    except NotAnEvent as error:
        raise RefusedError(f"{error}; nothing was sent") from error


def with_changes(document: Any, changes: Iterable[str]) -> Any:
    """Give a copy of the document with each ``name=value`` set; ``lines[0].quantity=2`` reaches into a list.

    Text stays text; all else is read as JSON if it is JSON. What an event may have, ``schemas/documents.py`` judges.

    Raises:
        RefusedError: the path leads nowhere.
    """
    changed = json.loads(json.dumps(document))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise RefusedError(f"{change} sets nothing: write it as name=value, such as amount_minor=500")
        *way, name = path.replace("[", ".").replace("]", "").split(".")
        place: Any = changed
        for step in way:
            place = _inside(place, step, path)
        if isinstance(place, list):
            place[_index(place, name, path)] = _value(text, None)
        elif isinstance(place, dict):
            place[name] = _value(text, place.get(name), time=name == "occurred_at")
        else:
            raise RefusedError(f"there is no field {path}")
    return changed


def _inside(place: Any, step: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, step, path)]
    if isinstance(place, dict) and step in place:
        return place[step]
    raise RefusedError(f"there is no field {path}: nothing is called {step}")


def _index(place: list[Any], step: str, path: str) -> int:
    if step.isdecimal() and int(step) < len(place):
        return int(step)
    raise RefusedError(f"there is no field {path}: the list has the entries 0 to {len(place) - 1}")


def _value(text: str, there: Any, *, time: bool = False) -> Any:
    """Read a value; a time may be text or milliseconds, whatever it is now."""
    if isinstance(there, str) and not time:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def broken_rule(event: Event, now_ms: int, future_max_ms: int) -> Outcome | None:
    """Give the rule that the event breaks by itself, whatever its order's state is; None if it breaks none."""
    [outcome] = rehearse([event], now_ms, future_max_ms, Limits())
    return outcome if outcome.fate == "rejected" else None
