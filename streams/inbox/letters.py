"""One view of a dead letter, whoever buried it: we, Kafka Streams, Kafka Connect or Spring. Pure.

Who buries a record appends headers, so of several families on one record **the one that stands last speaks**: it tells
of the newest death. What a producer wrote under such names stands before that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

from connectors.reader import ReadRecord
from schemas.codec import Undecodable, decode
from schemas.events import Record
from schemas.topics import BY_NAME
from schemas.wire import FIXED, ID_HEADER, Wire
from streams.errors import RefusedError

TALLY, STREAMS, CONNECT, SPRING = "__tally.errors.", "__streams.errors.", "__connect.errors.", "kafka_dlt-"
ERROR_PREFIXES = (TALLY, STREAMS, CONNECT, SPRING)
ATTEMPT = f"{TALLY}attempt"
NO_REASON = "no_reason"
"""Of a record without any error header that we know."""
DIGITS_MAX = 19
"""Of a number in a header; more do not fit the 64 bits of an offset."""

Headers = tuple[tuple[str, bytes | None], ...]
_ADDRESS = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})@(?P<offset>\d{1,18})")


class Address(NamedTuple):
    """Where a letter stands, as ``orders.dlq/7@123``; a declared topic is named without the deployment's prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Source(NamedTuple):
    """Where a record was read that died; parts that no header told are None. ``topic`` is the full name."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        shown = ["?" if part is None else str(part) for part in self]
        return f"{shown[0]}/{shown[1]}@{shown[2]}"


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter.

    ``family`` names whose headers speak: tally, streams, connect, spring or none. ``error_class`` is undecodable, envelope,
    rule, exception or unknown; ``buried_by`` our agent, the connector or the consumer group. ``at_ms`` is the time of
    burial where the family tells it, else that of the record. ``attempt`` counts the deaths. ``cut`` says what is
    missing. ``headers`` are those that the record had, without those of any family. ``wire`` says what schema ids mean.
    """

    address: Address
    record: ReadRecord
    family: str
    error_class: str
    reason: str
    message: str
    stacktrace: str
    buried_by: str
    source: Source
    at_ms: int
    attempt: int
    cut: str
    headers: Headers
    wire: Wire = FIXED

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that stand for the letter's content."""
        state = blake2b(digest_size=8)
        parts = [
            self.record.key,
            self.record.value,
            *(part for name, value in self.record.headers for part in (name.encode(), value)),
        ]
        for part in parts:
            state.update(b"\0" if part is None else len(part).to_bytes(5, "big") + part)
        return state.hexdigest()

    @cached_property
    def event(self) -> Record | Undecodable:
        """The record inside, or why there is none."""
        try:
            return decode(self.record.value, self.wire, dict(self.headers).get(ID_HEADER) if self.wire.by_registry else None)
        except Undecodable as error:
            return error


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        RefusedError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise RefusedError(f"{text} is no letter's address: write it as orders.dlq/7@123, as `tally dlq list --each` shows it")
    return Address(found["topic"], int(found["partition"]), int(found["offset"]))


def letter_of(record: ReadRecord, prefix: str, wire: Wire = FIXED) -> DeadLetter:
    """Give what a record of a dead-letter topic says; ``prefix`` is the deployment's, ``wire`` knows its schema id."""
    name, said = _speaker(record.headers)
    last = dict(record.headers)
    attempts = _number(last.get(ATTEMPT)) or 0
    return DeadLetter(
        address=Address(short_name(record.topic, prefix), record.partition, record.offset),
        record=record,
        family=name,
        error_class=said.error_class,
        reason=said.reason or NO_REASON,
        message=said.message or "no header says why",
        stacktrace=said.stacktrace,
        buried_by=said.buried_by,
        source=said.source,
        at_ms=record.timestamp_ms if said.at_ms is None else said.at_ms,
        attempt=max(attempts if name == "tally" else attempts + 1, 1),
        cut=said.cut,
        headers=tuple(header for header in record.headers if not header[0].startswith(ERROR_PREFIXES)),
        wire=wire,
    )


def made_whole(letter: DeadLetter, source: ReadRecord | None, wire: Wire = FIXED) -> DeadLetter:
    """Give a cut letter with the key, value and headers of the record that died.

    Raises:
        RefusedError: the record is not there any more, or another one is.
    """
    kept = letter.record
    if source is None or source.timestamp_ms != kept.timestamp_ms or not (source.value or b"").startswith(kept.value or b""):
        raise RefusedError(
            f"{letter.address} was cut when it was buried ({letter.cut}), and {letter.source} no longer has the whole: "
            "ask the producer to send it again, and park this one"
        )
    headers = tuple(header for header in source.headers if not header[0].startswith(ERROR_PREFIXES))
    whole = kept._replace(key=source.key, value=source.value)
    return replace(letter, record=whole, headers=headers, cut="", wire=wire)


