"""Named places inside an epoch where a worker can be made to die, as if by ``kill -9``, to prove that nothing is lost.

Armed by the environment only: ``TALLY_KILL_AT=before_commit`` names the place,
``TALLY_KILL_AFTER_EPOCHS=10`` how many epochs of this worker must have been committed, and
``TALLY_KILL_WHEN=<path>`` (if set) a file that must exist. What the worker held goes to standard
error as one line of JSON before it dies, so that whoever armed it can prove that it happened.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

KILL_POINTS = ("after_poll", "before_produce", "before_offsets", "before_commit", "before_apply", "decided_ahead")


@dataclass(frozen=True)
class KillPoint:
    """One armed place; ``at`` empty means none is armed."""

    at: str = ""
    after_epochs: int = 0
    when: Path | None = None

    @classmethod
    def from_environment(cls) -> KillPoint:
        """Read what is armed.

        Raises:
            ValueError: the place is unknown.
        """
        at = os.environ.get("TALLY_KILL_AT", "")
        if at and at not in KILL_POINTS:
            raise ValueError(f"TALLY_KILL_AT is {at!r}, but the places are {', '.join(KILL_POINTS)}")
        when = os.environ.get("TALLY_KILL_WHEN")
        return cls(at, int(os.environ.get("TALLY_KILL_AFTER_EPOCHS", "10")), Path(when) if when else None)

    def reach(self, place: str, committed_epochs: int, records: int) -> None:
        """Die here if this place is armed and its conditions hold; ``records`` is what the running epoch would redo."""
        if place != self.at or committed_epochs <= self.after_epochs or records == 0:
            return
        if self.when is not None and not self.when.exists():
            return
        evidence = {"killed_at": place, "epoch": committed_epochs + 1, "records": records, "pid": os.getpid()}
        sys.stderr.write(json.dumps(evidence) + "\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
