"""``docs/topics.md``: every topic for those who read it, from the catalogue and the topology. Made by ``make docs``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import fastavro

from agents.testing import Emitted
from schemas.catalogue import CATALOGUE, NEWEST, RegisteredSchema
from schemas.codec import encode
from schemas.events import Record
from schemas.topics import DAY_MS, DEAD_LETTERS_DONE, TOPICS, VERSIONS, Kind, Topic
from streams.five_tools import how_to_read
from streams.sample_rows import sample_rows
from streams.topology import TOPOLOGY

SAMPLES_MAX = 3
"""Of one topic: a first row, the one after it, and the last are enough to see how they go on."""
_UNITS = {"_minor": "minor units", "_count": "count", "_ms": "ms", "_rate": "share, 0 to 1", "quantity": "count"}
_NUMBERS = {"int", "long", "double"}

_INTRODUCTION = """\
# Topics, for those who read them

Every topic with its owner, key, fields, and when a row is final. This page is made from `schemas/topics.py`, the schemas and
`streams/topology.py` by `make docs`; the sample rows are what the agents themselves write of a small made-up day, shown as
the Python program below prints them (times as text; on the wire they are milliseconds). Words are explained in
[README.md](../README.md).

"""
_INTERNAL = """\
## Internal topics

For operators; their contents may change with any release. Dead letters have the value as it came, and headers that say why.
Read them with isolation.level=read_committed too: `tally tail settlement-changelog --key '!marker' --limit 1`.

| topic | kind | owner | key | kept | records (schema ids) | what |
|---|---|---|---|---|---|---|
"""


class FieldOf(NamedTuple):
    """One field of a record; of a record inside it, such as ``products.sku``."""

    name: str
    avro: str
    doc: str


def fields_of(schema: RegisteredSchema) -> list[FieldOf]:
    """Give a record's fields, those of records inside it behind their own."""
    return list(_walk(json.loads(schema.text), ""))


def _walk(record: dict[str, Any], path: str) -> Iterator[FieldOf]:
    for field in record["fields"]:
        name = f"{path}{field['name']}"
        text, inner = _type(field["type"])
        yield FieldOf(name, text, field.get("doc", ""))
        if inner is not None:
            yield from _walk(inner, f"{name}.")


def _type(node: Any) -> tuple[str, dict[str, Any] | None]:
    """Give an Avro type in words, and the record inside it, if there is one."""
    match node:
        case str():
            return node, None
        case ["null", other]:
            return f"{_type(other)[0]}, or null", None
        case {"logicalType": logical}:
            return str(logical), None
        case {"type": "array", "items": items}:
            text, inner = _type(items)
            return f"array of {text}", inner
        case {"type": "map", "values": values}:
            return f"map of {_type(values)[0]}", None
        case {"type": "record", "name": name}:
            return str(name), node
    raise TypeError(f"docs/topics.md has no words yet for the Avro type {node}: teach streams/topics_page.py")


def unit_of(topic: Topic, field: FieldOf) -> str:
    """Give the unit of a field; empty for what is no amount and no time."""
    if "timestamp-millis" in field.avro:
        return "time, UTC"
    by_ending = next((unit for ending, unit in _UNITS.items() if field.name.endswith(ending)), "")
    return dict(topic.units).get(field.name) or (by_ending if field.avro in _NUMBERS else "")


def role_of(topic: Topic, field: FieldOf) -> str:
    """Give what a field is to an analyst: dimension, measure, time, or empty for what tells about the row."""
    if field.name in topic.dimensions:
        return "dimension"
    unit = unit_of(topic, field)
    return "time" if unit == "time, UTC" else "measure" if unit else ""


def owner_of(topic: Topic) -> str:
    """Give who writes a topic."""
    if topic.kind is Kind.INPUT:
        return "your producers"
    if topic in {DEAD_LETTERS_DONE, VERSIONS}:
        return "operators, by their commands"
    writers = [
        stage.name
        for stage in TOPOLOGY
        if topic in stage.writes or topic == stage.changelog or topic.name in {read.dead_letters for read in stage.reads}
    ]
    return ", ".join(f"`{name}`" for name in writers)


