"""Dead letters by hand, as each burier leaves them."""

from __future__ import annotations

from connectors.reader import ReadRecord
from schemas.codec import encode
from schemas.events import Record
from streams.dead_letters import Cause, dead_letter_headers
from streams.inbox.letters import DeadLetter, letter_of
from tests.unit.orders import captured

PREFIX = "t."
RECORD_AT_MS = 1_795_000_000_000
BURIED_AT_MS = 1_795_000_000_500
Headers = tuple[tuple[str, bytes | None], ...]
ORIGINAL: Headers = (("trace", b"\xff\x00"), ("trace", b"2"), ("nothing", None))


def record(
    headers: Headers = (),
    *,
    topic: str = "t.payments.dlq",
    partition: int = 7,
    offset: int = 123,
    key: bytes | None = b"o-1",
    value: bytes | None = b"not Avro",
) -> ReadRecord:
    return ReadRecord(topic, partition, offset, RECORD_AT_MS, key, value, headers)


def buried(
    event: Record | bytes | None = None,
    reason: str = "amount_not_positive",
    *,
    error_class: str = "rule",
    source: str = "t.payments",
    source_partition: int = 3,
    deaths: int = 1,
    key: bytes | None = b"o-1",
    original: Headers = ORIGINAL,
    offset: int = 123,
    topic: str = "t.payments.dlq",
) -> DeadLetter:
    """Give a letter of ours; it holds ``event``, or these bytes, or a capture."""
    value = event if isinstance(event, bytes) else encode(event or captured())
    cause = Cause(error_class, reason, f"what {reason} means")
    headers = list(original)
    for _ in range(deaths):
        headers = dead_letter_headers(
            cause, topic=source, partition=source_partition, offset=41, agent="settlement", at_ms=BURIED_AT_MS, original=headers
        )
    return letter_of(record(tuple(headers), key=key, value=value, offset=offset, topic=topic), PREFIX)
