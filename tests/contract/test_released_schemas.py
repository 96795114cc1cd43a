"""A schema that was released stays, and its successors understand it: this repository's, and each way of getting it wrong."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner
from fastavro.read import SchemaResolutionError

from schemas.catalogue import AVRO_FOLDER
from schemas.compatibility import RELEASED_FILE, SchemaFile, check_folder, read_folder, unread
from streams.cli.schemas import command
from streams.errors import SettingsError

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "bytes.json").read_text())
FILES = {file.title: file for file in read_folder(AVRO_FOLDER)[0]}
Change = Callable[[dict[str, Any]], object]


def test_the_schemas_of_this_repository_may_be_released() -> None:
    assert check_folder(AVRO_FOLDER) == []


@pytest.mark.parametrize("title", GOLDEN)
def test_golden_bytes_of_a_version_are_read_by_every_version_of_its_record(title: str) -> None:
    datum = bytes.fromhex(GOLDEN[title]["hex"])[5:]
    writer = FILES[title]
    for reader in FILES.values():
        if reader.name == writer.name:
            fastavro.schemaless_reader(BytesIO(datum), writer.schema, reader.schema)


# Each way of getting it wrong, in a copy of the folder.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(AVRO_FOLDER, tmp_path / "avro"))


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in schema["fields"] if each["name"] == name)
    return found


def changed(title: str, change: Change) -> dict[str, Any]:
    schema: dict[str, Any] = copy.deepcopy(FILES[title].declared)
    change(schema)
    return schema


def write(folder: Path, title: str, schema: object) -> None:
    (folder / f"{title}.avsc").write_text(json.dumps(schema))


def release_everything(folder: Path) -> None:
    released = {file.title: file.fingerprint for file in read_folder(folder)[0]}
    (folder / RELEASED_FILE).write_text(json.dumps(released))


def add(**new: Any) -> Change:
    return lambda schema: schema["fields"].append(new)


def drop(name: str) -> Change:
    return lambda schema: schema["fields"].remove(field(schema, name))


def retype(name: str, avro_type: Any) -> Change:
    return lambda schema: field(schema, name).update(type=avro_type)


def rename(old: str, new: str, *aliases: str) -> Change:
    return lambda schema: field(schema, old).update(name=new, aliases=list(aliases))


def line(change: Change) -> Change:
    return lambda schema: change(field(schema, "lines")["type"]["items"])


def channel(*symbols: str, **more: str) -> dict[str, Any]:
    return {"type": "enum", "name": "Channel", "symbols": [*symbols], **more}


SHOP_OR_WEB = add(name="channel", type=channel("SHOP", "WEB", default="SHOP"), default="SHOP")

BACK = "OrderPlaced.v2 cannot read what OrderPlaced.v1 wrote: "
FORTH = "OrderPlaced.v1 cannot read what OrderPlaced.v2 writes: "
LATER_BACK = "OrderPlaced.v3 cannot read what OrderPlaced.v2 wrote: "
LATER_FORTH = "OrderPlaced.v2 cannot read what OrderPlaced.v3 writes: "


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (add(name="channel", type="string"), [BACK + "channel is not written, and has no default where it is read"]),
        (drop("source"), [FORTH + "source is not written, and has no default where it is read"]),
        (
            rename("source", "origin"),
            [
                BACK + "origin is not written, and has no default where it is read",
                FORTH + "source is not written, and has no default where it is read",
            ],
        ),
        (rename("source", "origin", "source"), [FORTH + "source is not written, and has no default where it is read"]),
        (
            retype("amount_minor", "string"),
            [
                BACK + "amount_minor is written as long, and is read as string",
                FORTH + "amount_minor is written as string, and is read as long",
            ],
        ),
        (retype("amount_minor", "double"), [FORTH + "amount_minor is written as double, and is read as long"]),
        (retype("amount_minor", "int"), [BACK + "amount_minor is written as long, and is read as int"]),
        (retype("source", ["null", "string"]), [FORTH + "source is written as null, and is read as string"]),
        (
            retype("source", ["null", "int"]),
            [
                BACK + "source may be written as string, and is read as null or int",
                FORTH + "source is written as null, and is read as string",
                FORTH + "source is written as int, and is read as string",
            ],
        ),
        (
            retype("occurred_at", "long"),
            [
                BACK + "occurred_at is written with timestamp-millis, and is read with no logical type",
                FORTH + "occurred_at is written with no logical type, and is read with timestamp-millis",
            ],
        ),
        (
            retype("occurred_at", {"type": "long", "logicalType": "timestamp-micros"}),
            [
                BACK + "occurred_at is written with timestamp-millis, and is read with timestamp-micros",
                FORTH + "occurred_at is written with timestamp-micros, and is read with timestamp-millis",
            ],
        ),
        (line(drop("sku")), [FORTH + "lines[].sku is not written, and has no default where it is read"]),
        (line(retype("quantity", "long")), [FORTH + "lines[].quantity is written as long, and is read as int"]),
        (
            line(lambda schema: schema.update(name="Item")),
            [BACK + "lines[] is called OrderLine by the writer, and Item by the reader",
             FORTH + "lines[] is called Item by the writer, and OrderLine by the reader"],
        ),
        (
            retype("lines", {"type": "map", "values": "long"}),
            [BACK + "lines is written as array, and is read as map", FORTH + "lines is written as map, and is read as array"],
        ),
    ],
)  # fmt: skip
def test_an_incompatible_new_version_is_told(folder: Path, change: Change, problems: list[str]) -> None:
    write(folder, "OrderPlaced.v2", changed("OrderPlaced.v1", change))
    release_everything(folder)
    assert check_folder(folder) == problems


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            retype("channel", channel("SHOP")),
            [f"{LATER_BACK}channel may be written as WEB, which the reader's enum does not have"],
        ),
        (
            retype("channel", {**channel("SHOP", "WEB", default="SHOP"), "name": "Way"}),
            [
                LATER_BACK + "channel is called Channel by the writer, and Way by the reader",
                LATER_FORTH + "channel is called Way by the writer, and Channel by the reader",
            ],
        ),
        (retype("channel", channel("SHOP", "WEB", "PHONE", default="SHOP")), []),
        (lambda schema: schema["fields"].pop(), []),
        (
            lambda schema: (schema["fields"].pop(), add(name="channel", type="long", default=0)(schema)),
            [
                LATER_BACK + "channel is written as enum, and is read as long",
                LATER_FORTH + "channel is written as long, and is read as enum",
            ],
        ),
    ],
    ids=["a symbol less", "an enum renamed", "a symbol more, with a default", "a field with a default less", "a name used anew"],
)  # fmt: skip
def test_a_third_version_is_held_against_both_before_it(folder: Path, change: Change, problems: list[str]) -> None:
    second = changed("OrderPlaced.v1", SHOP_OR_WEB)
    write(folder, "OrderPlaced.v2", second)
    third = copy.deepcopy(second)
    change(third)
    write(folder, "OrderPlaced.v3", third)
    release_everything(folder)
    assert check_folder(folder) == problems


def test_a_name_given_up_and_used_anew_is_held_against_the_oldest_version_too(folder: Path) -> None:
    write(folder, "OrderPlaced.v2", changed("OrderPlaced.v1", add(name="gift", type="string", default="")))
    write(folder, "OrderPlaced.v3", FILES["OrderPlaced.v1"].declared)
    write(folder, "OrderPlaced.v4", changed("OrderPlaced.v1", add(name="gift", type="boolean", default=False)))
    release_everything(folder)
    assert check_folder(folder) == [
        "OrderPlaced.v4 cannot read what OrderPlaced.v2 wrote: gift is written as string, and is read as boolean",
        "OrderPlaced.v2 cannot read what OrderPlaced.v4 writes: gift is written as boolean, and is read as string",
    ]


@pytest.mark.parametrize(
    "change",
    [
        add(name="channel", type="string", default="shop"),
        add(name="note", type=["null", "string"], default=None),
        lambda schema: schema["fields"].reverse(),
        lambda schema: schema.update(doc="Another word for it."),
        line(add(name="colour", type=["null", "string"], default=None)),
        SHOP_OR_WEB,
    ],
)
def test_a_compatible_new_version_is_well(folder: Path, change: Change) -> None:
    write(folder, "OrderPlaced.v2", changed("OrderPlaced.v1", change))
    release_everything(folder)
    assert check_folder(folder) == []


@pytest.mark.parametrize(
    "change",
    [
        add(name="channel", type="string", default="shop"),
        drop("source"),
        retype("occurred_at", "long"),
        lambda schema: field(schema, "source").update(default="shop"),
        lambda schema: schema["fields"].reverse(),
    ],
)
def test_a_released_version_may_not_change_at_all(folder: Path, change: Change) -> None:
    write(folder, "OrderPlaced.v1", changed("OrderPlaced.v1", change))
    problem = "OrderPlaced.v1 was released and has changed: put it back, and make the change in a new version"
    assert check_folder(folder) == [problem]
    assert check_folder(folder, AVRO_FOLDER) == [problem]


def test_the_words_of_a_released_version_may_be_mended(folder: Path) -> None:
    write(folder, "OrderPlaced.v1", changed("OrderPlaced.v1", lambda schema: field(schema, "source").update(doc="Who says so.")))
    assert check_folder(folder) == []


def test_a_released_version_may_not_go(folder: Path) -> None:
    (folder / "TaskMarker.v1.avsc").unlink()
    assert check_folder(folder) == ["TaskMarker.v1 was released and is gone: put it back, records of years ago name it"]


def test_a_version_that_is_not_recorded_is_told_with_the_line_to_add(folder: Path) -> None:
    write(folder, "OrderPlaced.v2", changed("OrderPlaced.v1", SHOP_OR_WEB))
    (problem,) = check_folder(folder)
    assert problem.startswith('OrderPlaced.v2 is not recorded: when it is ready for ever, add "OrderPlaced.v2": "')
    released = json.loads((folder / RELEASED_FILE).read_text())
    released["OrderPlaced.v2"] = problem.split('"')[3]
    (folder / RELEASED_FILE).write_text(json.dumps(released))
    assert check_folder(folder) == []
    assert check_folder(folder, AVRO_FOLDER) == [], "against another release a new version needs no record"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("OrderPlaced.avsc", "{}", "OrderPlaced.avsc: call it after its record and version, such as OrderPlaced.v2.avsc"),
        ("Refund.v1.avsc", '{"type": "record", "name": "Other", "fields": []}', "Refund.v1.avsc must hold the record Refund"),
        ("Refund.v1.avsc", '"string"', "Refund.v1.avsc must hold the record Refund"),
        ("Refund.v1.avsc", "{", "Refund.v1.avsc is no Avro schema: "),
        ("Refund.v1.avsc", "[1]", "Refund.v1.avsc is no Avro schema: "),
        ("Refund.v1.avsc", '{"type": "record", "fields": []}', "Refund.v1.avsc is no Avro schema: "),
        (
            "Refund.v1.avsc",
            '{"type": "record", "name": "Refund", "fields": [{"name": "a", "type": "sting"}]}',
            "Refund.v1.avsc is no Avro schema: nothing is called sting",
        ),
        (
            "Refund.v1.avsc",
            '{"type": "record", "name": "Refund", "fields": [{"name": "a", "type": "int", "default": "x"}]}',
            "Refund.v1.avsc is no Avro schema: Default value <x> must match schema type: int",
        ),
    ],
)
def test_a_file_that_is_no_schema_is_told(folder: Path, name: str, text: str, problem: str) -> None:
    (folder / name).write_text(text)
    (told,) = check_folder(folder)
    assert told.startswith(problem)


def test_the_command_says_one_sentence_for_each_problem(tmp_path: Path) -> None:
    well = CliRunner().invoke(command, ["check"])
    assert (well.exit_code, well.output) == (0, "every released schema is as it was, and every version reads every other\n")
    write(tmp_path, "OrderPlaced.v1", changed("OrderPlaced.v1", drop("source")))
    told = CliRunner().invoke(command, ["check", "--against", str(tmp_path)])
    sentence = "OrderPlaced.v1 was released and has changed: put it back, and make the change in a new version"
    assert (told.exit_code, told.output) == (1, f"{sentence}\n")
    as_json = CliRunner().invoke(command, ["check", "--against", str(tmp_path), "--json"])
    assert (as_json.exit_code, json.loads(as_json.output)) == (1, [sentence])
    (tmp_path / "OrderPlaced.v1.avsc").unlink()
    empty = CliRunner().invoke(command, ["check", "--against", str(tmp_path)])
    assert isinstance(empty.exception, SettingsError)
    assert "has no schema files" in str(empty.exception)


# fastavro resolves schemas by itself; what we call readable and what it reads must be the same.

TYPES: list[Any] = [
    "int", "long", "string", "bytes", "boolean", "double", ["null", "string"], ["string", "long"], ["int", "null"],
    {"type": "array", "items": "int"}, {"type": "array", "items": "long"}, {"type": "map", "values": ["null", "int"]},
    channel("A", "B"), channel("A"), channel("A", "B", "C", default="A"),
    {"type": "fixed", "name": "Hash", "size": 2}, {"type": "fixed", "name": "Hash", "size": 3},
    {"type": "record", "name": "Part", "fields": [{"name": "a", "type": "int"}]},
    {"type": "record", "name": "Part", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "int", "default": 1}]},
]  # fmt: skip


def record_of(avro_type: Any) -> Any:
    schema = {"type": "record", "name": "Sample", "fields": [{"name": "value", "type": avro_type}]}
    return fastavro.parse_schema(copy.deepcopy(schema), _write_hint=False)


def is_read_by_fastavro(reader: Any, writer: Any, data: list[Any]) -> bool:
    """Tell whether fastavro reads all of ``data``."""
    for datum in data:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, writer, {"value": datum})
        try:
            fastavro.schemaless_reader(BytesIO(stream.getvalue()), writer, reader)
        except (SchemaResolutionError, ValueError, TypeError):
            return False
    return True


@pytest.mark.parametrize("writer_type", TYPES, ids=json.dumps)
def test_we_call_readable_what_fastavro_reads_and_nothing_else(writer_type: Any) -> None:
    writer, data = record_of(writer_type), data_of(writer_type)
    readers = [record_of(reader_type) for reader_type in TYPES]
    assert [not unread(reader, writer) for reader in readers] == [is_read_by_fastavro(reader, writer, data) for reader in readers]


SIMPLE_DATA: dict[str, list[Any]] = {
    "int": [0, -(2**31)], "long": [2**63 - 1, 0], "string": ["ü"], "bytes": [b"x"], "boolean": [True], "double": [0.5],
    "null": [None],
}  # fmt: skip


def data_of(avro_type: Any) -> list[Any]:
    """Give values that use every branch, symbol and field of a type."""
    if isinstance(avro_type, str):
        return SIMPLE_DATA[avro_type]
    if isinstance(avro_type, list):
        return [datum for branch in avro_type for datum in data_of(branch)]
    match avro_type["type"]:
        case "array":
            return [[], data_of(avro_type["items"])]
        case "map":
            return [{str(number): datum for number, datum in enumerate(data_of(avro_type["values"]))}]
        case "enum" | "fixed":
            return avro_type.get("symbols") or [b"x" * avro_type["size"]]
    return [{field["name"]: data_of(field["type"])[0] for field in avro_type["fields"]}]


def test_a_record_inside_itself_is_compared_to_its_end() -> None:
    def tree(leaf: str) -> Any:
        fields = [{"name": "leaf", "type": leaf}, {"name": "more", "type": {"type": "array", "items": "Tree"}}]
        return fastavro.parse_schema({"type": "record", "name": "Tree", "fields": fields}, _write_hint=False)

    assert unread(tree("long"), tree("int")) == []
    assert unread(tree("int"), tree("long")) == ["leaf is written as long, and is read as int"]


def test_a_fingerprint_is_of_everything_but_the_words() -> None:
    one = FILES["OrderCancelled.v1"]
    assert len(one.fingerprint) == 64
    other = SchemaFile(one.name, 2, changed("OrderCancelled.v1", lambda schema: schema.pop("doc")), one.schema)
    assert other.fingerprint == one.fingerprint
