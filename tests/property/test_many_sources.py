"""Event time through both stages, 48 tasks by 48: nothing is final before every source has passed it or is idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents.ports import Limits, Tick
from agents.revenue.agent import declare as revenue
from agents.settlement.agent import declare as settlement
from agents.testing import MemoryRuntime
from schemas import topics
from schemas.events import Deltas
from schemas.topics import ORDERS, PAYMENTS
from tests.unit.orders import MINUTE_MS, T0_MS, captured, placed

MANY = 48
LIMITS = Limits(grace_ms=MINUTE_MS, idle_delay_ms=MINUTE_MS)
BOTH = frozenset({ORDERS.name, PAYMENTS.name})
LAST = MANY - 1


@pytest.fixture(autouse=True)
def many_partitions() -> Iterator[None]:
    """Give every topic of the catalogue so many partitions, for one test."""
    before = {topic.name: topic.partitions for topic in topics.TOPICS}
    for topic in topics.TOPICS:
        object.__setattr__(topic, "partitions", MANY)
    yield
    for topic in topics.TOPICS:
        object.__setattr__(topic, "partitions", before[topic.name])


class Deployment:
    """Both stages, fed one after the other."""

    def __init__(self) -> None:
        self.settlement, self.revenue = MemoryRuntime(LIMITS), MemoryRuntime(LIMITS)
        self._handed = 0

    def run(self, *items: tuple[int, object] | Tick) -> list[tuple[int, Deltas]]:
        """Run one epoch of settlement and hand what it says to revenue; give that."""
        self.settlement.run(settlement, [items])
        rows = self.settlement.world.rows[topics.REVENUE_DELTAS.name]
        news = [(row.partition, row.value) for row in rows[self._handed :]]
        self._handed = len(rows)
        self.revenue.run(revenue, [news])
        return news

    def statuses(self) -> list[str]:
        return [row.value.status for row in self.revenue.world.rows[topics.REVENUE_BY_MERCHANT_1M.name]]


def both(task: int, at_ms: int) -> list[tuple[int, object]]:
    """Give an order and its payment, so that both inputs of the task are there."""
    order_id = f"o-{task}-{at_ms}"
    merchant_id = f"m-{task % 7}"
    return [
        (task, placed(f"p{order_id}", order_id=order_id, at_ms=at_ms, merchant_id=merchant_id)),
        (task, captured(f"c{order_id}", order_id=order_id, payment_id=order_id, at_ms=at_ms)),
    ]


def test_a_source_that_never_spoke_holds_everything_back_until_it_is_said_to_be_idle() -> None:
    deployment = Deployment()
    deployment.run(*(item for task in range(LAST) for item in both(task, T0_MS)))
    deployment.run(*(item for task in range(LAST) for item in both(task, T0_MS + 10 * MINUTE_MS)))
    assert set(deployment.statuses()) == {"provisional"}
    news = deployment.run(Tick(LAST, T0_MS + 5 * MINUTE_MS, BOTH))
    assert sorted(partition for partition, _ in news) == list(range(MANY)), "one small record for every target"
    assert {tuple(source.partition for source in deltas.sources) for _, deltas in news} == {(LAST,)}
    assert deployment.statuses().count("final") == 7, "the first minute of seven merchants"


def test_one_source_that_is_minutes_behind_holds_back_what_it_has_not_passed_and_nothing_is_final_twice() -> None:
    deployment = Deployment()
    deployment.run(*(item for task in range(MANY) for item in both(task, T0_MS)))
    for minute in range(1, 10):
        deployment.run(*(item for task in range(LAST) for item in both(task, T0_MS + minute * MINUTE_MS)))
    assert "final" not in deployment.statuses()
    deployment.run(*both(LAST, T0_MS + 5 * MINUTE_MS))
    finals = [row for row in deployment.revenue.world.rows[topics.REVENUE_BY_MERCHANT_1M.name] if row.value.status == "final"]
    assert {row.value.window_end_ms for row in finals} == {T0_MS + minute * MINUTE_MS for minute in range(1, 5)}
    assert len({row.key for row in finals}) == len(finals) == 4 * 7
    assert deployment.revenue.world.rows[topics.REVENUE_ADJUSTMENTS.name] == []


def test_a_quiet_night_ends_with_final_rows_by_the_clock_alone_and_epochs_without_news_say_nothing() -> None:
    deployment = Deployment()
    deployment.run(*(item for task in range(MANY) for item in both(task, T0_MS)))
    assert deployment.run(*(item for task in range(MANY) for item in both(task, T0_MS + 1))) != []
    deployment.run(*(Tick(task, T0_MS + MINUTE_MS, BOTH) for task in range(MANY)))
    assert "final" not in deployment.statuses()
    deployment.run(*(Tick(task, T0_MS + 3 * MINUTE_MS, BOTH) for task in range(MANY)))
    assert deployment.statuses().count("final") == 7
    assert deployment.run(*(Tick(task, T0_MS + 3 * MINUTE_MS + 999, BOTH) for task in range(MANY))) == [], "less than a second"
