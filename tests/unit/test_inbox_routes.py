"""Where letters go when they are sent back: topic, partition, key and headers."""

from __future__ import annotations

import pytest
from msgspec import Struct

from schemas.catalogue import NEWEST
from schemas.codec import encode
from schemas.events import OrderPlaced, PaymentCaptured
from schemas.partitioning import partition_of, partition_of_bytes
from schemas.topics import TOPICS
from schemas.wire import Wire, own, prefix_of
from streams.errors import RefusedError
from streams.inbox.letters import DeadLetter, letter_of
from streams.inbox.routes import Routes, event_of
from tests.unit.letters import ORIGINAL, PREFIX, buried, record
from tests.unit.orders import captured, deltas, placed

COUNTS = {topic.named(PREFIX): topic.partitions for topic in TOPICS} | {"bookings": 3, "__consumer_offsets": 50}
ROUTES = Routes(PREFIX, COUNTS)
RIGHT = partition_of("o-1", 12)


def test_a_letter_goes_back_as_it_was_to_the_partition_of_its_key() -> None:
    letter = buried(captured(), source_partition=RIGHT)
    sent = ROUTES.back(letter)
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("t.payments", RIGHT, b"o-1", letter.record.value)
    assert sent.remarks == ()
    assert sent.headers == (*ORIGINAL, ("__tally.errors.attempt", b"1"))


def test_the_count_of_deaths_goes_along_so_that_the_next_one_is_one_more() -> None:
    assert ROUTES.back(buried(deaths=4)).headers[-1] == ("__tally.errors.attempt", b"4")


@pytest.mark.parametrize(("key", "had"), [(None, "no key"), (b"p-1", "p-1"), (b"\xff", "\\xff"), (b"", "")])
def test_an_event_goes_under_its_order_id_when_its_key_was_another(key: bytes | None, had: str) -> None:
    sent = ROUTES.back(buried(captured(), "key_mismatch", error_class="envelope", key=key, source_partition=RIGHT))
    assert (sent.key, sent.partition) == (b"o-1", RIGHT)
    assert sent.remarks == (f"under the key o-1, its order_id, in place of {had}",)


def test_a_misrouted_event_goes_where_murmur2_sends_its_key() -> None:
    sent = ROUTES.back(buried(captured(), "misrouted", error_class="envelope", source_partition=(RIGHT + 1) % 12))
    assert sent.partition == RIGHT
    assert sent.remarks == (f"to partition {RIGHT} in place of {(RIGHT + 1) % 12}",)


def test_an_event_on_the_wrong_topic_goes_to_the_one_that_carries_its_type() -> None:
    sent = ROUTES.back(buried(placed(), "unexpected_type", error_class="undecodable"))
    assert (sent.topic, sent.partition, sent.key) == ("t.orders", RIGHT, b"o-1")
    assert sent.remarks == ("to orders, which carries OrderPlaced",)


def test_what_cannot_be_read_goes_back_under_the_key_it_had_or_to_its_partition() -> None:
    assert ROUTES.back(buried(b"{}", key=b"\xff raw")).partition == partition_of_bytes(b"\xff raw", 12)
    assert ROUTES.back(buried(b"{}", key=b"\xff raw")).key == b"\xff raw"
    keyless = ROUTES.back(buried(b"{}", key=None, source_partition=5))
    assert (keyless.key, keyless.partition) == (None, 5)
    assert ROUTES.back(buried(b"{}", key=None, source_partition=12)).partition == -1


def test_a_record_that_no_input_carries_goes_back_as_what_cannot_be_read() -> None:
    delta = encode(deltas())
    sent = ROUTES.back(buried(delta, "unexpected_type", key=b"m-1"))
    assert (sent.topic, sent.key, sent.value) == ("t.payments", b"m-1", delta)
    assert event_of(buried(delta)) is None


def test_bytes_of_an_older_schema_go_back_as_the_very_bytes_they_are() -> None:
    letter = buried(captured())
    assert ROUTES.back(letter).value is letter.record.value


