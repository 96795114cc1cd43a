"""What a decision can be. A consumed record is applied, a duplicate or rejected; there is no fourth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Decision(Generic[S_co]):
    """Applied: the state after the event, and what is said about it (in the terms of the agent)."""

    state: S_co
    outputs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Seen before: dropped and counted; ``other_content``: under an id that came with other content, counted apart."""

    other_content: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Breaks the rule named ``reason``: a dead letter that leaves no trace in the state."""

    reason: str
    detail: str


DUPLICATE = Duplicate()
OTHER_CONTENT = Duplicate(other_content=True)
