"""Header families of dead letters, with the bytes that their buriers write."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from schemas.codec import Undecodable
from streams.dead_letters import Cause, cut_to_fit, dead_letter_headers
from streams.errors import RefusedError
from streams.inbox.letters import Address, DeadLetter, Source, letter_of, made_whole, parse_address, short_name
from tests.unit.letters import BURIED_AT_MS, ORIGINAL, PREFIX, RECORD_AT_MS, Headers, buried, record
from tests.unit.orders import captured

# As ExceptionHandlerUtils of Kafka Streams 4.2 writes them: StringSerializer, the exception's toString.
STREAMS: Headers = (
    ("__streams.errors.exception", b"org.apache.kafka.streams.errors.StreamsException: boom: again"),
    ("__streams.errors.message", b"boom: again"),
    (
        "__streams.errors.stacktrace",
        b"org.apache.kafka.streams.errors.StreamsException: boom: again\n\tat app.Join.apply(Join.java:41)\n",
    ),
    ("__streams.errors.topic", b"clicks"),
    ("__streams.errors.partition", b"11"),
    ("__streams.errors.offset", b"9007199254740993"),
)
# As DeadLetterQueueReporter of Kafka Connect writes them.
CONNECT: Headers = (
    ("__connect.errors.topic", b"invoices"),
    ("__connect.errors.partition", b"0"),
    ("__connect.errors.offset", b"17"),
    ("__connect.errors.connector.name", b"invoices-to-s3"),
    ("__connect.errors.task.id", b"2"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"io.confluent.connect.avro.AvroConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", "Failed to deserialize data for topic invoices: größe".encode()),
    ("__connect.errors.exception.stacktrace", b"org.apache.kafka.connect.errors.DataException: Failed\n\tat io.confluent\n"),
)
# As DeadLetterPublishingRecoverer of Spring for Apache Kafka writes them: ByteBuffer.putInt, putLong.
SPRING: Headers = (
    ("kafka_dlt-original-topic", b"bookings"),
    ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
    ("kafka_dlt-original-offset", b"\x00\x00\x00\x01\x00\x00\x00\x04"),
    ("kafka_dlt-original-timestamp", b"\x00\x00\x01\xa1\xed\x00\x00\x00"),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"bookings-app"),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"Listener failed; full"),
    ("kafka_dlt-exception-stacktrace", b"java.lang.IllegalStateException: full\n\tat app.Listener.on(Listener.java:7)\n"),
)


def read(headers: Headers) -> DeadLetter:
    return letter_of(record(headers), PREFIX)


def test_our_own_letter_says_everything_and_has_the_headers_it_came_with() -> None:
    letter = buried(captured(), "bad_time", deaths=3)
    assert letter.address == Address("payments.dlq", 7, 123)
    assert str(letter.address) == "payments.dlq/7@123"
    assert (letter.family, letter.error_class, letter.reason) == ("tally", "rule", "bad_time")
    assert letter.message == "what bad_time means"
    assert letter.source == Source("t.payments", 3, 41)
    assert str(letter.source) == "t.payments/3@41"
    assert (letter.at_ms, letter.attempt, letter.buried_by, letter.cut) == (BURIED_AT_MS, 3, "settlement", "")
    assert letter.headers == ORIGINAL
    assert letter.event == captured()


def test_kafka_streams_letters_give_the_class_of_the_exception_as_reason() -> None:
    letter = read(STREAMS)
    assert (letter.family, letter.error_class, letter.reason) == ("streams", "exception", "StreamsException")
    assert letter.message == "boom: again"
    assert letter.source == Source("clicks", 11, 9007199254740993)
    assert letter.stacktrace.endswith("Join.java:41)\n")
    assert (letter.at_ms, letter.attempt, letter.headers) == (RECORD_AT_MS, 1, ())


@pytest.mark.parametrize(
    ("exception", "reason", "error_class"),
    [
        (b"org.apache.kafka.common.errors.SerializationException", "SerializationException", "undecodable"),
        (b"org.springframework.kafka.support.serializer.DeserializationException: x", "DeserializationException", "undecodable"),
        (b"java.lang.NullPointerException", "NullPointerException", "exception"),
        (b"Unpackaged: why", "Unpackaged", "exception"),
        (b"", "no_reason", "exception"),
        (None, "no_reason", "exception"),
    ],
)
def test_an_exception_is_a_reason_by_its_simple_name(exception: bytes | None, reason: str, error_class: str) -> None:
    letter = read((("__streams.errors.exception", exception), *STREAMS[1:]))
    assert (letter.reason, letter.error_class) == (reason, error_class)


def test_a_null_message_is_no_message() -> None:
    """Java's exceptions may have none; the header is there all the same."""
    assert read((STREAMS[0], ("__streams.errors.message", None), *STREAMS[2:])).message == "no header says why"


