"""Epochs one behind the other while there is a backlog: the next one is polled and decided while the last one commits.

::

    Kafka's thread    poll 2   send 1, poll 3, commit 1, apply 1   send 2, poll 4, commit 2, apply 2
    the loop          decide 1     decide 2                            decide 3

At each bar both wait for each other, and there the loop looks at what came out. As long as all is well, the bars follow
each other. Anything else ends the pipeline: what is oldest is carried to its end alone, as any epoch is, and of what came
behind it nothing is kept. It was only in memory: the tasks that go on read it again, from where they stand then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from streams.attempts import Attempts, Decided
from streams.committer import Carried
from streams.epoch import Epoch
from streams.group import Polled
from streams.intake import Intake
from streams.kill_points import KillPoint
from streams.logs import concerning
from streams.ownership import Ownership
from streams.pauses import Crossed, Failed
from streams.tasks import Task
from streams.threads import Threads
from streams.transaction import Committed, Outcome

AHEAD_WAIT_S = 0.02
"""For the next epoch to fill while this one is decided, which takes longer when it is half full; it delays no commit then."""

Verdict = Outcome | Failed | Crossed


class Carrier(Protocol):
    """What the pipeline needs of the engine, which carries single epochs."""

    @property
    def epochs_count(self) -> int:
        """Epochs that it has committed."""

    @property
    def is_called_away(self) -> bool:
        """Whether there is something to be done between two epochs."""

    async def follow(self, polled: Polled) -> None:
        """Act on what a poll said beside its records."""

    async def conclude(self, decided: Decided, carried: Carried) -> Outcome | Failed:
        """Bring stores and memory to where a commit leaves them."""

    def process(self, epoch: Epoch, *, verdict: Verdict | None = None) -> Awaitable[None]:
        """Carry an epoch to its end, of which a first attempt had this verdict."""

    async def take_up(self, epoch: Epoch, cut: list[Task]) -> None:
        """Carry an epoch to its end, if there is anything in it."""


def fits(polled: Polled, epoch: Epoch, cut: list[Task]) -> bool:
    """Tell whether an epoch is one of a backlog, and nothing in it has to wait for the commit of the one before.

    Records that Faust delivers one by one may be questions, whose answers go out with the commit; a probe ends a task's epoch,
    and what it ends with says whether there is another one.
    """
    return polled.behind and not (epoch.plain or cut or any(task.foreseen.judgement.probe for task in epoch.tasks))


class Pipeline:
    """Runs on the event loop; at most one epoch is decided that stands on one whose commit is under way."""

    def __init__(
        self, carrier: Carrier, attempts: Attempts, intake: Intake, ownership: Ownership, threads: Threads, kill_point: KillPoint
    ) -> None:
        self._carrier = carrier
        self._attempts = attempts
        self._intake = intake
        self._ownership = ownership
        self._threads = threads
        self._kill_point = kill_point

    async def run(self, epoch: Epoch) -> None:
        """Carry an epoch to its end, and those behind it for as long as there is a backlog and nothing else to do."""
        before: Decided | None = None
        while True:
            await self._ownership.look_at_disk()
            attempt, carried = await self._decide_beside(epoch, before)
            concluded: Verdict | None = None
            if before is not None:
                if not isinstance(carried.outcome, Committed):
                    self._attempts.discard(attempt)
                concluded = await self._carrier.conclude(before, carried)
            await self._carrier.follow(carried.polled)
            if before is not None and not isinstance(concluded, Committed):
                return await self._end(before.epoch, concluded)
            if not isinstance(attempt, Decided):
                return await self._end(epoch, attempt)
            ahead, cut = await self._intake.epoch_of(carried.polled, epoch.number + 1, self._carrier.epochs_count)
            if epoch.only(self._ownership.tasks.running()) is not epoch:
                self._attempts.discard(attempt)
                return await self._end(epoch, None)
            if self._carrier.is_called_away or not fits(carried.polled, ahead, cut):
                outcome = await self._carrier.conclude(attempt, await self._attempts.commit(attempt))
                return await (self._carrier.take_up(ahead, cut) if isinstance(outcome, Committed) else self._end(epoch, outcome))
            before, epoch = attempt, ahead

    async def _decide_beside(self, epoch: Epoch, before: Decided | None) -> tuple[Decided | Failed | Crossed, Carried]:
        """Decide an epoch while the one before is committed, and the one behind is polled."""
        committed_count, carrying = self._carrier.epochs_count, asyncio.ensure_future(self._carry(before))
        try:
            await asyncio.sleep(0)  # lets it begin: decoding is the first thing that follows, and takes its time
            with concerning(epoch=epoch.number):
                attempt = await self._attempts.decide(epoch)
            if before is not None and self._carrier.epochs_count == committed_count:
                self._kill_point.reach("decided_ahead", committed_count, epoch.records_count)
            return attempt, await carrying
        finally:
            carrying.cancel()

    async def _carry(self, before: Decided | None) -> Carried:
        if before is None:
            return Carried(polled=await self._threads.on_kafka(self._poll))
        with concerning(epoch=before.epoch.number):
            return await self._attempts.commit(before, self._poll)

    def _poll(self) -> Polled:
        return self._intake.poll(AHEAD_WAIT_S)

    async def _end(self, oldest: Epoch, verdict: Verdict | None) -> None:
        """Carry what is oldest to its end; what was polled behind it is read again."""
        await self._carrier.process(oldest, verdict=verdict)
        await self._ownership.read_again(self._ownership.tasks.running())
