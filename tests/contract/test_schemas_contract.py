"""What stands on the wire stays readable: ids, fields and bytes are held against golden files and against the structs."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.aggregates import (
    AccountTotals,
    ControlTotals,
    CustomerAlert,
    CustomerRevenue,
    PaymentsByMethod,
    ProductRevenue,
    RankedProduct,
    RevenueAdjustment,
    TimeToCapture,
    TopProducts,
    UnpaidOrder,
)
from schemas.catalogue import AVRO_FOLDER, BY_ID, CATALOGUE, NEWEST, RegisteredSchema
from schemas.codec import decode, encode
from schemas.events import (
    Cell,
    CurrentVersion,
    DeadLetterDone,
    Deltas,
    FlowDeltas,
    InputPosition,
    MerchantRevenue,
    OrderCancelled,
    OrderCapture,
    OrderLine,
    OrderPlaced,
    OrderStatus,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    Record,
    Source,
    TaskMarker,
    UnmatchedPayment,
    VersionStarted,
)
from streams.judgement import FRESH
from streams.marker import judgement_of

GOLDEN = Path(__file__).parent / "golden"
BYTES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "bytes.json").read_text())
CATALOGUE_THEN: dict[str, str] = json.loads((GOLDEN / "catalogue.json").read_text())
T = 1_795_000_000_123

SAMPLES: tuple[Record, ...] = (
    OrderPlaced("e-1", "o-1", T, "shop", "c-1", "m-ü", "EUR", 10**12, (OrderLine("sku", 2, 3), OrderLine("", 1, 0))),
    OrderCancelled("e-2", "o-1", T, "shop"),
    PaymentCaptured("e-3", "o-1", T, "pay", "p-1", "card", 2**63 - 1, "JPY"),
    PaymentFailed("e-4", "o-1", T, "pay", "p-1", "card", 1, "KWD"),
    PaymentRefunded("e-5", "o-1", T, "pay", "r-1", "p-1", 64, "EUR"),
    OrderStatus(
        "o-1",
        "m-1",
        "c-1",
        "EUR",
        "cancelled",
        100,
        70,
        20,
        True,  # noqa: FBT003
        1,
        T,
        T + 1,
        T + 2,
        5,
        (OrderCapture("p-1", "card", T, 50, 20, T + 2), OrderCapture("p-2", "sepa", T + 1, 20, 0)),
    ),
    MerchantRevenue("m-1", "EUR", T, T + 60_000, "provisional", 9, 1, 2, 3, 4, 5, -1),
    ProductRevenue("m-1", "EUR", "sku-ü", T, T + 3_600_000, "final", 3, 12, 2**40),
    TopProducts("m-1", "EUR", T, T + 3_600_000, "final", 3, (RankedProduct("a", 1, 9), RankedProduct("b", 7, 9))),
    PaymentsByMethod("m-1", "card", T, T + 60_000, "provisional", 1, 4, 3, 1, 0.25),
    TimeToCapture("m-1", T, T + 3_600_000, "final", 2, 100, 1_200, 60_000, 2**33),
    CustomerRevenue("c-1", "JPY", T, T + 86_400_000, "provisional", 1, 2, 300),
    CustomerAlert("c-1", "JPY", T, T + 3_600_000, "provisional", 1, 11, 2_000_000, "orders+gross"),
    UnpaidOrder("o-1", "m-1", "c-1", "EUR", 100, T, T + 1_800_000),
    RevenueAdjustment(
        "money", {"merchant_id": "m-1", "currency": "EUR"}, T, {"captured_minor": 7}, "e-9", "PaymentCaptured", "late"
    ),
    Deltas(
        (Source(11, 77, T, idle=False), Source(0, 1, 0, idle=True)),
        (FlowDeltas("money", (Cell(("m-1", "EUR"), T, (1, -2, 3, 0, 2**40)),)),),
    ),
    ControlTotals(
        "settlement/7",
        88,
        130,
        100,
        20,
        10,
        {"beyond_horizon": 10},
        (AccountTotals("EUR", "captured_minor", 2**40, 90, 80, 7, -3, 1), AccountTotals("JPY", "orders_count", 1, 1, 0, 0, 0, 0)),
    ),
    UnmatchedPayment("e-6", "PaymentRefunded", "o-1", T, "p-1", 101, "EUR", "refund_exceeds_capture"),
    TaskMarker(2, 88, "w2", (InputPosition("t.orders", 7, 100, 130),), {"consumed": 30}, b"\x01\xff", "by hand", 9, 7, 2),
    DeadLetterDone("orders.dlq/7@123", "0123456789abcdef", "replayed", T, "ada", "", "orders/7@4711"),
    VersionStarted("v2", T, T - 7, T + 9),
    CurrentVersion("v2", T),
)


def said(record: Record) -> Any:
    """Give a record as its JSON says it."""
    return msgspec.json.decode(msgspec.json.encode(record))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_record_has_the_bytes_that_it_always_had(sample: Record) -> None:
    schema = NEWEST[type(sample)]
    golden = BYTES[f"{schema.name}.v{schema.version}"]
    assert encode(sample).hex() == golden["hex"], "the wire format changed: make a new version with a new id instead"
    assert said(sample) == golden["record"]


@pytest.mark.parametrize("name", BYTES)
def test_bytes_of_the_past_are_read_as_they_were_meant(name: str) -> None:
    record = decode(bytes.fromhex(BYTES[name]["hex"]))
    since = {field.encode_name: field.default for field in msgspec.structs.fields(type(record)) if not field.required}
    assert said(record) == {**msgspec.json.decode(msgspec.json.encode(since)), **BYTES[name]["record"]}


def test_a_marker_from_before_tasks_were_paused_belongs_to_a_task_that_runs() -> None:
    marker = decode(bytes.fromhex(BYTES["TaskMarker.v1"]["hex"]))
    assert isinstance(marker, TaskMarker)
    assert judgement_of(marker) == FRESH


def test_every_schema_has_golden_bytes() -> None:
    assert {f"{schema.name}.v{schema.version}" for schema in CATALOGUE} == set(BYTES)


def test_an_id_means_for_ever_what_it_once_meant() -> None:
    now = {str(schema.schema_id): f"{schema.name}.v{schema.version}" for schema in CATALOGUE}
    assert {key: now.get(key) for key in CATALOGUE_THEN} == CATALOGUE_THEN
    assert set(now) == set(CATALOGUE_THEN), "a new schema: add its id to golden/catalogue.json, and its bytes"


def test_no_id_and_no_version_stands_twice() -> None:
    assert len(BY_ID) == len(CATALOGUE)
    assert len({(schema.name, schema.version) for schema in CATALOGUE}) == len(CATALOGUE)


def test_every_avro_file_is_in_the_catalogue() -> None:
    files = {path.name for path in AVRO_FOLDER.glob("*.avsc")}
    assert files == {f"{schema.name}.v{schema.version}.avsc" for schema in CATALOGUE}


def avro_of(annotation: Any) -> tuple[str, ...]:
    """Give the Avro types that may stand for a Python type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return (f"union of {' and '.join(sorted(avro_of(each)[0] for each in arguments))}",)
    if origin is tuple:
        return ("array",)
    if origin is dict:
        return ("map",)
    return {
        str: ("string",),
        int: ("long", "int"),
        float: ("double",),
        bool: ("boolean",),
        bytes: ("bytes",),
        type(None): ("null",),
    }[annotation]


