"""Replaying many letters: what is to be done about each, in batches, at a pace, until somebody says stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event as Flag
from typing import NamedTuple

from schemas.events import DeadLetterDone
from schemas.topics import MAX_INPUT_BYTES
from streams.errors import RefusedError
from streams.inbox.desk import Act, Desk, NotTakenError, done_about
from streams.inbox.letters import DeadLetter
from streams.inbox.mailbox import Mailbox
from streams.inbox.routes import Routes

ATTEMPTS_MAX = 5
"""Deaths after which a letter is parked instead of sent once more."""
BATCH_RECORDS_MAX = 100
"""Of one transaction: so much is at stake when one of them is refused."""


class Left(NamedTuple):
    """A letter that nothing is done about, and why; ``refused``: something would have been done if it could."""

    letter: DeadLetter
    why: str
    refused: bool = False


@dataclass(frozen=True)
class Replay:
    """How letters are replayed. ``named``: a person named each one, so a parked one is meant too."""

    mailbox: Mailbox
    routes: Routes
    attempts_max: int = ATTEMPTS_MAX
    because: str = ""
    named: bool = False

    def step(self, letter: DeadLetter, done: Mapping[str, DeadLetterDone]) -> Act | Left:
        """Say what is to be done about one letter; only a cut one costs a look into its source."""
        note = done_about(letter, done)
        if note is not None and (note.action != "parked" or not self.named):
            return Left(letter, said_of(note))
        if letter.attempt >= self.attempts_max:
            return Act(letter, "parked", because=self.because or f"died {letter.attempt} times")
        try:
            sent = self.routes.back(self.mailbox.whole(letter))
        except RefusedError as error:
            return Left(letter, str(error), refused=True)
        return Act(letter, "replayed", sent, self.because)

    def steps(self, letters: Iterable[DeadLetter], done: Mapping[str, DeadLetterDone]) -> Iterator[Act | Left]:
        """Give the step of each letter, once for each address; what is done already is told only of letters that were named."""
        seen = set()
        for letter in letters:
            if letter.address in seen:
                continue
            seen.add(letter.address)
            step = self.step(letter, done)
            if self.named or isinstance(step, Act) or step.refused:
                yield step


def said_of(note: DeadLetterDone) -> str:
    """Say what was done, as a clause: ``was replayed to orders/7@12 by ada``."""
    where = f" to {note.went_to}" if note.went_to else ""
    because = f", because {note.because}" if note.because else ""
    return f"was {note.action}{where} by {note.by}{because}"


def carry_out(
    steps: Iterable[Act | Left],
    desk: Desk,
    rate_per_s: float,
    stop: Flag,
    on_done: Callable[[list[Act | Left]], None] = lambda _: None,
) -> Counter[str]:
    """Do all acts, ``rate_per_s`` a second; give how many letters were replayed, parked or left.

    ``stop`` is looked at between two batches; ``on_done`` is called after each.

    Raises:
        ClusterError, InboxTakenError: what was done until then is done and noted.
    """
    counts: Counter[str] = Counter()
    began_s, done_count = time.monotonic(), 0
    for batch in _batches(steps, max(1, min(BATCH_RECORDS_MAX, int(rate_per_s)))):
        if stop.wait(max(0.0, began_s + done_count / rate_per_s - time.monotonic())):
            break
        carried = _carried(batch, desk)
        counts.update(step.action if isinstance(step, Act) else "left" for step in carried)
        done_count += len(batch)
        on_done(carried)
    return counts


def _carried(batch: list[Act | Left], desk: Desk) -> list[Act | Left]:
    """Do a batch at once; if a record of it cannot be taken each alone, and give what became of each."""
    acts = [step for step in batch if isinstance(step, Act)]
    if not acts:
        return batch
    try:
        desk.do(acts)
    except NotTakenError as error:
        if len(acts) == 1:
            return [Left(step.letter, str(error), refused=True) if isinstance(step, Act) else step for step in batch]
        return [carried for step in batch for carried in _carried([step], desk)]
    return batch


def _batches(steps: Iterable[Act | Left], records_max: int) -> Iterator[list[Act | Left]]:
    """Cut at so many records, or at an input's limit in bytes; so one that is too large to be taken is in a batch of its own."""
    batch: list[Act | Left] = []
    size = 0
    for step in steps:
        sent = step.sent if isinstance(step, Act) else None
        step_bytes = 0 if sent is None else len(sent.key or b"") + len(sent.value or b"")
        if batch and (len(batch) == records_max or size + step_bytes > MAX_INPUT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(step)
        size += step_bytes
    if batch:
        yield batch
