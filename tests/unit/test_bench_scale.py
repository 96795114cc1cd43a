"""The bench of scale: what its rows turn, that its events are valid, that its live orders are settlement's own, its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

from agents.outcomes import Decision, Duplicate
from agents.settlement import agent as settlement
from agents.settlement.decide import MAX_EVENTS_PER_ORDER, decide
from agents.settlement.rows import order_key, status_row
from agents.settlement.state import ORDER_STATE, TIMERS, OrderState
from agents.testing import MemoryRuntime
from bench.figures import Figures
from bench.scale.declare import declare
from bench.scale.judge import differences, expected_status, outcomes_of
from bench.scale.preload import SETTLEMENT, Rows
from bench.scale.report import COLUMNS, ScaleReport
from bench.scale.rows import ROW_NAMED, ROWS, Row, chosen, too_many_events
from bench.scale.run import Result
from bench.scale.traffic import HOT_MERCHANT, LiveOrders, traffic
from connectors.sources.sent import APPLIED, DUPLICATE
from schemas import codec
from schemas.partitioning import partition_of
from streams.settings import Settings
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tables import EngineTable
from streams.tasks import Task

EVENTS = 3_000


def small(name: str) -> Row:
    return replace(ROW_NAMED[name], live_keys=1_000)


def result(row: Row, *problems: str, cpu_s: float = 0.05) -> Result:
    figures = Figures(1_000, 2.0, 4.0, cpu_s, 0.02, 1 << 28)
    keys = row.live_keys
    return Result(
        row=row, events_count=1_000, figures=figures, problems=list(problems), touched_count=500, rows_count=2 * keys,
        rows_bytes=166 * keys, log_bytes_before=190 * keys, log_bytes_after=190 * keys + 123_000, store_bytes_before=100 * keys,
        store_bytes_after=200 * keys, restored_count=2 * keys, restore_s=0.5, restore_cpu_s=0.25, preload_s=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row.name)
def test_each_row_turns_one_knob_of_the_base(row: Row) -> None:
    base = asdict(ROWS[0])
    turned = [name for name, value in asdict(row).items() if value != base[name] and name not in {"name", "meaning"}]
    assert len(turned) == 1


def test_an_unknown_row_is_a_sentence_that_names_the_others() -> None:
    with pytest.raises(ValueError, match="there is no row keys-2k; there are base, keys-1k"):
        chosen("base,keys-2k")
    assert [row.name for row in chosen("hot-order, base,base")] == ["hot-order", "base"]


def test_more_events_than_the_orders_of_a_row_may_have_are_refused() -> None:
    assert too_many_events(ROWS, 400_000) == ""
    assert too_many_events(ROWS, 400_001).endswith("row keys-1k: orders would be full; ask for 400,000 at most")


def test_a_live_order_is_the_same_whenever_it_is_asked_for() -> None:
    orders = LiveOrders(small("base"), seed=3)
    known = list(orders)
    assert [orders.order(number) for number in (999, 0, 500)] == [known[999], known[0], known[500]]
    assert len({order.order_id for order in known}) == len({order.event_id for order in known}) == 1_000


def test_four_fifths_of_the_orders_are_the_hot_merchants() -> None:
    of_hot = sum(order.merchant_id == HOT_MERCHANT.merchant_id for order in LiveOrders(small("hot-merchant"), seed=3))
    assert 770 <= of_hot <= 870


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_event_is_taken_by_the_rule_book_as_it_is_planned_and_the_expected_rows_are_its_own(row: Row) -> None:
    row = replace(row, live_keys=1_000)
    orders = LiveOrders(row, seed=5)
    planned = traffic(orders, row, EVENTS, seed=5)
    states: dict[bytes, OrderState] = {}
    for order in orders:
        decision = decide(None, order)
        assert isinstance(decision, Decision)
        states[order_key(order)] = decision.state
    for sent in planned.sent:
        assert sent.key is not None
        outcome = decide(states[sent.key], codec.decode(sent.value))  # type: ignore[arg-type]
        assert isinstance(outcome, Decision if sent.expected == APPLIED else Duplicate)
        if isinstance(outcome, Decision):
            states[sent.key] = outcome.state
    assert max(len(state.seen) for state in states.values()) < MAX_EVENTS_PER_ORDER
    touched = {order.order_id: states[order_key(order)] for order in planned.touched.values()}
    rows = {name: status_row(name.encode(), state, state.placed) for name, state in touched.items() if state.placed is not None}
    assert expected_status(planned) == rows
    outcomes = outcomes_of(planned)
    assert outcomes.consumed == EVENTS == outcomes.applied + outcomes.duplicates


@pytest.mark.parametrize(("name", "low", "high"), [("base", 0.003, 0.03), ("duplicates-50", 0.45, 0.55), ("hot-order", 0.4, 0.6)])
def test_so_many_events_repeat_an_earlier_one(name: str, low: float, high: float) -> None:
    row = small(name)
    sent = traffic(LiveOrders(row, seed=5), row, EVENTS, seed=5).sent
    assert low <= sum(each.expected == DUPLICATE for each in sent) / EVENTS <= high


def test_four_fifths_of_the_events_are_the_hot_orders() -> None:
    row = small("hot-order")
    orders = LiveOrders(row, seed=5)
    hot = order_key(orders.order(0))
    of_hot = sum(sent.key == hot for sent in traffic(orders, row, EVENTS, seed=5).sent)
    assert 0.75 <= of_hot / EVENTS <= 0.85


def test_what_is_written_of_live_orders_is_what_the_agent_keeps_of_them(tmp_path: Path) -> None:
    orders = [LiveOrders(small("base"), seed=7).order(number) for number in range(60)]
    runtime = MemoryRuntime()
    placed = [(partition_of(order.order_id, SETTLEMENT.changelog.partitions), order) for order in orders]
    right = runtime.run(settlement.declare, [placed]).tables
    changes: dict[int, dict[str, dict[bytes, bytes | None]]] = {}
    for partition, key, value in Rows(Settings(bootstrap_servers="127.0.0.1:1")).of(orders):
        table, _, row_key = key.partition(b"/")
        changes.setdefault(partition, {}).setdefault(table.decode(), {})[row_key] = value
    resources = StoreResources(1 << 20, 1 << 20)
    stands_for = StandsFor(StoreIdentity("c", "g", "l", "t"), 1, 1, None)
    tasks = {}
    for partition, rows in changes.items():
        tasks[partition] = Task(SETTLEMENT, partition, (), None, store=Store(tmp_path / str(partition), list(rows), resources))
        tasks[partition].store.apply(rows, stands_for)  # type: ignore[union-attr]
    states, timers = EngineTable(ORDER_STATE, tasks), EngineTable(TIMERS, tasks)
    assert states.get_many(list(right[ORDER_STATE.name])) == right[ORDER_STATE.name]
    assert timers.get_many(list(right[TIMERS.name])) == right[TIMERS.name]
    assert len(right[ORDER_STATE.name]) == len(right[TIMERS.name]) == 60
    assert sum(len(rows[spec.name]) for rows in changes.values() for spec in (ORDER_STATE, TIMERS)) == 120


def test_a_process_may_have_topics_of_other_counts_before_anything_knows_them() -> None:
    code = (
        "from bench.scale.declare import declare; declare(48); from agents.flows import MONEY; "
        "from connectors.sources.lates import PARTITIONS; print(MONEY.topic.partitions, PARTITIONS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["48", "48"]


def test_counts_are_not_changed_once_something_knows_them() -> None:
    with pytest.raises(RuntimeError, match="is imported already and knows 12 partitions: declare others first"):
        declare(48)


def test_an_order_that_differs_is_said_and_so_is_one_that_is_missing() -> None:
    row = small("base")
    right = expected_status(traffic(LiveOrders(row, seed=5), row, 100, seed=5))
    name, other = sorted(right)[:2]
    found = {**right, name: replace(right[name], revision=99)}
    del found[other]
    said = differences(found, right)
    assert said[0] == f"2 of {len(right)} orders differ"
    assert said[1].startswith(f"order {name}: ")
    assert said[2].startswith(f"order {other}: None, right is ")
    assert differences(right, right) == []


def test_the_table_has_medians_of_the_runs_that_were_right_and_says_what_was_not() -> None:
    base, hot = ROWS[0], ROW_NAMED["hot-order"]
    report = ScaleReport({}, [result(base), result(base, cpu_s=0.07), result(base, "money is missing", cpu_s=9.0)])
    report.failed.append((hot.name, "ended with 1; see above"))
    lines = report.lines()
    assert lines[2].startswith("| base | 2/3 | 60.0 (50.0-70.0) | 500 (500-500) | 20.0 (20.0-20.0) | 256 (256-256) |")
    assert lines[3].startswith("| hot-order | 0/1 | - |")
    assert lines[4:] == ["base: money is missing", "hot-order: ended with 1; see above"]
    assert not report.exact
    assert ScaleReport({}, [result(base)]).exact


def test_bytes_are_per_live_key_and_per_event() -> None:
    spreads = {column.name: ScaleReport({}, [result(ROWS[0])]).spread("base", column) for column in COLUMNS}
    found = {name: spread and spread.median for name, spread in spreads.items()}
    assert found["row_bytes_per_key"] == 166
    assert found["log_bytes_per_key"] == 190
    assert found["store_bytes_per_key"] == 100
    assert found["store_bytes_per_key_after"] == 200
    assert found["log_bytes_per_event"] == 123
    assert found["restored_per_s"] == 400_000
    assert found["restore_cpu_us_per_record"] == 1.25
    assert found["events_per_touched_key"] == 2
