"""Files of documents: how they may be written, what is said of those that cannot be read, and that nothing in them is lost."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import document_of
from schemas.events import Event
from schemas.topics import ORDERS, PAYMENTS
from streams.document_files import FILE_BYTES_MAX, FileError, problem_lines, read_documents
from streams.printable import printable
from tests.property.histories import WILD_EVENTS
from tests.unit.orders import captured, placed

ORDER, PAYMENT = document_of(placed()), document_of(captured())


def read(text: str | bytes, *topic: Any) -> list[Event | None]:
    data = text.encode() if isinstance(text, str) else text
    return [document.event for document in read_documents(BytesIO(data), *topic)]


def problems(text: str, *topic: Any) -> list[str]:
    return list(problem_lines(read_documents(BytesIO(text.encode()), *topic), as_json=False))


@given(st.lists(WILD_EVENTS, min_size=1, max_size=4), st.sampled_from([None, 2]), st.booleans())
def test_events_are_read_from_an_array_from_lines_and_from_documents_over_many_lines(
    events: list[Event], indent: int | None, in_array: bool
) -> None:
    documents = [document_of(event) for event in events]
    parts = [json.dumps(each, indent=indent, ensure_ascii=False) for each in documents]
    text = json.dumps(documents, indent=indent) if in_array else "\n".join(parts)
    assert read(text) == events
    assert read(f"\ufeff \r\n{text}\n\n") == events


def test_documents_are_numbered_through_and_each_is_told_alone() -> None:
    text = "\n".join(json.dumps(each) for each in (ORDER, ORDER | {"source": 5}, [PAYMENT, {"type": "Payment"}], "text"))
    assert [event is not None for event in read(text)] == [True, False, True, False, False]
    assert problems(text) == [
        "document 2: source must be text, and is 5",
        (
            "document 4: type must be OrderPlaced or OrderCancelled or PaymentCaptured or PaymentFailed or PaymentRefunded, "
            'and is "Payment"'
        ),
        'document 5: must be an object with an event\'s fields, and is "text"',
    ]


def test_problems_as_json_are_one_object_for_each_document() -> None:
    documents = read_documents(BytesIO(json.dumps([ORDER, ORDER | {"source": 5, "currency": None}]).encode()))
    (line,) = problem_lines(documents, as_json=True)
    assert json.loads(line) == {
        "document": 2,
        "outcome": "invalid",
        "problems": [
            {"field": "source", "sentence": "must be text, and is 5"},
            {"field": "currency", "sentence": "must be text, and is null"},
        ],
    }


def test_an_event_of_the_other_topic_is_told_where_it_goes() -> None:
    assert problems(json.dumps(PAYMENT), ORDERS) == ["document 1: type is PaymentCaptured, which goes to payments"]
    assert problems(json.dumps(ORDER), PAYMENTS) == ["document 1: type is OrderPlaced, which goes to orders"]
    assert read(json.dumps([PAYMENT]), PAYMENTS) == [captured()]


def test_an_event_that_its_topic_would_not_take_is_told_before_anything_is_sent() -> None:
    (problem,) = problems(json.dumps(PAYMENT | {"method": "x" * 1_048_588}))
    assert problem.startswith("document 1: is too large: a record of 1048")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the file has no document: write at least one event as a JSON object"),
        (b" \n ", "the file has no document: write at least one event as a JSON object"),
        (b"[]", "the file has no document: write at least one event as a JSON object"),
        (b"{", "document 1 is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"{}\n{},\n{}", "document 3 is no JSON: Expecting value: line 2 column 3 (char 5)"),
        (b'{"a": 1, "b": {"c": 2, "c": 3}}', "document 1 is no JSON: the field c stands twice in one object"),
        (b"[" * 100_000, "document 1 is nested too deeply"),
        (b'{"a": "\xff"}', "the file is not UTF-8: byte 7 is 0xff"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "document 1 is no JSON: Exceeds the limit (4300 digits)"),
    ],
)
def test_a_file_without_documents_is_told_in_a_sentence(text: bytes, sentence: str) -> None:
    with pytest.raises(FileError) as refused:
        read(text)
    assert str(refused.value).startswith(sentence)
    assert refused.value.exit_code == 1


def test_a_file_that_is_too_large_is_not_read_to_its_end() -> None:
    class Endless(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= FILE_BYTES_MAX + 1
            return b" " * size

    with pytest.raises(FileError, match="more than 64 MiB"):
        read_documents(Endless())


@given(st.text())
def test_no_text_from_outside_steers_the_terminal(text: str) -> None:
    assert printable(text).isprintable()