def short_name(topic: str, prefix: str) -> str:
    """Give a topic's name without the deployment's prefix if it is one of the deployment's."""
    name = topic.removeprefix(prefix)
    return name if topic.startswith(prefix) and name in BY_NAME else topic


# The families. Each reads the last value of a header, as Kafka's own ``lastHeader`` does.


class _Said(NamedTuple):
    """What one family says."""

    error_class: str = "unknown"
    reason: str = ""
    message: str = ""
    stacktrace: str = ""
    buried_by: str = ""
    source: Source = Source()
    at_ms: int | None = None
    cut: str = ""


_Values = Mapping[str, bytes | None]


def _tally(values: _Values) -> _Said:
    return _Said(
        error_class=_text(values.get(f"{TALLY}class")) or "unknown",
        reason=_text(values.get(f"{TALLY}reason")),
        message=_text(values.get(f"{STREAMS}message")),
        stacktrace=_text(values.get(f"{STREAMS}stacktrace")),
        buried_by=_text(values.get(f"{TALLY}agent")),
        source=_source(values, STREAMS),
        at_ms=_number(values.get(f"{TALLY}at")),
        cut=_text(values.get(f"{TALLY}cut")),
    )


def _streams(values: _Values) -> _Said:
    """KIP-1034: all text; ``exception`` is the class, or Java's ``toString`` of it: class, colon, message."""
    name = _text(values.get(f"{STREAMS}exception")).partition(":")[0]
    return _exception(name, values, STREAMS, "message", "stacktrace")


def _connect(values: _Values) -> _Said:
    """KIP-298: all text. A converter's stage means that the bytes could not be read."""
    said = _exception(
        _text(values.get(f"{CONNECT}exception.class.name")), values, CONNECT, "exception.message", "exception.stacktrace"
    )
    stage = _text(values.get(f"{CONNECT}stage"))
    if stage.endswith("_CONVERTER"):
        said = said._replace(error_class="undecodable")
    return said._replace(buried_by=_text(values.get(f"{CONNECT}connector.name")), reason=said.reason or stage)


def _spring(values: _Values) -> _Said:
    """Spring's ``DeadLetterPublishingRecoverer``: numbers are big-endian integers, in some set-ups text."""
    for kind in ("", "key-"):
        name, cause = (_text(values.get(f"{SPRING}{kind}exception-{which}fqcn")) for which in ("", "cause-"))
        if not name:
            continue
        # The listener's wrapper says nothing; what it wraps does.
        name = cause if cause and name.endswith("ListenerExecutionFailedException") else name
        said = _exception(name, values, SPRING, f"{kind}exception-message", f"{kind}exception-stacktrace")
        break
    else:
        said = _Said("exception")
    source = _source(values, f"{SPRING}original-")
    return said._replace(source=source, buried_by=_text(values.get(f"{SPRING}original-consumer-group")))


class _Family(NamedTuple):
    """Its name, how its headers begin, and how they are read."""

    name: str
    begins: str
    read: Callable[[_Values], _Said]


_FAMILIES = (
    _Family("tally", f"{TALLY}reason", _tally),  # holds __streams.errors.* too, and ends with its own
    _Family("streams", STREAMS, _streams),
    _Family("connect", CONNECT, _connect),
    _Family("spring", SPRING, _spring),
)


def _speaker(headers: Headers) -> tuple[str, _Said]:
    """Give the family that stands last, and what it says."""

    def place(family: _Family) -> int:
        return max((number for number, (name, _) in enumerate(headers) if name.startswith(family.begins)), default=-1)

    last = max(_FAMILIES, key=place)
    return (last.name, last.read(dict(headers))) if place(last) >= 0 else ("none", _Said())


def _exception(class_name: str, values: _Values, prefix: str, message: str, stacktrace: str) -> _Said:
    reason = class_name.strip().rpartition(".")[2]
    return _Said(
        error_class="undecodable" if reason.lower().endswith("serializationexception") else "exception",
        reason=reason,
        message=_text(values.get(prefix + message)),
        stacktrace=_text(values.get(prefix + stacktrace)),
        source=_source(values, prefix),
    )


def _source(values: _Values, prefix: str) -> Source:
    topic = _text(values.get(f"{prefix}topic"))
    return Source(topic or None, _number(values.get(f"{prefix}partition")), _number(values.get(f"{prefix}offset")))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def _number(value: bytes | None) -> int | None:
    """Read a number that is not negative: digits, or Java's int or long; None for all else.

    Digits come first: as a big-endian int they would be a partition above 800 million.
    """
    if value is None:
        return None
    if value.isdigit():
        return int(value) if len(value) <= DIGITS_MAX else None
    number = int.from_bytes(value, "big", signed=True) if len(value) in {4, 8} else -1
    return number if number >= 0 else None