def test_a_mended_event_goes_under_its_own_order_id() -> None:
    sent = ROUTES.event(buried(captured()), captured(order_id="o-2"))
    assert (sent.topic, sent.key, sent.partition) == ("t.payments", b"o-2", partition_of("o-2", 12))
    assert sent.value == encode(captured(order_id="o-2"))


def foreign(topic: bytes, *, key: bytes | None = b"k", partition: bytes = b"\x00\x00\x00\x01") -> DeadLetter:
    headers = (("kafka_dlt-original-topic", topic), ("kafka_dlt-original-partition", partition))
    return letter_of(record(headers, topic="bookings-dlt", key=key, value=encode(captured())), PREFIX)


def test_a_letter_of_another_application_goes_back_to_its_topic_untouched() -> None:
    sent = ROUTES.back(foreign(b"bookings"))
    assert (sent.topic, sent.key, sent.partition) == ("bookings", b"k", partition_of_bytes(b"k", 3))
    assert sent.headers == (("__tally.errors.attempt", b"1"),)
    assert ROUTES.back(foreign(b"bookings", key=None)).partition == 1


def test_a_letter_without_a_source_goes_to_the_input_of_its_dead_letter_topic_if_it_has_one() -> None:
    assert ROUTES.back(letter_of(record((), value=encode(captured())), PREFIX)).topic == "t.payments"
    with pytest.raises(RefusedError, match=r"bookings-dlt/7@123 cannot be sent back: no header says which topic"):
        ROUTES.back(letter_of(record((), topic="bookings-dlt"), PREFIX))


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("gone", "the cluster has no topic gone"),
        ("orders", "the cluster has no topic orders"),  # another deployment's, or none
        ("t.settlement-changelog", "t.settlement-changelog is not for producers to write"),
        ("t.revenue-deltas", "is not for producers"),
        ("t.order-status", "is not for producers"),
        ("t.payments.dlq", "is not for producers"),
        ("__consumer_offsets", "is not for producers"),
    ],
)
def test_no_header_can_make_a_letter_go_where_no_letter_belongs(topic: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        ROUTES.back(foreign(topic.encode()))
    with pytest.raises(RefusedError, match=why):
        ROUTES.event(foreign(topic.encode()), captured())


# Schema ids of a registry.

_IDS: dict[type[Struct], int] = {PaymentCaptured: 4, OrderPlaced: 77}
"""4 is a failed payment in the catalogue, with the same bytes."""
OF_REGISTRY = Wire(
    readers={schema_id: own(NEWEST[record_type]) for record_type, schema_id in _IDS.items()},
    prefixes={"payments": {PaymentCaptured: prefix_of(4)}, "orders": {OrderPlaced: prefix_of(77)}},
    by_registry=True,
)


def test_a_letter_is_read_and_mended_with_the_ids_of_the_registry_that_wrote_it() -> None:
    value = prefix_of(4) + encode(captured())[5:]
    headers = buried().record.headers
    letter = letter_of(record(headers, value=value), PREFIX, OF_REGISTRY)
    assert event_of(letter) == captured()
    routes = Routes(PREFIX, COUNTS, OF_REGISTRY)
    assert routes.back(letter).value == value
    assert routes.event(letter, captured(amount_minor=5)).value == prefix_of(4) + encode(captured(amount_minor=5))[5:]


def test_an_id_in_a_header_goes_back_with_the_bytes_it_belongs_to_and_not_with_a_mended_event() -> None:
    id_header = ("__value_schema_id", prefix_of(77))
    letter = letter_of(record((id_header, *buried().record.headers), value=encode(placed())[5:]), PREFIX, OF_REGISTRY)
    assert event_of(letter) == placed()
    routes = Routes(PREFIX, COUNTS, OF_REGISTRY)
    assert id_header in routes.back(letter).headers
    mended = routes.event(letter, placed(amount_minor=5))
    assert id_header not in mended.headers
    assert mended.value is not None
    assert mended.value[:5] == prefix_of(77)
