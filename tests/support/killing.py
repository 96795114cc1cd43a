"""Kill -9 at a random moment that is proven to lie in the middle of the victim's work."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.worker import Worker
from tests.support.workers import Deployment, wait_for


@dataclass(frozen=True)
class Killed:
    """What the victim had at its death; ``lag`` are delivered events of its own tasks that it had not committed."""

    worker: Worker
    tasks: list[str]
    epochs_count: int
    lag: int


def kill_at_work(tally: Deployment, victims: Sequence[Worker], chance: random.Random | None = None) -> Killed:
    """Kill one of ``victims`` that has committed epochs, runs settlement tasks and lags behind in just these.

    It is frozen first: what is true of a frozen worker is still true when it dies. Events that come once it is frozen are
    not its lag, so they may go on coming: where none do, a slow look can find that all the work is done.
    """
    chance = chance or random.Random(0)

    def frozen_at_work() -> Killed | None:
        victim = chance.choice(victims)
        tasks, epochs_count = [name for name in victim.tasks() if name.startswith("settlement/")], victim.epochs_count()
        if not tasks or not epochs_count:
            return None
        ends = tally.ends()
        victim.signal(signal.SIGSTOP)
        if lag := tally.lag(tasks, ends):
            return Killed(victim, tasks, epochs_count, lag)
        victim.signal(signal.SIGCONT)
        return None

    killed: Killed = wait_for("a worker is in the middle of its work", frozen_at_work)
    killed.worker.kill()
    return killed