def kept(topic: Topic) -> str:
    """Say what the broker keeps."""
    policy = topic.config["cleanup.policy"]
    if topic.retention_ms is None:
        return f"the last row per key, for ever (`{policy}`)"
    days = f"{topic.retention_ms // DAY_MS:,} days"
    return f"the last row per key, {days} (`{policy}`)" if topic.is_table else f"every record, {days} (`{policy}`)"


def ids_of(record_type: type) -> str:
    """Give a record's Avro name and the ids of its versions; the newest is the one that is written."""
    ids = [f"{each.schema_id} (v{each.version})" for each in CATALOGUE if each.record_type is record_type]
    return f"`{NEWEST[record_type].full_name}` {', '.join(ids)}"


def printed(key: bytes, value: Record) -> str:
    """Give a row as the page's Python program prints it."""
    schema = NEWEST[type(value)]
    row = fastavro.schemaless_reader(BytesIO(encode(value)[5:]), fastavro.parse_schema(json.loads(schema.text)), None)
    return f"{key.decode()}\t{json.dumps(row, default=lambda time: time.isoformat(), ensure_ascii=False)}"


def samples_of(topic: Topic, rows: Sequence[Emitted]) -> list[Emitted]:
    """Give rows that show how a topic goes on: one key's first ones and its last; of inputs one of each type."""
    if topic.kind is Kind.INPUT:
        return [next(row for row in rows if type(row.value) is value) for value in topic.values]
    per_key: dict[bytes, dict[int, Emitted]] = {}
    for place, row in enumerate(rows):
        per_key.setdefault(row.key, {})[getattr(row.value, "revision", place)] = row
    told = list(max(per_key.values(), key=lambda history: min(len(history), SAMPLES_MAX)).values())
    return told if len(told) <= SAMPLES_MAX else [*told[: SAMPLES_MAX - 1], told[-1]]


def _chapter(topic: Topic) -> Iterator[str]:
    yield f"### {topic.name}\n"
    yield f"{topic.meaning[0].upper()}{topic.meaning[1:]}. {topic.rows}\n"
    yield f"- **Owner**: {owner_of(topic)}. **Key**: `{topic.key}`. **Partitions**: {topic.partitions}. **Kept**: {kept(topic)}."
    yield f"- **Avro**, with its ids without a registry: {'; '.join(ids_of(each) for each in topic.values)}."
    yield f"- **Read it**: `tally tail {topic.name} --limit 5 --json` (isolation.level=read_committed).\n"
    for record_type in topic.values:
        if len(topic.values) > 1:
            yield f"`{record_type.__name__}`:\n"
        yield "| field | type | role | unit | meaning |"
        yield "|---|---|---|---|---|"
        for field in fields_of(NEWEST[record_type]):
            cells = (f"`{field.name}`", field.avro, role_of(topic, field), unit_of(topic, field), field.doc)
            yield f"| {' | '.join(cells)} |"
        yield ""
    yield "```"
    yield from (printed(row.key, row.value) for row in samples_of(topic, sample_rows()[topic]))
    yield "```\n"


def _row(topic: Topic) -> str:
    ids = "; ".join(ids_of(each) for each in topic.values)
    return f"| `{topic.name}` | {topic.kind} | {owner_of(topic)} | {topic.key} | {kept(topic)} | {ids} | {topic.meaning} |"


def markdown() -> str:
    """Give docs/topics.md."""
    parts = [_INTRODUCTION + how_to_read()]
    for kind, title in ((Kind.OUTPUT, "Outputs"), (Kind.INPUT, "Inputs")):
        parts.append(f"## {title}\n")
        for topic in TOPICS:
            if topic.kind is kind:
                parts += _chapter(topic)
    internal = "\n".join(_row(topic) for topic in TOPICS if topic.kind not in {Kind.OUTPUT, Kind.INPUT})
    return "\n".join([*parts, _INTERNAL + internal, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown())
