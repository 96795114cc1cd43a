"""Epochs that say more than one record takes: nothing of it is late by what the epoch itself has moved."""

from __future__ import annotations

from agents.ports import Limits
from agents.revenue.agent import declare as revenue
from agents.settlement.agent import declare as settlement
from agents.settlement.rows import CELLS_MAX
from agents.testing import MemoryRuntime
from schemas.partitioning import partition_of
from schemas.topics import ORDERS, REVENUE_ADJUSTMENTS, REVENUE_BY_MERCHANT_1M, REVENUE_DELTAS
from tests.unit.orders import MINUTE_MS, T0_MS, captured, placed

LIMITS = Limits(grace_ms=MINUTE_MS, idle_delay_ms=MINUTE_MS)
MINUTES = 100


def paid(task: int, at_ms: int) -> list[tuple[int, object]]:
    """Give an order of one merchant and its payment, so that both inputs of the task move."""
    order_id = f"o-{task}-{at_ms}"
    return [
        (task, placed(f"p{order_id}", order_id=order_id, at_ms=at_ms, merchant_id="m-1")),
        (task, captured(f"c{order_id}", order_id=order_id, payment_id=order_id, at_ms=at_ms)),
    ]


def test_no_money_of_a_large_epoch_meets_a_window_that_the_epoch_itself_has_closed() -> None:
    tasks = range(ORDERS.partitions)
    minutes = [T0_MS + (task + ORDERS.partitions * minute) * MINUTE_MS for minute in range(MINUTES) for task in tasks]
    items = [item for place, at_ms in enumerate(minutes) for item in paid(place % ORDERS.partitions, at_ms)]
    first, second = MemoryRuntime(LIMITS), MemoryRuntime(LIMITS)
    first.run(settlement, [items])
    said = [(row.partition, row.value) for row in first.world.rows[REVENUE_DELTAS.name]]
    to_the_merchant = [deltas for partition, deltas in said if partition == partition_of("m-1", REVENUE_DELTAS.partitions)]
    cells = sum(len(part.cells) for deltas in to_the_merchant for part in deltas.flows)
    assert cells > 2 * CELLS_MAX, "one record would have taken all of it"
    assert len({source.epoch for deltas in to_the_merchant for source in deltas.sources}) == 1, "all are of one epoch"

    second.run(revenue, [said])
    assert second.world.rows[REVENUE_ADJUSTMENTS.name] == []
    rows = {row.key: row.value for row in second.world.rows[REVENUE_BY_MERCHANT_1M.name]}
    assert sum(row.orders_count for row in rows.values()) == len(minutes)
    assert "final" in {row.status for row in rows.values()}, "no window was closed, so nothing could have been late"
