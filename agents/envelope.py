"""What a record must say about the event inside it, asked before any rule book. Pure.

A record on a partition that is not its key's would be decided by a task that knows nothing of its
order: a repeat would be booked as new. So it is never applied there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from agents.outcomes import Rejected


class Envelope(NamedTuple):
    """Where and when a record stands, and where it should: key, partition, and the broker's time of its arrival.

    ``key_wanted`` is the order_id inside, as bytes; ``partition_wanted`` what murmur2 gives it.
    """

    key: bytes | None
    key_wanted: bytes
    partition: int
    partition_wanted: int
    appended_at_ms: int
    future_max_ms: int


class EnvelopeRule(NamedTuple):
    """One reason to reject, and how it is recognised."""

    reason: str
    meaning: str
    is_broken: Callable[[Envelope, Any], bool]


def _key_missing(envelope: Envelope, _: Any) -> bool:
    return envelope.key is None


def _key_mismatch(envelope: Envelope, _: Any) -> bool:
    return envelope.key != envelope.key_wanted


def _misrouted(envelope: Envelope, _: Any) -> bool:
    return envelope.partition != envelope.partition_wanted


def _from_the_future(envelope: Envelope, event: Any) -> bool:
    ahead_ms: int = event.occurred_at_ms - envelope.appended_at_ms
    return ahead_ms > envelope.future_max_ms


ENVELOPE_RULES: tuple[EnvelopeRule, ...] = (
    EnvelopeRule("key_missing", "the record has no key", _key_missing),
    EnvelopeRule("key_mismatch", "the key is not the order_id inside", _key_mismatch),
    EnvelopeRule("misrouted", "the record is not on the partition that murmur2 gives its key", _misrouted),
    EnvelopeRule("from_the_future", "occurred_at is further ahead of the record's arrival than clocks differ", _from_the_future),
)
"""In the order in which they are asked; the first that is broken names the reason."""


def refusal(envelope: Envelope, event: Any) -> Rejected | None:
    """Give the first rule that the record breaks; None when it may be decided."""
    for rule in ENVELOPE_RULES:
        if rule.is_broken(envelope, event):
            return Rejected(rule.reason, rule.meaning)
    return None
