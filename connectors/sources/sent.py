"""What a plan is made of: records to send, each with what a right consumer does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from schemas.topics import Topic


class Applied(Struct, frozen=True):
    """The record changes totals, at once or when what it waits for comes."""


class Late(Struct, frozen=True):
    """Applied, but so late that what it moves is in no window: rows on ``revenue-adjustments``, with reason late."""


class Duplicate(Struct, frozen=True):
    """The record repeats an earlier one and changes nothing; ``other_content``: under its event id, with other content."""

    other_content: bool = False


class Dead(Struct, frozen=True):
    """The record becomes a dead letter of this class and reason."""

    error_class: Literal["undecodable", "envelope", "rule"]
    reason: str


class DeadOrUnmatched(Struct, frozen=True):
    """Dead when its order came first, else applied and later a row on ``unmatched-payments``: a race of two topics."""

    reason: str


class Unmatched(Struct, frozen=True):
    """Applied, and later a row on ``unmatched-payments`` with this reason."""

    reason: str


Expectation: TypeAlias = Applied | Late | Duplicate | Dead | DeadOrUnmatched | Unmatched
APPLIED: Final = Applied()
LATE: Final = Late()
DUPLICATE: Final = Duplicate()
OTHER_CONTENT: Final = Duplicate(other_content=True)


class Sent(Struct, frozen=True, gc=False):
    """One record to send, and what is to become of it; ``partition`` None lets its key decide."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    expected: Expectation
    partition: int | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that is sent, in sending order."""

    seed: int
    start_ms: int
    sent: list[Sent]
