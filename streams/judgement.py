"""Whether a task goes on or is paused: how many of its last records became dead letters. Pure; the marker carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

WINDOW_RECORDS = 1_000
"""How far back a task is judged: more than what one bad producer sends in a burst, less than a second at full rate.

No setting: the window stands in markers, and whoever owns the task next must read it as it was written.
"""

REASONS_SAID = 3
"""Reasons of dead letters that the sentence of a pause names; a wrong deployment has one."""

_MASK = (1 << WINDOW_RECORDS) - 1
_TO_DIGITS = bytes.maketrans(b"\0\1", b"01")
_FROM_DIGITS = bytes.maketrans(b"01", b"\0\1")


@dataclass(frozen=True)
class Probe:
    """A number of records that are processed whatever comes of them; then the task is judged by these."""

    records: int
    left: int
    dead: int = 0


@dataclass(frozen=True)
class Judgement:
    """How a task stands. It moves with the task, so that neither a restart nor a new owner forgets anything.

    ``recent`` has one bit for each of the last :data:`WINDOW_RECORDS` records, the newest lowest, 1 for a dead letter; records
    that are still to come are 0. ``paused`` says why the task rests, empty while it runs.

    Outcomes are given as one byte per record, in order: 1 for a dead letter, 0 for everything else.
    """

    recent: int = 0
    paused: str = ""
    probe: Probe | None = None

    @property
    def recent_dead(self) -> int:
        """Dead letters among the last records."""
        return self.recent.bit_count()

    def crosses(self, outcomes: bytes, dead_max: int) -> bool:
        """Tell whether there is a record at which more than ``dead_max`` of the last ones are dead.

        It is asked at every record, so the answer does not depend on how the records are cut into epochs.
        """
        dead = self.recent_dead
        if self.probe is not None or dead + outcomes.count(1) <= dead_max:
            return False
        window = f"{self.recent:0{WINDOW_RECORDS}b}".encode().translate(_FROM_DIGITS) + outcomes
        for entering, leaving in zip(outcomes, window, strict=False):
            dead += entering - leaving
            if dead > dead_max:
                return True
        return False

    def after(self, outcomes: bytes, reasons: Mapping[str, int]) -> Judgement:
        """Give the judgement once these records are committed; ``reasons`` counts their dead letters by reason.

        A probe that ends is judged by its own records; what comes after it is judged afresh.
        """
        if self.probe is not None:
            probe = replace(self.probe, left=self.probe.left - len(outcomes), dead=self.probe.dead + outcomes.count(1))
            if probe.left > 0:
                return replace(self, probe=probe)
            if 2 * probe.dead > probe.records:
                said = f"{probe.dead:,} of the {probe.records:,} probed records are dead letters{_said(reasons)}"
                return Judgement(paused=said)
            return FRESH
        added = int(outcomes[-WINDOW_RECORDS:].translate(_TO_DIGITS), 2) if 1 in outcomes else 0
        return replace(self, recent=(self.recent << min(len(outcomes), WINDOW_RECORDS) | added) & _MASK)


FRESH = Judgement()
"""Of a task of which nothing is known yet, or to be held against it any more."""


def why_crossed(dead_max: int, reasons: Mapping[str, int]) -> str:
    """Give the sentence of the pause; ``reasons`` counts the dead letters of the epoch that is not committed."""
    return (
        f"more than {dead_max:,} of its last {WINDOW_RECORDS:,} records are dead letters{_said(reasons)}; "
        "the records at which that was so are not committed and wait in the input"
    )


def to_bytes(recent: int) -> bytes:
    """Give the window as a marker carries it: as short as it can be, nothing if no record died."""
    return recent.to_bytes((recent.bit_length() + 7) // 8)


def from_bytes(recent: bytes) -> int:
    """Give the window of a marker."""
    return int.from_bytes(recent)


def _said(reasons: Mapping[str, int]) -> str:
    """Name the most frequent reasons, in brackets."""
    most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:REASONS_SAID]
    return f" (lately {', '.join(f'{reason} {count:,}' for reason, count in most)})" if most else ""
