"""A document and an Avro record hold the same values: what the one takes the other takes, and nothing is lost between them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from fastavro.validation import validate
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import NEWEST
from schemas.codec import decode, encode
from schemas.documents import EVENT_TYPES, MODELS, NotAnEvent, document_of, parse_event
from schemas.events import Event
from tests.property.histories import WILD_EVENTS
from tests.unit.orders import cancelled, captured, failed, placed, refunded

BOUNDS = [sign * 2**bits + more for sign in (1, -1) for bits in (31, 63) for more in (-1, 0, 1)]
EDGES: list[Any] = [*BOUNDS, 0, True, 1.0, float("nan"), "", "ü", "\ud800", "7", None, [], ["a"], {}, {"a": 1}]
WHOLE = [placed(), cancelled(), captured(), failed(), refunded()]
ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Halves of surrogate pairs too: JSON can write them, UTF-8 cannot."""
ANY_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(BOUNDS) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def fields_of(event: Event) -> dict[str, Any]:
    """Give an event's document with its time as the integer that Avro has."""
    return document_of(event) | {"occurred_at": event.occurred_at_ms}


@st.composite
def damaged_documents(draw: st.DrawFn) -> dict[str, Any]:
    document = fields_of(draw(WILD_EVENTS))
    for _ in range(draw(st.integers(0, 2))):
        lines = document.get("lines")
        inside = isinstance(lines, list) and lines and isinstance(lines[0], dict) and draw(st.booleans())
        place = lines[0] if inside and isinstance(lines, list) else document
        name = draw(st.sampled_from(sorted(place.keys() - {"type"}) or ["sku"]))
        match draw(st.sampled_from(["replaced", "missing", "more"])):
            case "replaced":
                place[name] = draw(ANY_VALUES)
            case "missing":
                place.pop(name, None)
            case "more":
                place[draw(ANY_TEXT)] = draw(ANY_VALUES)
    return document


def event_or_problems(document: object) -> Event | NotAnEvent:
    try:
        return parse_event(document, EVENT_TYPES)
    except NotAnEvent as error:
        return error


def fits_avro(name: str, fields: dict[str, Any]) -> bool:
    (schema,) = (NEWEST[each].physical for each in EVENT_TYPES if each.__name__ == name)
    if not validate(fields, schema, raise_errors=False, strict=True):
        return False
    try:
        fastavro.schemaless_writer(BytesIO(), schema, fields, strict=True)
    except (ValueError, TypeError):
        return False
    return True


@settings(max_examples=300)
@given(WILD_EVENTS)
def test_an_event_goes_through_a_document_through_json_and_through_avro_unchanged(event: Event) -> None:
    document = json.loads(json.dumps(document_of(event)))
    again = parse_event(document, EVENT_TYPES)
    assert again == event
    assert decode(encode(again)) == event
    assert document_of(again) == document
    model = MODELS[type(event)].model_validate(_without_type(document))
    assert msgspec.convert(model.model_dump(), type(event)) == event


def _without_type(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "type"}


@settings(max_examples=1_000)
@given(damaged_documents())
def test_a_document_is_an_event_exactly_if_its_fields_fit_the_avro_schema(document: dict[str, Any]) -> None:
    if isinstance(document.get("occurred_at"), str):
        document["occurred_at"] = None  # a time as text is tried below
    hold(document)


@pytest.mark.parametrize("whole", WHOLE, ids=lambda event: type(event).__name__)
def test_each_field_takes_each_value_that_avro_takes_and_no_other(whole: Event) -> None:
    document = fields_of(whole)
    for place in (document, *document.get("lines", ())):
        for name, value in list(place.items()):
            for other in [] if name == "type" else EDGES:
                place[name] = other
                if name != "occurred_at" or not isinstance(other, str):  # a time as text is tried below
                    hold(document)
            place[name] = value


def hold(document: dict[str, Any]) -> None:
    """Hold that a document is an event exactly if Avro can write its fields."""
    fields = _without_type(document)
    found = event_or_problems(document)
    if isinstance(found, NotAnEvent):
        assert not fits_avro(str(document["type"]), fields), f"refused: {found}"
        assert found.problems
        assert str(found).isprintable()
        assert "Input should" not in str(found), "pydantic's own words are no sentence of ours"
    else:
        assert fits_avro(str(document["type"]), fields), f"{document} was taken"
        assert fields_of(found) == document
        assert decode(encode(found)) == found


@given(ANY_VALUES | st.dictionaries(ANY_TEXT, ANY_VALUES))
def test_any_json_gives_an_event_or_sentences(document: object) -> None:
    with pytest.raises(NotAnEvent) as refused:
        parse_event(document, EVENT_TYPES)
    assert str(refused.value).isprintable()


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the offset is drawn beside it
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_time_with_an_offset_is_the_moment_it_names(local: datetime, offset_minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)), microsecond=local.microsecond // 1000 * 1000)
    document = {"event_id": "e", "order_id": "o", "source": "s", "occurred_at": moment.isoformat()}
    event = parse_event(document, [EVENT_TYPES[1]])
    since_ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    assert event.occurred_at_ms == since_ms
