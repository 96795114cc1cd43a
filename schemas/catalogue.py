"""The fixed catalogue: which schema id on the wire means which Avro record and version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import msgspec

from schemas import aggregates, events

AVRO_FOLDER = Path(__file__).parent / "avro"


@dataclass(frozen=True)
class RegisteredSchema:
    """One version of one record: its id on the wire, its Python class, its Avro schema.

    ``physical`` is the parsed schema without logical types: times travel as the integers that
    they are, which spares a datetime per field and keeps every value a 64-bit schema can hold.
    """

    schema_id: int
    name: str
    version: int
    record_type: type[msgspec.Struct]
    physical: Any

    @property
    def text(self) -> str:
        """The schema as its file says it, logical types included (JSON)."""
        return _file_of(self.name, self.version).read_text()

    @property
    def full_name(self) -> str:
        """The record's name with its namespace, such as ``tally.OrderPlaced``."""
        return str(self.physical["name"])


def _file_of(name: str, version: int) -> Path:
    return AVRO_FOLDER / f"{name}.v{version}.avsc"


def without_logical_types(node: Any) -> Any:
    """Give a schema, as JSON, whose numbers are read as numbers."""
    if isinstance(node, dict):
        return {k: without_logical_types(v) for k, v in node.items() if k != "logicalType"}
    if isinstance(node, list):
        return [without_logical_types(item) for item in node]
    return node


def _registered(schema_id: int, record_type: type[msgspec.Struct], version: int) -> RegisteredSchema:
    name = record_type.__name__
    declared = json.loads(_file_of(name, version).read_text())
    physical = fastavro.parse_schema(without_logical_types(declared))
    return RegisteredSchema(schema_id, name, version, record_type, physical)


CATALOGUE: tuple[RegisteredSchema, ...] = (
    _registered(1, events.OrderPlaced, 1),
    _registered(2, events.OrderCancelled, 1),
    _registered(3, events.PaymentCaptured, 1),
    _registered(4, events.PaymentFailed, 1),
    _registered(5, events.PaymentRefunded, 1),
    _registered(20, events.OrderStatus, 1),
    _registered(22, events.MerchantRevenue, 1),
    _registered(23, events.UnmatchedPayment, 1),
    _registered(24, events.OrderStatus, 2),
    _registered(25, events.MerchantRevenue, 2),
    _registered(26, aggregates.ProductRevenue, 1),
    _registered(27, aggregates.TopProducts, 1),
    _registered(28, aggregates.PaymentsByMethod, 1),
    _registered(29, aggregates.TimeToCapture, 1),
    _registered(30, aggregates.CustomerRevenue, 1),
    _registered(31, aggregates.CustomerAlert, 1),
    _registered(32, aggregates.UnpaidOrder, 1),
    _registered(33, aggregates.RevenueAdjustment, 1),
    _registered(34, aggregates.ControlTotals, 1),
    _registered(40, events.TaskMarker, 1),
    _registered(41, events.TaskMarker, 2),
    _registered(42, events.DeadLetterDone, 1),
    _registered(43, events.Deltas, 1),
    _registered(44, events.VersionStarted, 1),
    _registered(45, events.CurrentVersion, 1),
)
"""Ids are never reused and never change: records of years ago carry them. 21 was an internal record before the first release."""

BY_ID = {schema.schema_id: schema for schema in CATALOGUE}
NEWEST = {schema.record_type: schema for schema in CATALOGUE}