def test_kafka_connect_letters_name_the_connector_and_a_converters_are_undecodable() -> None:
    letter = read((*ORIGINAL, *CONNECT))
    assert (letter.family, letter.error_class, letter.reason) == ("connect", "undecodable", "DataException")
    assert letter.message == "Failed to deserialize data for topic invoices: größe"
    assert (letter.buried_by, letter.source) == ("invoices-to-s3", Source("invoices", 0, 17))
    assert letter.headers == ORIGINAL


def test_a_connect_letter_without_exception_gives_its_stage_and_one_without_a_record_no_source() -> None:
    nowhere = (("__connect.errors.topic", b""), ("__connect.errors.partition", b"-1"), ("__connect.errors.offset", b"-1"))
    letter = read((*nowhere, ("__connect.errors.stage", b"TASK_PUT")))
    assert (letter.reason, letter.error_class) == ("TASK_PUT", "exception")
    assert letter.source == Source(None, None, None)
    assert str(letter.source) == "?/?@?"


def test_spring_letters_have_binary_integers_and_name_what_the_listener_wrapped() -> None:
    letter = read((*ORIGINAL, *SPRING))
    assert (letter.family, letter.error_class, letter.reason) == ("spring", "exception", "IllegalStateException")
    assert letter.source == Source("bookings", 2, (1 << 32) + 4)
    assert (letter.message, letter.buried_by) == ("Listener failed; full", "bookings-app")
    assert letter.headers == ORIGINAL


def test_spring_letters_of_keys_and_with_text_numbers_are_read_too() -> None:
    key_died: Headers = (
        ("kafka_dlt-original-topic", b"bookings"),
        ("kafka_dlt-original-partition", b"2"),
        ("kafka_dlt-original-offset", b"47110815"),
        ("kafka_dlt-key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException"),
        ("kafka_dlt-key-exception-message", b"failed to deserialize the key"),
    )
    letter = read(key_died)
    assert letter.source == Source("bookings", 2, 47110815)
    assert (letter.reason, letter.error_class) == ("DeserializationException", "undecodable")
    assert letter.message == "failed to deserialize the key"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (struct.pack(">i", 0), 0),
        (struct.pack(">i", 2**31 - 1), 2**31 - 1),
        (struct.pack(">q", 2**63 - 1), 2**63 - 1),
        (struct.pack(">i", -1), None),
        (struct.pack(">q", -1), None),
        (b"0", 0),
        (b"1234", 1234),
        (b"12345678", 12345678),
        (b"9" * 19, int("9" * 19)),
        (b"9" * 20, None),
        (b"9" * 5_000, None),
        (b"", None),
        (b"12 ", None),
        (b"\x00\x01", None),
        ("²".encode(), None),
        (None, None),
    ],
)
def test_numbers_are_javas_integers_or_digits_and_never_negative(value: bytes | None, number: int | None) -> None:
    assert read((("kafka_dlt-original-topic", b"x"), ("kafka_dlt-original-offset", value))).source.offset == number


def test_of_several_families_the_last_to_be_written_speaks() -> None:
    ours = buried().record.headers
    assert read((*SPRING, *CONNECT)).family == "connect"
    assert read((*CONNECT, *SPRING)).family == "spring"
    assert read((*CONNECT, *SPRING, *STREAMS)).family == "streams"
    assert read((*STREAMS, *ours)).family == "tally"
    assert read((*SPRING, *ours)).source.topic == "t.payments"
    died_elsewhere_later = read((*ours, *STREAMS))
    assert died_elsewhere_later.family == "streams"
    assert died_elsewhere_later.source.topic == "clicks", "of headers with one name the last counts"


