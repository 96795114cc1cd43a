"""No record, document, setting or class has a field that could hold what stands on a card or opens an account.

Tally needs none of it, and what is never stored can neither leak nor stay in a topic for years.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.catalogue import AVRO_FOLDER
from schemas.documents import MODELS
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
HOUSES = ("schemas", "agents", "streams", "connectors")

SECRETS = re.compile(
    r"\b(card|cc|pan|cardholder|cvv2?|cvc2?|cvn|csc|pin|track [12]|iban|expiry"
    r"|(card|account|bank|routing|pan) ?(no|num|number|code)|exp (date|month|year)|sort code|security code|ssn)\b"
)


def words(name: str) -> str:
    """Give a name's words, small: ``cardNumber``, ``CARD_NUMBER`` and ``card-number`` are all ``card number``."""
    parted = re.sub(r"([a-z])([A-Z0-9])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", name)
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"\b(cvv|cvc) 2", r"\g<1>2", parted.lower()))


def holds_a_secret(name: str) -> bool:
    return SECRETS.search(words(name)) is not None


def avro_fields(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (field["name"] for field in node.get("fields", ()))
        for value in node.values():
            yield from avro_fields(value)
    elif isinstance(node, list):
        for value in node:
            yield from avro_fields(value)


def document_fields(schema: dict[str, Any]) -> set[str]:
    """Give the names in a pydantic model and in the models inside it, from its JSON schema."""
    inner = (each for definition in schema.get("$defs", {}).values() for each in document_fields(definition))
    return {*schema.get("properties", {}), *inner}


def class_fields(source: str) -> Iterator[str]:
    """Give every annotated name in a class: fields of structs, settings, data classes and named tuples."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    yield each.target.id


@pytest.mark.parametrize("path", sorted(AVRO_FOLDER.glob("*.avsc")), ids=lambda path: path.name)
def test_no_avro_schema_has_such_a_field(path: Path) -> None:
    names = set(avro_fields(json.loads(path.read_text())))
    assert names
    assert [name for name in sorted(names) if holds_a_secret(name)] == []


@pytest.mark.parametrize("model", [*MODELS.values(), Settings], ids=lambda model: model.__name__)
def test_no_pydantic_model_has_such_a_field(model: Any) -> None:
    names = document_fields(model.model_json_schema())
    assert len(names) >= 4
    assert [name for name in sorted(names) if holds_a_secret(name)] == []


@pytest.mark.parametrize("house", HOUSES)
def test_no_class_has_such_a_field(house: str) -> None:
    found = {name: path.name for path in (ROOT / house).rglob("*.py") for name in class_fields(path.read_text())}
    assert found
    assert {name: path for name, path in found.items() if holds_a_secret(name)} == {}


@pytest.mark.parametrize(
    "name",
    [
        "card_number", "cardNumber", "CARD", "pan", "masked_pan", "cvv", "CVV2", "cvc", "cardCVC", "iban", "IBANCode",
        "account_number", "accountNo", "routing_number", "sort_code", "expiry", "exp_month", "cc_exp", "card_expiration", "pin",
        "track_2", "track1", "security_code", "cardholder",
    ],
)  # fmt: skip
def test_such_a_name_is_found(name: str) -> None:
    assert holds_a_secret(name)


@pytest.mark.parametrize(
    "name", ["span", "pinned", "cardinality", "company", "account", "expires_at_ms", "discard", "payment_id"]
)
def test_a_name_that_only_looks_like_it_is_left_alone(name: str) -> None:
    assert not holds_a_secret(name)


def test_such_a_field_is_found_wherever_it_stands() -> None:
    inner = {"type": "array", "items": {"type": "record", "name": "Line", "fields": [{"name": "pan", "type": "string"}]}}
    schema = {"type": "record", "name": "Order", "fields": [{"name": "lines", "type": ["null", inner]}]}
    assert "pan" in set(avro_fields(schema))
    assert document_fields({"properties": {"a": {}}, "$defs": {"Line": {"properties": {"cvv": {}}}}}) == {"a", "cvv"}
    assert list(class_fields("class Order(Struct):\n    iban: str\n    limit = 3\n\nname: str = ''\n")) == ["iban"]
