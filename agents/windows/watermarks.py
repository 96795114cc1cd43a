"""How far the sources of a stage are in event time, and what is too late for its windows by that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from agents.flows import FLOW_NAMED, MINUTE_MS, Movement, adjustment
from agents.outcomes import Decision
from agents.ports import Limits, TableSpec
from schemas.aggregates import RevenueAdjustment
from schemas.events import Deltas, Source


class Heard(Struct, frozen=True, array_like=True):
    """What one source said last: its watermark, whether it is idle, and in which of its epochs."""

    watermark_ms: int
    idle: bool
    epoch: int


class Sources(Struct, frozen=True, array_like=True):
    """All sources of one task, by number; None: not heard of yet. ``watermark_ms`` never goes back."""

    heard: tuple[Heard | None, ...]
    watermark_ms: int = 0

    def hearing(self, said: Iterable[Source]) -> Sources:
        """Give the sources after what was said."""
        heard = list(self.heard)
        for source in said:
            heard[source.partition] = Heard(source.watermark_ms, source.idle, source.epoch)
        return Sources(tuple(heard), max(self.watermark_ms, _reached_ms(heard)))


KEY = b"sources"


def watermarks_of(stage: str) -> TableSpec[Sources]:
    """Declare a stage's table of sources: one row per task, under :data:`KEY`."""
    return TableSpec(f"{stage}_watermarks", Sources)


def hear(sources: Sources | None, deltas: Deltas, sources_count: int, limits: Limits) -> Decision[Sources]:
    """Give how far the sources are after ``deltas``; outputs are its movements, or adjustments where the minute is over."""
    before = sources or Sources((None,) * sources_count)
    over_ms = before.watermark_ms - limits.grace_ms - MINUTE_MS
    outputs: list[Movement | RevenueAdjustment] = []
    for part in deltas.flows:
        flow = FLOW_NAMED[part.flow]
        for cell in part.cells:
            movement = Movement(flow, cell.dimensions, cell.minute_ms, cell.amounts)
            outputs.append(movement if cell.minute_ms > over_ms else adjustment(movement, "final"))
    return Decision(before.hearing(deltas.sources), tuple(outputs))


def _reached_ms(heard: Sequence[Heard | None]) -> int:
    """The least of all that are not idle: who is idle holds nobody back. While all are, the least of all, which ticks move."""
    known = [source for source in heard if source is not None]
    if len(known) < len(heard):
        return 0
    return min([source.watermark_ms for source in known if not source.idle] or [source.watermark_ms for source in known])
