"""How an aggregate is declared: what it sums, by what, over which stretch of time, and what its rows say. Pure.

::

    Window(REVENUE_BY_MERCHANT_1H, of=MONEY, by=("merchant_id", "currency"), size_ms=HOUR_MS, measures=with_net)

How long its rows are kept is the topic's to say. A row has the dimensions, begin and end of the window, its status
and revision, and then the fields that ``measures`` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import add
from typing import Any, NamedTuple

from msgspec import Struct

from agents.flows import MINUTE_MS, Flow
from agents.ports import Limits, TableSpec
from schemas.topics import Topic

HOUR_MS, DAY_MS = 60 * MINUTE_MS, 24 * 60 * MINUTE_MS


class Sums(Struct, frozen=True, array_like=True):
    """State of a window: the sums of the measures. ``revision`` counts its changes."""

    revision: int
    held: tuple[int, ...]


class Counts(Struct, frozen=True, array_like=True):
    """State of a window that keeps numbered things apart: how often each came."""

    revision: int
    held: dict[int, int]


class Ranks(Struct, frozen=True, array_like=True):
    """State of a window that ranks: ``(name, sums)``, the best first."""

    revision: int
    held: tuple[tuple[str, tuple[int, ...]], ...]


class Adding(NamedTuple):
    """How a window adds: the type of its state, what one cell holds, and two holdings together, the later one second."""

    row: type[Any]
    of: Callable[[tuple[str, ...], tuple[int, ...]], Any]
    add: Callable[[Any, Any], Any]


SUMS = Adding(Sums, lambda _, amounts: amounts, lambda held, more: tuple(map(add, held, more)))
COUNTS = Adding(
    Counts,
    lambda dimensions, amounts: {int(dimensions[-1]): amounts[0]},
    lambda held, more: {number: held.get(number, 0) + more.get(number, 0) for number in held | more},
)


def best(size: int, place: int) -> Adding:
    """Rank by the measure at ``place``, of equal ones by name; as sums only grow, the ``size`` best are all that is needed."""

    def rank(held: dict[str, tuple[int, ...]]) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return tuple(sorted(held.items(), key=lambda item: (-item[1][place], item[0]))[:size])

    return Adding(
        Ranks,
        lambda dimensions, sums: ((dimensions[-1], sums),),
        lambda held, more: rank(dict(held) | dict(more)),
    )


def _as_held(held: Any, _: Limits) -> tuple[Any, ...]:
    return tuple(held)


def _always(_held: Any, _limits: Limits) -> bool:
    return True


@dataclass(frozen=True, eq=False)
class Window:
    """An aggregate. It adds up a flow, or is told the sums of another window when they change.

    ``by`` are the leading dimensions that it keeps. Windows of ``size_ms`` follow each other, or begin every ``hop_ms``.
    ``shows`` says of which windows there are rows; once it says yes, it must go on saying so.
    """

    topic: Topic
    of: Flow | Window
    by: tuple[str, ...]
    size_ms: int
    hop_ms: int = 0
    adding: Adding = SUMS
    measures: Callable[[Any, Limits], tuple[Any, ...]] = _as_held
    shows: Callable[[Any, Limits], bool] = _always

    @cached_property
    def table(self) -> TableSpec[Any]:
        """The table of its open windows."""
        return TableSpec(self.topic.name.replace("-", "_"), self.adding.row)

    def starts_ms(self, time_ms: int) -> range:
        """Give the begin of every window that has the time in it, the newest first."""
        hop_ms = self.hop_ms or self.size_ms
        newest_ms = time_ms - time_ms % hop_ms
        return range(newest_ms, newest_ms - self.size_ms, -hop_ms)

    def row(self, dimensions: tuple[str, ...], start_ms: int, status: str, state: Any, limits: Limits) -> Any:
        """Give the record that shows the window."""
        record: Callable[..., Any] = self.topic.values[0]
        shown = self.measures(state.held, limits)
        return record(*dimensions, start_ms, start_ms + self.size_ms, status, state.revision, *shown)
