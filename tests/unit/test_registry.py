"""The client side of the registry: what it asks, what it believes, and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from connectors.reader import ReadRecord
from schemas.catalogue import NEWEST
from schemas.codec import decode, encode
from schemas.events import OrderCancelled, OrderPlaced, OrderStatus, PaymentCaptured
from schemas.topics import ORDER_STATUS, ORDERS, PAYMENTS, SETTLEMENT_CHANGELOG
from schemas.wire import FIXED, ID_HEADER, UnreadableSchema, WriterSchema, prefix_of
from streams.cli import tail
from streams.errors import RegistryAwayError, RegistryRefusedError
from streams.registry import NOT_FOUND_FOR_S, Registry, connect
from streams.registry_client import RegistryClient
from streams.settings import Settings
from tests.unit.fake_registry import FakeRegistry, said_wrong
from tests.unit.messages import message
from tests.unit.orders import captured, placed

GUID = UUID("7fb2d5a4-6c1e-4a52-9b0a-0d9a3f6f1a11")
TEXT = NEWEST[OrderPlaced].text


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


@pytest.fixture
def client(fake: FakeRegistry) -> RegistryClient:
    return RegistryClient(fake.url)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_written_is_registered_once_by_topic_and_record_with_the_deployment_s_prefix(
    fake: FakeRegistry, client: RegistryClient
) -> None:
    registry = Registry(client)
    registry.enter("d1.", reads=[ORDERS], writes=[ORDER_STATUS])
    assert list(fake.subjects) == ["d1.order-status-tally.OrderStatus"], "what others write is theirs to register"
    [schema_id] = fake.subjects["d1.order-status-tally.OrderStatus"]
    assert registry.wire.prefixes == {"order-status": {OrderStatus: prefix_of(schema_id)}}
    assert registry.open_id_of(prefix_of(schema_id), None) is None, "our own id need not be asked for"
    Registry(RegistryClient(fake.url)).enter("d1.", writes=[ORDER_STATUS])
    assert fake.asked["POST /subjects/d1.order-status-tally.OrderStatus/versions"] == 1, "the second worker looks it up"


def test_what_producers_have_registered_is_known_from_the_start(fake: FakeRegistry, client: RegistryClient) -> None:
    Registry(RegistryClient(fake.url)).enter("", writes=[ORDERS])
    registry = Registry(client)
    registry.enter("", reads=[ORDERS, PAYMENTS])
    [placed_id], [cancelled_id] = fake.subjects["orders-tally.OrderPlaced"], fake.subjects["orders-tally.OrderCancelled"]
    assert registry.open_id(message("orders", 0, prefix_of(placed_id) + b"x")) is None
    assert registry.wire.readers[cancelled_id] == client.schema_of(cancelled_id)
    assert registry.wire.prefixes == {}


def test_a_number_and_a_guid_are_looked_up(fake: FakeRegistry, client: RegistryClient) -> None:
    schema_id = fake.add(TEXT, guid=GUID)
    for asked in (schema_id, GUID):
        found = client.schema_of(asked)
        assert isinstance(found, WriterSchema)
        assert found.record_type is OrderPlaced


@pytest.mark.parametrize(("more", "sentence"), [({"schemaType": "JSON"}, "JSON"), ({"references": [
    {"name": "a", "subject": "a", "version": 1}]}, "references")])  # fmt: skip
def test_a_schema_that_cannot_be_read_is_an_answer(
    fake: FakeRegistry, client: RegistryClient, more: dict[str, Any], sentence: str
) -> None:
    found = client.schema_of(fake.add(TEXT, **more))
    assert isinstance(found, UnreadableSchema)
    assert sentence in found.detail


@pytest.mark.parametrize("missing", [7, 2**31, 2**32 - 1, GUID])
def test_only_a_definite_not_found_is_one(client: RegistryClient, missing: int | UUID) -> None:
    assert client.schema_of(missing) is None


def test_a_registry_that_has_no_guids_says_not_found_of_each(fake: FakeRegistry, client: RegistryClient) -> None:
    fake.answers["/schemas/guids"] = 404, b""
    assert client.schema_of(GUID) is None, "its path is right, since it knows its schema types"


@pytest.mark.parametrize(
    "said",
    [
        (404, b""),
        (404, b"<html>not here</html>"),
        (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
        (404, b"[]"),
        (200, b"<html>log in first</html>"),
        (200, b"{}"),
        (200, b"[]"),
        said_wrong(401, 40101),
        said_wrong(403, 40301),
        said_wrong(429, 42901),
        said_wrong(500, 50001),
        (503, b""),
    ],
)
def test_whatever_else_answers_is_not_believed(fake: FakeRegistry, client: RegistryClient, said: tuple[int, bytes]) -> None:
    fake.answers[""] = said
    with pytest.raises(RegistryAwayError, match=r"the schema registry at|no schema registry") as raised:
        client.schema_of(7)
    assert raised.value.retriable


def test_a_registry_that_is_away_and_one_that_breaks_off_are_away(fake: FakeRegistry) -> None:
    with FakeRegistry() as other:
        url = other.url
    with pytest.raises(RegistryAwayError, match=r"does not answer \(ConnectError"):
        RegistryClient(url).schema_of(7)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (said_wrong(401, 40101), "refuses the schema of d1.orders-tally.OrderPlaced"),
        (said_wrong(403, 40301), "or give this one the right"),
        (said_wrong(409, 409), "refuses the schema"),
        (said_wrong(422, 42201), "refuses the schema"),
        ((404, b"<html>"), "is no schema registry: check SCHEMA_REGISTRY_URL, with its path"),
    ],
)
def test_a_registry_that_does_not_take_our_schemas_ends_the_start_with_a_sentence(
    fake: FakeRegistry, client: RegistryClient, said: tuple[int, bytes], sentence: str
) -> None:
    fake.answers[""] = said
    with pytest.raises(RegistryRefusedError, match=sentence) as raised:
        Registry(client).enter("d1.", writes=[ORDERS])
    assert raised.value.exit_code == 2


def test_a_start_that_found_the_registry_away_goes_on_when_it_is_back(fake: FakeRegistry, client: RegistryClient) -> None:
    registry = Registry(client)
    fake.answers["/subjects/orders-tally.OrderCancelled"] = 503, b""
    with pytest.raises(RegistryAwayError):
        registry.enter("", writes=[ORDERS])
    fake.answers.clear()
    registry.enter("", writes=[ORDERS])
    assert set(registry.wire.prefixes["orders"]) == {OrderPlaced, OrderCancelled}


def test_the_login_of_the_url_is_used_and_its_password_is_in_no_sentence() -> None:
    with FakeRegistry(login="tally:s3cret") as fake:
        schema_id = fake.add(TEXT)
        client = RegistryClient(fake.url)
        assert isinstance(client.schema_of(schema_id), WriterSchema)
        wrong = RegistryClient(fake.url.replace("s3cret", "gue55ed"))
        with pytest.raises(RegistryAwayError) as raised:
            wrong.schema_of(8)
        assert "tally:***@" in str(raised.value)
        assert "gue55ed" not in str(raised.value)


def test_an_id_is_asked_for_once_and_one_that_is_not_found_once_a_minute(fake: FakeRegistry, client: RegistryClient) -> None:
    clock = Clock()
    registry = Registry(client, now_s=clock)
    record = message("orders", 0, prefix_of(7) + b"x")
    assert registry.open_id(record) == 7
    registry.note(7, registry.ask(7))
    assert registry.open_id(record) is None, "not found is an answer"
    clock.now_s += NOT_FOUND_FOR_S + 1
    assert registry.open_id(record) == 7, "somebody may have registered it since"
    registry.note(7, WriterSchema("OrderPlaced", OrderPlaced, NEWEST[OrderPlaced].physical))
    clock.now_s += 10 * NOT_FOUND_FOR_S
    assert registry.open_id(record) is None, "what an id means never changes"


def test_i5_what_was_not_found_is_forgotten_in_time(client: RegistryClient) -> None:
    clock = Clock()
    registry = Registry(client, now_s=clock)
    for number in range(1_000):
        registry.note(number, None)
        clock.now_s += 1
    assert len(registry._not_found_until_s) <= NOT_FOUND_FOR_S + 1


@pytest.mark.parametrize("value", [None, b"", b"\0", b"\0\0\0\0", b"{}", b"\2\0\0\0\7", b"\1" + bytes(15)])
def test_what_has_no_id_is_nothing_to_ask_for(client: RegistryClient, value: bytes | None) -> None:
    assert Registry(client).open_id(message("orders", 0, value)) is None


def test_the_header_is_what_is_asked_for(client: RegistryClient) -> None:
    registry = Registry(client)
    registry.note(7, None)
    value = prefix_of(7) + b"x"
    trace: list[tuple[str, bytes | None]] = [("traceparent", b"00-1")]
    assert registry.open_id(message("orders", 0, value, headers=trace)) is None
    assert registry.open_id(message("orders", 0, value, headers=[*trace, (ID_HEADER, prefix_of(8))])) == 8
    assert registry.open_id(message("orders", 0, value, headers=[(ID_HEADER, b"\1" + GUID.bytes)])) == GUID


def test_a_round_trip_by_the_ids_of_a_registry(fake: FakeRegistry, client: RegistryClient) -> None:
    newer = json.loads(TEXT)
    newer["fields"].append({"name": "channel", "type": "string", "default": ""})
    fake.add(json.dumps(newer))
    writer, reader = Registry(client), Registry(RegistryClient(fake.url))
    writer.enter("", writes=[ORDERS, PAYMENTS])
    value = encode(captured(), writer.wire.prefixes["payments"])
    assert value[:5] != encode(captured())[:5]
    schema_id = reader.open_id_of(value, None)
    assert schema_id is not None
    reader.note(schema_id, reader.ask(schema_id))
    assert decode(value, reader.wire) == captured()
    assert decode(encode(placed(), writer.wire.prefixes["orders"]), writer.wire) == placed()
    assert PaymentCaptured in writer.wire.prefixes["payments"]


def test_tail_reads_by_the_registry_s_ids_also_from_a_header_and_changelogs_by_the_catalogue_s(fake: FakeRegistry) -> None:
    registry = connect(Settings(schema_registry_url=fake.url))
    assert registry is not None
    datum, schema_id = encode(placed())[5:], fake.add(TEXT)
    by_value = ReadRecord("orders", 0, 7, 1, b"o-1", prefix_of(schema_id) + datum, ())
    by_header = by_value._replace(value=datum, headers=((ID_HEADER, prefix_of(schema_id)),))
    for record in (by_value, by_header):
        assert "OrderPlaced event_id=placed order_id=o-1" in tail.line(record, ORDERS, tail._wire(registry, record, ORDERS))
    assert fake.asked[f"GET /schemas/ids/{schema_id}"] == 1
    marker = by_value._replace(value=prefix_of(40) + b"x")
    assert tail._wire(registry, marker, SETTLEMENT_CHANGELOG) is FIXED
    assert tail._wire(None, by_value, ORDERS) is FIXED


def test_without_the_setting_there_is_no_registry() -> None:
    assert connect(Settings()) is None