def test_what_a_producer_forged_is_outvoted_by_the_burial_itself() -> None:
    forged: Headers = (
        ("__tally.errors.reason", b"forged"),
        ("__tally.errors.attempt", b"x"),
        ("kafka_dlt-original-topic", b"secret"),
    )
    letter = buried(original=forged)
    assert (letter.family, letter.reason, letter.attempt, letter.source.topic) == (
        "tally",
        "amount_not_positive",
        1,
        "t.payments",
    )
    assert letter.headers == ()


def test_another_burier_does_not_count_deaths_so_the_count_that_was_sent_along_is_one_behind() -> None:
    assert read(SPRING).attempt == 1
    assert read((("__tally.errors.attempt", b"1"), *SPRING)).attempt == 2
    assert read((("__tally.errors.attempt", b"4"), *CONNECT)).attempt == 5


def test_a_record_without_any_error_header_is_a_letter_of_unknown_reason() -> None:
    letter = read((("trace", b"1"),))
    assert (letter.family, letter.error_class, letter.reason, letter.message) == (
        "none",
        "unknown",
        "no_reason",
        "no header says why",
    )
    assert isinstance(letter.event, Undecodable)


def test_garbage_in_every_header_is_still_a_letter() -> None:
    for name, _ in (*buried().record.headers, *CONNECT, *SPRING):
        for value in (b"\xff\xfe\x00", b"", None, b"-1", b"\x1b[31m"):
            read(((name, value),))


def test_the_digest_stands_for_key_value_and_headers() -> None:
    letter = buried()
    assert letter.digest == buried().digest
    assert len(letter.digest) == 16
    others = {
        buried(key=None).digest,
        buried(key=b"").digest,
        buried(deaths=2).digest,
        buried(original=()).digest,
        buried(b"x").digest,
    }
    assert len(others | {letter.digest}) == 6
    assert replace(letter, record=letter.record._replace(timestamp_ms=0)).digest == letter.digest


@pytest.mark.parametrize(
    "text", ["", "orders.dlq", "orders.dlq/7", "orders.dlq/7@", "/7@1", "a b/7@1", "orders.dlq/-1@1", "x/1@²", "x/1@1\n"]
)
def test_what_is_no_address_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(RefusedError, match=r"write it as orders.dlq/7@123"):
        parse_address(text)


def test_an_address_is_read_as_it_is_shown() -> None:
    assert parse_address(str(buried().address)) == buried().address
    assert parse_address("my_app-DLT.1/0@0") == Address("my_app-DLT.1", 0, 0)


def test_only_topics_of_the_deployment_lose_its_prefix() -> None:
    assert short_name("t.orders.dlq", "t.") == "orders.dlq"
    assert short_name("orders.dlq", "t.") == "orders.dlq"
    assert short_name("t.others", "t.") == "t.others"
    assert short_name("orders.dlq", "") == "orders.dlq"


def cut(value: bytes) -> DeadLetter:
    cause = Cause("undecodable", "no_magic_byte", "not 00")
    whole = dead_letter_headers(
        cause, topic="t.orders", partition=0, offset=5, agent="settlement", at_ms=1, original=[("trace", b"?" * 3_000)]
    )
    key, kept, headers = cut_to_fit(b"o-1", value, whole, 4_000)
    return letter_of(record(tuple(headers), key=key, value=kept), PREFIX)


def test_a_cut_letter_gets_the_whole_of_what_died_and_keeps_why() -> None:
    value = bytes(range(256)) * 40
    letter = cut(value)
    assert letter.cut
    assert letter.headers == ()
    source = record(
        (("trace", b"?" * 3_000), ("__tally.errors.attempt", b"1")), topic="t.orders", partition=0, offset=5, value=value
    )
    whole = made_whole(letter, source)
    assert (whole.record.value, whole.record.key, whole.headers) == (value, b"o-1", (("trace", b"?" * 3_000),))
    assert (whole.reason, whole.address, whole.cut) == (letter.reason, letter.address, "")


@pytest.mark.parametrize("what", ["gone", "another time", "another value"])
def test_a_cut_letter_whose_source_has_it_no_longer_is_refused(what: str) -> None:
    letter = cut(b"a" * 10_000)
    source = record(value=b"a" * 10_000)
    found = {"gone": None, "another time": source._replace(timestamp_ms=1), "another value": source._replace(value=b"b" * 10_000)}
    with pytest.raises(RefusedError, match=r"kept .* of 10,000 bytes .* t.orders/0@5 no longer has the whole: ask the producer"):
        made_whole(letter, found[what])
