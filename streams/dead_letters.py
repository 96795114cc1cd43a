"""Dead letters: what could not be processed, as it came, with headers that say why. Pure.

Headers follow KIP-1034 (``__streams.errors.*``), so that tools for Kafka Streams read them; what
that lacks is in ``__tally.errors.*``. All values are UTF-8 text.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

MAX_STACKTRACE_CHARACTERS = 8_192
"""So that a dead letter always fits its topic, which takes one mebibyte more than its input."""

MAX_MESSAGE_CHARACTERS = 2_048
"""Of the sentence; an exception may quote the whole record."""

MAX_CUT_NOTE_BYTES = 400
"""Of the header that says what was cut: six numbers and its words."""

Headers = list[tuple[str, bytes | None]]
_ATTEMPT = "__tally.errors.attempt"
_CUT = "__tally.errors.cut"
_OURS = ("__streams.errors.", "__tally.errors.")


@dataclass(frozen=True)
class Cause:
    """Why a record is buried: ``reason`` in one word, ``message`` a sentence.

    ``error_class`` is undecodable, envelope, rule or exception. It says of an exception what a dead letter says, and does not
    hold it: its traceback leads to frames, these to the batch, and the batch to this, so that all messages of the epoch would
    stay in memory until the collector of cycles comes by, which is rarely.
    """

    error_class: str
    reason: str
    message: str
    exception: str = ""
    stacktrace: str = ""

    @classmethod
    def raised(cls, error: Exception) -> Cause:
        """Give why a record is buried that a rule could not decide; the trace ends where it was raised."""
        name = type(error).__name__
        trace = "".join(traceback.format_exception(error))[-MAX_STACKTRACE_CHARACTERS:]
        return cls("exception", name, f"decide raised {name}: {error}", type(error).__qualname__, trace)


def dead_letter_headers(
    cause: Cause,
    *,
    topic: str,
    partition: int,
    offset: int,
    agent: str,
    at_ms: int,
    original: Headers | None,
) -> Headers:
    """Give the headers of a dead letter: the original ones first, then ours, renewed if it died before."""
    kept = [header for header in original or [] if not header[0].startswith(_OURS)]
    attempts = [value for name, value in original or [] if name == _ATTEMPT]
    ours = {
        "__streams.errors.exception": cause.exception or cause.reason,
        "__streams.errors.message": cause.message[:MAX_MESSAGE_CHARACTERS],
        "__streams.errors.stacktrace": cause.stacktrace,
        "__streams.errors.topic": topic,
        "__streams.errors.partition": str(partition),
        "__streams.errors.offset": str(offset),
        "__tally.errors.class": cause.error_class,
        "__tally.errors.reason": cause.reason,
        "__tally.errors.at": str(at_ms),
        _ATTEMPT: str(_number(attempts[-1]) + 1 if attempts else 1),
        "__tally.errors.agent": agent,
    }
    return kept + [(name, text.encode("utf-8", "replace")) for name, text in ours.items()]


def cut_to_fit(
    key: bytes | None, value: bytes | None, headers: Headers, limit_bytes: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Give key, value and headers within ``limit_bytes``; what had to go is said in ``__tally.errors.cut``.

    An input's limit is on compressed batches, so a record may come that is larger than any topic takes by itself. It must
    not stop its task: the whole of it stands where the headers say, as long as the input keeps it.
    """
    size = len(key or b"") + len(value or b"") + headers_bytes(headers)
    if size <= limit_bytes:
        return key, value, headers
    ours = [header for header in headers if header[0].startswith(_OURS)]
    theirs = headers[: len(headers) - len(ours)]
    room = limit_bytes - headers_bytes(ours) - MAX_CUT_NOTE_BYTES
    if len(key or b"") + headers_bytes(theirs) > room // 2:
        theirs = []
    kept_key = key and key[: room // 2]
    kept_value = value and value[: room - len(kept_key or b"") - headers_bytes(theirs)]
    note = (
        f"kept {len(kept_value or b''):,} of {len(value or b''):,} bytes of the value, {len(kept_key or b''):,} of "
        f"{len(key or b''):,} of the key, {len(theirs)} of {len(headers) - len(ours)} headers; the whole stands on its topic"
    )
    return kept_key, kept_value, [*theirs, *ours, (_CUT, note.encode())]


def headers_bytes(headers: Headers) -> int:
    """Give what headers take in a record, without their lengths (a few bytes each)."""
    return sum(len(name.encode()) + len(value or b"") for name, value in headers)


def _number(value: bytes | None) -> int:
    """Read an attempt count; a header that somebody else wrote into counts as none."""
    return int(value) if value and value.isdigit() and len(value) < 10 else 0  # noqa: PLR2004 - fits any int header