def kind_of(node: Any) -> str:
    if isinstance(node, list):
        return f"union of {' and '.join(sorted(kind_of(each) for each in node))}"
    return str(node["type"] if isinstance(node, dict) else node)


def agree(record_type: type[msgspec.Struct], node: dict[str, Any], appended_count: int = 0) -> None:
    """Hold a schema against a struct of which it lacks the last ``appended_count`` fields."""
    fields = msgspec.structs.fields(record_type)
    fields = fields[: len(fields) - appended_count]
    assert node["name"] == record_type.__name__
    assert [field.encode_name for field in fields] == [field["name"] for field in node["fields"]]
    for field, avro in zip(fields, node["fields"], strict=True):
        assert kind_of(avro["type"]) in avro_of(field.type), f"{record_type.__name__}.{field.name}"
        assert field.required or "default" in avro, "only fields that older versions of the schema lack have defaults"
        if kind_of(avro["type"]) == "array" and isinstance(avro["type"]["items"], dict):
            agree(typing.get_args(field.type)[0], avro["type"]["items"])


@pytest.mark.parametrize("schema", CATALOGUE, ids=lambda schema: schema.name)
def test_the_avro_file_has_the_fields_of_the_struct_in_their_order_and_types(schema: RegisteredSchema) -> None:
    declared = json.loads(schema.text)
    newest = json.loads(NEWEST[schema.record_type].text)
    agree(schema.record_type, declared, appended_count=len(newest["fields"]) - len(declared["fields"]))
    assert all(field.get("doc") for field in declared["fields"]), "every field says what it means"


def times_agree(record_type: type[msgspec.Struct], node: dict[str, Any]) -> None:
    """Hold what is a time, and not a duration, in a schema against the names in a struct, and so for its parts."""
    for field, avro in zip(msgspec.structs.fields(record_type), node["fields"], strict=False):
        if kind_of(avro["type"]) == "array":
            if isinstance(avro["type"]["items"], dict):
                times_agree(typing.get_args(field.type)[0], avro["type"]["items"])
        else:
            is_time = "timestamp-millis" in json.dumps(avro["type"])
            assert (field.name == f"{field.encode_name}_ms") == is_time, f"{record_type.__name__}.{field.name}"


@pytest.mark.parametrize("schema", CATALOGUE, ids=lambda schema: schema.name)
def test_times_and_only_times_are_timestamps_and_have_ms_added_in_code(schema: RegisteredSchema) -> None:
    times_agree(schema.record_type, json.loads(schema.text))


@pytest.mark.parametrize("event_type", [OrderPlaced, OrderCancelled, PaymentCaptured, PaymentFailed, PaymentRefunded])
def test_every_event_begins_with_who_what_when_and_where_from(event_type: type[msgspec.Struct]) -> None:
    assert [field.encode_name for field in msgspec.structs.fields(event_type)][:4] == [
        "event_id",
        "order_id",
        "occurred_at",
        "source",
    ]
