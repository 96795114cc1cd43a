"""Attempts at epochs: decided by the agents, then committed or thrown away. Whatever fails, nothing of one stays behind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.barrier import Barrier
from streams.committer import Carried, Committer
from streams.effects import Effects
from streams.epoch import Epoch, Prepared
from streams.errors import TallyError
from streams.group import Polled
from streams.pauses import Crossed, Failed, judged
from streams.sends import Send, Sends
from streams.settings import Settings
from streams.tables import EngineTable
from streams.tasks import Tasks
from streams.transaction import Aborted, Committed, TransactionRefusedError, Unknown

CountPartitions = Callable[[set[str]], Awaitable[Mapping[str, int]]]


@dataclass(frozen=True)
class Decided:
    """An attempt that its agents are done with: what is to be committed."""

    epoch: Epoch
    effects: Effects
    prepared: Prepared
    sends: Sequence[Send]
    began_s: float


class Attempts:
    """Decides and commits, on the event loop. While one attempt is committed, the next one may be decided on top of it.

    Not more than these two: the tables have room for what one epoch wrote on its way, and for what the next one writes.
    ``count_partitions`` asks the cluster about topics that somebody sends to.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Tasks,
        tables: Mapping[str, Sequence[EngineTable[Any]]],
        barrier: Barrier,
        sends: Sends,
        committer: Committer,
        count_partitions: CountPartitions,
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._tables = tables
        self._barrier = barrier
        self._sends = sends
        self._committer = committer
        self._count_partitions = count_partitions
        self._known: dict[str, int] = {}

    async def decide(self, epoch: Epoch, *, by_agents_only: bool = False) -> Decided | Failed | Crossed:
        """Let the agents decide once, behind all that was decided before; what they raise is one more failure (I8)."""
        began_s, effects = time.monotonic(), Effects()
        sends: list[Send] = []
        decided = None
        try:
            await self._barrier.decide(epoch, effects)
            self._barrier.lift()
            judgements = judged(epoch, effects, self._settings.dead_records_max)
            if isinstance(judgements, Crossed):
                return judgements
            sends = await self._take_sends(by_agents_only=by_agents_only)
            outputs = [send.output for send in sends]
            running, worker = self._tasks.running(), self._settings.worker_id
            prepared = Prepared(epoch, effects, self._tables, worker, outputs, running, judgements)
            decided = Decided(epoch, effects, prepared, sends, began_s)
            prepared.foresee()
        except TallyError:
            raise
        except Exception as error:  # noqa: BLE001 - I8: whatever it was, the epoch is redone, a bounded number of times
            return Failed(error)
        finally:
            self._barrier.lift()
            if decided is None:
                self._forget(sends)
        return decided

    def discard(self, attempt: Decided | Failed | Crossed) -> None:
        """Throw away what was decided, before what it was decided on is thrown away."""
        if isinstance(attempt, Decided):
            attempt.prepared.give_up()
            self._forget(attempt.sends)

    async def commit(self, decided: Decided, poll: Callable[[], Polled] = Polled) -> Carried:
        """Commit and apply what was decided; :meth:`conclude` is to follow. Meanwhile the next one may be decided."""
        for table in self._all_tables():
            table.send()
        return await self._committer.carry(decided.prepared, poll)

    def conclude(self, decided: Decided, carried: Carried) -> Committed | Aborted | Unknown | Failed:
        """Give what became of an attempt; tell whoever sent something. If it did not happen, no other is decided on top of it."""
        outcome = carried.outcome
        assert outcome is not None  # noqa: S101 - it has been carried
        for table in self._all_tables():
            table.arrive()
        if not isinstance(outcome, Committed):
            decided.prepared.give_up()
        self._sends.answer(decided.sends, None if isinstance(outcome, Failed) else outcome)
        if isinstance(outcome, Aborted) and outcome.refused:
            return Failed(TransactionRefusedError(outcome.refused))
        return outcome

    def _forget(self, sends: Sequence[Send]) -> None:
        for table in self._all_tables():
            table.forget()
        self._sends.answer(sends, None)

    def _all_tables(self) -> list[EngineTable[Any]]:
        return [table for tables in self._tables.values() for table in tables]

    async def _take_sends(self, *, by_agents_only: bool) -> list[Send]:
        unknown = self._sends.topics() - self._known.keys()
        if unknown:
            self._known |= await self._count_partitions(unknown)
        return self._sends.take(self._known, by_agents_only=by_agents_only)
