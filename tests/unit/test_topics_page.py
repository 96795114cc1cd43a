"""docs/topics.md is made from the catalogue, says the same of every topic, and shows rows that the agents wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.catalogue import CATALOGUE, NEWEST
from schemas.topics import CONTROL_TOTALS, ORDER_STATUS, REVENUE_ADJUSTMENTS, TOPICS, Kind, Topic
from streams.five_tools import reader
from streams.sample_rows import sample_rows
from streams.topics_page import fields_of, kept, markdown, owner_of, printed, role_of, samples_of, unit_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "topics.md"
OUTPUTS = [topic for topic in TOPICS if topic.kind is Kind.OUTPUT]
FOR_READERS = [topic for topic in TOPICS if topic.kind in {Kind.OUTPUT, Kind.INPUT}]
NO_AMOUNTS = {"revision", "epoch"}
"""Numbers without a unit: they tell rows apart."""


def by_name(topic: Topic) -> str:
    return topic.name


def chapter(topic: Topic) -> str:
    found = re.search(
        rf"^### {re.escape(topic.name)}\n(.*?)(?=^##)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/topics.md has no chapter on {topic.name}"
    return found[1]


def test_the_document_is_made_from_the_catalogue() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), "run `make docs`"


@pytest.mark.parametrize("topic", FOR_READERS, ids=by_name)
def test_a_chapter_says_all_that_a_reader_must_know(topic: Topic) -> None:
    said = chapter(topic)
    assert topic.rows
    for words in (
        topic.meaning[1:],
        topic.rows,
        owner_of(topic),
        f"`{topic.key}`",
        f"**Partitions**: {topic.partitions}",
        kept(topic),
    ):
        assert words in said
    assert said.count("isolation.level=read_committed") == 1
    for record_type in topic.values:
        schema = NEWEST[record_type]
        assert f"`{schema.full_name}`" in said
        assert f"{schema.schema_id} (v{schema.version})" in said
        assert all(f"| `{field.name}` | {field.avro} |" in said for field in fields_of(schema))


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_every_topic_has_an_owner_and_is_on_the_page(topic: Topic) -> None:
    assert owner_of(topic)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert (f"\n### {topic.name}\n" in text) != (f"\n| `{topic.name}` | {topic.kind} |" in text)


@pytest.mark.parametrize("topic", FOR_READERS, ids=by_name)
def test_every_field_has_a_meaning_and_every_amount_a_unit(topic: Topic) -> None:
    for record_type in topic.values:
        fields = fields_of(NEWEST[record_type])
        assert all(field.doc for field in fields)
        numbers = {field.name for field in fields if field.avro in {"int", "long", "double", "map of long"}} - NO_AMOUNTS
        assert {field.name for field in fields if field.name in numbers and not unit_of(topic, field)} == set()
        measures = {field.name for field in fields if role_of(topic, field) == "measure"}
        assert measures == numbers


@pytest.mark.parametrize("topic", OUTPUTS, ids=by_name)
def test_the_dimensions_of_an_output_are_fields_of_its_rows(topic: Topic) -> None:
    assert topic.dimensions
    assert set(topic.dimensions) <= {field.name for field in fields_of(NEWEST[topic.values[0]])}


@pytest.mark.parametrize("topic", FOR_READERS, ids=by_name)
def test_the_sample_rows_are_among_what_the_agents_wrote(topic: Topic) -> None:
    shown = re.search(r"^```\n(.*?)^```$", chapter(topic), re.MULTILINE | re.DOTALL)
    assert shown
    lines = shown[1].splitlines()
    assert lines
    written = {printed(row.key, row.value) for row in sample_rows()[topic]}
    assert set(lines) <= written
    if topic.is_table:
        assert '"status": "final"' in lines[-1]
        assert '"status": "provisional"' in lines[0]
        assert len({line.partition("\t")[0] for line in lines}) == 1, "it shows how one window goes on"


def test_what_the_page_says_of_rows_holds_for_all_sample_rows() -> None:
    rows = sample_rows()
    for topic in (topic for topic in TOPICS if topic.is_table):
        final, last = [row.key for row in rows[topic] if row.value.status == "final"], {row.key: row.value for row in rows[topic]}
        assert sorted(final) == sorted(last), f"{topic.name}: exactly one final row per key"
        assert all(row.status == "final" for row in last.values()), f"{topic.name}: nothing follows it"
        revisions: dict[bytes, int] = {}
        for row in rows[topic]:
            assert row.value.revision > revisions.get(row.key, 0), f"{topic.name}: the revision grows"
            revisions[row.key] = row.value.revision
    statuses: dict[bytes, tuple[int, object]] = {}
    for row in rows[ORDER_STATUS]:
        revision, before = statuses.get(row.key, (0, None))
        assert row.value.revision > revision or row.value == before
        statuses[row.key] = (row.value.revision, row.value)
    assert {row.value.reason for row in rows[REVENUE_ADJUSTMENTS]} == {"late"}
    totals = {row.key.decode() for row in rows[CONTROL_TOTALS]}
    assert totals == {f"{stage}/{partition}" for stage in ("settlement", "revenue") for partition in range(12)}


def test_of_what_is_revised_the_first_rows_and_the_last_are_shown() -> None:
    topic = next(topic for topic in TOPICS if topic.name == "revenue-by-merchant-1d")
    shown = [row.value.revision for row in samples_of(topic, sample_rows()[topic])]
    assert shown[:2] == [1, 2]
    assert shown[2] > 2


def test_the_five_tools_each_have_their_isolation_level() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    [table] = re.findall(r"^\| tool \| isolation\.level.*?\n\n", text, re.MULTILINE | re.DOTALL)
    rows = table.strip().splitlines()[2:]
    assert len(rows) == 5
    chapters = re.findall(r"^### (\d)\. (.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    assert [number for number, _ in chapters] == ["1", "2", "3", "4", "5"]
    assert all("read_committed" in row for row in rows)
    assert all("read_committed" in said for number, said in chapters if number != "1"), "of the first each topic's line has it"


def test_the_python_program_knows_every_id_that_an_output_was_ever_written_with() -> None:
    outputs = {record_type for topic in OUTPUTS for record_type in topic.values}
    files = dict(re.findall(r'(\d+): "(\w+\.v\d+)"', reader()))
    assert files == {str(each.schema_id): f"{each.name}.v{each.version}" for each in CATALOGUE if each.record_type in outputs}
