"""Settlement and revenue in memory, one behind the other, and the books of both at any moment between two epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.ports import Limits, Runtime, Tick
from agents.revenue.agent import declare as revenue
from agents.settlement.agent import declare as settlement
from agents.testing import MemoryBatch, MemoryRuntime
from connectors.audit import Cut, carried, in_flight
from schemas.topics import REVENUE_DELTAS
from tests.support.wrong_books import WrongRuntime

Spoil = Callable[[MemoryBatch], None]


class Spoilt(MemoryRuntime):
    """A runtime that does ``spoil`` to every batch before it commits it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.spoil: Spoil = lambda _: None

    def _commit(self, batch: MemoryBatch) -> None:
        self.spoil(batch)
        super()._commit(batch)


class Books:
    """Both stages; what settlement says is in flight until it is handed over."""

    def __init__(self, limits: Limits) -> None:
        self.settlement, self.revenue = Spoilt(limits), Spoilt(limits)
        self._handed = 0

    def settle(self, *items: tuple[int, object] | Tick, **wrong: Any) -> None:
        """Run one epoch of settlement, ``wrong`` as of :class:`WrongBatch`."""
        self.settlement.run(_declared(settlement, wrong), [items])

    def hand_over(self, **wrong: Any) -> None:
        """Let revenue read what is in flight, in one epoch."""
        rows = self.settlement.world.rows[REVENUE_DELTAS.name]
        news = [(row.partition, row.value) for row in rows[self._handed :]]
        self._handed = len(rows)
        self.revenue.run(_declared(revenue, wrong), [news])

    def lose_in_flight(self) -> None:
        """Take away the last record that revenue has not read, as retention would."""
        rows = self.settlement.world.rows[REVENUE_DELTAS.name]
        assert len(rows) > self._handed
        del rows[-1]

    @property
    def cut(self) -> Cut:
        worlds = {"settlement": self.settlement.world, "revenue": self.revenue.world}
        counters = {
            f"{stage}/{number}": counters for stage, world in worlds.items() for number, counters in world.counters.items()
        }
        unread = [carried(row.value) for row in self.settlement.world.rows[REVENUE_DELTAS.name][self._handed :]]
        return Cut(counters, in_flight(self.settlement.world.epochs, unread))


def _declared(declare: Callable[[Runtime], None], wrong: dict[str, Any]) -> Callable[[Runtime], None]:
    return lambda runtime: declare(WrongRuntime(runtime, **wrong))
