"""Windows: sums of what flows, in every order, cut and redo; each final once, and none before its time."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.customers.agent import declare as customers
from agents.flows import ATTEMPTS, CUSTOMERS, FLOWS, MONEY, PRODUCTS, Flow
from agents.ports import Limits
from agents.revenue.agent import declare as revenue
from agents.testing import MemoryRuntime, MemoryWorld
from schemas import topics
from schemas.events import Cell, Deltas, FlowDeltas, Source
from schemas.partitioning import partition_of
from schemas.topics import Topic

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
T0_MS = 1_795_046_400_000 - 2 * MINUTE_MS
"""Two minutes before midnight, so that minutes fall into two hours and two days."""
GRACE_MS = 3 * MINUTE_MS
LIMITS = Limits(grace_ms=GRACE_MS, alert_orders_max=3, alert_gross_minor_max=1_000)
NAMES = st.sampled_from(["m-1", "m-2", "m|2", "m%7C2", ""])
Place = tuple[str, tuple[str, ...], int]


@st.composite
def cells(draw: st.DrawFn, flow: Flow) -> tuple[str, Cell]:
    second = {"currency": ["EUR", "JPY"], "method": ["card", "sepa"], "bucket": ["-1", "0", "700"]}
    dimensions = [draw(NAMES)] + [
        draw(st.sampled_from(second.get(name, ["sku-1", "sku-2", "s|3"]))) for name in flow.dimensions[1:]
    ]
    minute_ms = T0_MS + MINUTE_MS * draw(st.integers(0, 5))
    return flow.name, Cell(tuple(dimensions), minute_ms, tuple(draw(st.integers(1, 400)) for _ in flow.measures))


def to_partition(name: str, cell: Cell) -> tuple[int, Deltas]:
    return partition_of(cell.dimensions[0], 12), Deltas((), (FlowDeltas(name, (cell,)),))


CELLS = st.lists(st.one_of([cells(flow) for flow in FLOWS]), max_size=25)
ALL_SAY = [
    (partition, Deltas(tuple(Source(source, 1, T0_MS + 3 * DAY_MS, idle=False) for source in range(12)), ()))
    for partition in range(12)
]
"""Every source is three days ahead: everything is over."""


def run(batches: list[list[tuple[int, Deltas]]], redo: set[int]) -> MemoryWorld:
    of_customers = {flow.name for flow in FLOWS if flow.topic is topics.CUSTOMER_DELTAS}
    world = MemoryWorld()
    for declare, wanted in ((revenue, False), (customers, True)):
        mine = [
            [(p, d) for p, d in batch if not d.flows or (d.flows[0].flow in of_customers) is wanted] for batch in batches
        ]  # fmt: skip
        ran = MemoryRuntime(LIMITS).run(declare, mine, redo=redo)
        world.rows.update(ran.rows)
        world.tables.update(ran.tables)
        for partition, counter in ran.counters.items():
            world.counters[partition].update(counter)
    return world


def sums(flow: Flow, sent: list[tuple[str, Cell]], size_ms: int) -> dict[tuple[tuple[str, ...], int], tuple[int, ...]]:
    found: defaultdict[tuple[tuple[str, ...], int], list[int]] = defaultdict(lambda: [0] * len(flow.measures))
    for name, cell in sent:
        if name == flow.name:
            total = found[cell.dimensions, cell.minute_ms // size_ms * size_ms]
            total[:] = [had + more for had, more in zip(total, cell.amounts, strict=True)]
    return {place: tuple(total) for place, total in found.items()}


def last_rows(world: MemoryWorld, topic: Topic) -> dict[bytes, object]:
    """Give the table, and hold that revisions grow, that nothing is behind a final row, and that each has its partition."""
    newest: dict[bytes, object] = {}
    for emitted in world.rows[topic.name]:
        row, before = emitted.value, newest.get(emitted.key)
        first = getattr(row, row.__struct_fields__[0])
        assert emitted.partition == partition_of(first, 12)
        assert before is None or (before.status, before.revision < row.revision) == ("provisional", True)  # type: ignore[attr-defined]
        newest[emitted.key] = row
    return newest


@settings(max_examples=150, deadline=None)
@given(CELLS, st.data())
def test_windows_are_the_sums_of_what_flows_and_each_is_final_once(sent: list[tuple[str, Cell]], data: st.DataObject) -> None:
    shuffled = [to_partition(*one) for one in data.draw(st.permutations(sent))]
    places = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=4)))
    batches = [shuffled[a:b] for a, b in zip([0, *places], [*places, len(sent)], strict=True)]
    world = run([*batches, ALL_SAY], redo=data.draw(st.sets(st.integers(0, 6))))
    tables = {
        topics.REVENUE_BY_MERCHANT_1M: (MONEY, MINUTE_MS),
        topics.REVENUE_BY_MERCHANT_1H: (MONEY, HOUR_MS),
        topics.REVENUE_BY_MERCHANT_1D: (MONEY, DAY_MS),
        topics.REVENUE_BY_PRODUCT_1H: (PRODUCTS, HOUR_MS),
        topics.PAYMENTS_BY_METHOD_1M: (ATTEMPTS, MINUTE_MS),
        topics.CUSTOMERS_1D: (CUSTOMERS, DAY_MS),
    }
    for topic, (flow, size_ms) in tables.items():
        rows = list(last_rows(world, topic).values())
        assert {row.status for row in rows} <= {"final"}  # type: ignore[attr-defined]
        found = {
            (tuple(getattr(row, name) for name in flow.dimensions), row.window_start_ms): tuple(  # type: ignore[attr-defined]
                getattr(row, measure) for measure in flow.measures
            )
            for row in rows
        }
        assert found == sums(flow, sent, size_ms)
        assert all(row.window_end_ms == row.window_start_ms + size_ms for row in rows)  # type: ignore[attr-defined]
    assert all(not rows for name, rows in world.tables.items() if not name.endswith("watermarks")), (
        "closed windows leave the state"
    )
    money = Counter[str]()
    for (dimensions, _), amounts in sums(MONEY, sent, MINUTE_MS).items():
        for measure, amount in zip(MONEY.measures, amounts, strict=True):
            money[f"windowed|{dimensions[1]}|{measure}"] += amount
    assert {name: n for name, n in world.totals.items() if name.startswith("windowed")} == money


@settings(max_examples=100, deadline=None)
@given(CELLS)
def test_the_best_products_are_those_with_the_largest_sums(sent: list[tuple[str, Cell]]) -> None:
    world = run([[to_partition(*one)] for one in sent], redo=set())
    best: defaultdict[tuple[str, str, int], list[tuple[str, int, int]]] = defaultdict(list)
    for ((merchant_id, currency, sku), start_ms), (units, gross) in sums(PRODUCTS, sent, HOUR_MS).items():
        best[merchant_id, currency, start_ms].append((sku, units, gross))
    found = {
        (row.merchant_id, row.currency, row.window_start_ms): [(p.sku, p.units_count, p.gross_minor) for p in row.products]  # type: ignore[attr-defined]
        for row in last_rows(world, topics.TOP_PRODUCTS_1H).values()
    }
    assert found == {place: sorted(each, key=lambda one: (-one[2], one[0]))[:10] for place, each in best.items()}


@settings(max_examples=100, deadline=None)
@given(CELLS)
def test_an_alert_is_for_every_hour_in_which_a_customer_orders_too_much(sent: list[tuple[str, Cell]]) -> None:
    world = run([[to_partition(*one)] for one in sent], redo=set())
    hours: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for name, cell in sent:
        if name == CUSTOMERS.name:
            for start_ms in range(T0_MS // 600_000 * 600_000 - HOUR_MS, T0_MS + HOUR_MS, 600_000):
                if start_ms <= cell.minute_ms < start_ms + HOUR_MS:
                    hour = hours[(*cell.dimensions, start_ms)]  # type: ignore[index]
                    hour[:] = hour[0] + cell.amounts[0], hour[1] + cell.amounts[1]
    unusual = {place: hour for place, hour in hours.items() if hour[0] > 3 or hour[1] > 1_000}
    found = {
        (row.customer_id, row.currency, row.window_start_ms): [row.orders_count, row.gross_minor]  # type: ignore[attr-defined]
        for row in last_rows(world, topics.ALERTS).values()
    }
    assert found == unusual


@settings(max_examples=150, deadline=None)
@given(CELLS, st.lists(st.tuples(st.integers(0, 11), st.integers(-1, 20), st.booleans()), max_size=20), st.data())
def test_no_window_is_final_before_all_active_sources_have_passed_it_and_what_comes_later_is_an_adjustment(
    sent: list[tuple[str, Cell]], said: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    first = [(p, Deltas(tuple(Source(s, 1, T0_MS, idle=False) for s in range(12)), ())) for p in range(12)]
    news = [
        [(p, Deltas((Source(source, 2, T0_MS + minutes * MINUTE_MS, idle=idle),), ())) for p in range(12)]
        for source, minutes, idle in said
    ]
    steps = data.draw(st.permutations([*([to_partition(*one)] for one in sent), *news]))
    world = run([first, *steps], redo=set())
    heard: dict[int, tuple[int, bool]] = dict.fromkeys(range(12), (T0_MS, False))
    reached_ms, late, on_time = T0_MS, Counter[Place](), []
    for step in steps:
        deltas = step[0][1]
        for part in deltas.flows:
            cell = part.cells[0]
            if cell.minute_ms + MINUTE_MS + GRACE_MS <= reached_ms:
                late[part.flow, cell.dimensions, cell.minute_ms] += 1
            else:
                on_time.append((part.flow, cell))
        for source in deltas.sources:
            heard[source.partition] = source.watermark_ms, source.idle
            active = [at_ms for at_ms, idle in heard.values() if not idle] or [at_ms for at_ms, _ in heard.values()]
            reached_ms = max(reached_ms, min(active))
    adjusted = Counter(
        (row.value.flow, tuple(row.value.dimensions.values()), row.value.minute_ms) for row in world.rows["revenue-adjustments"]
    )
    assert adjusted == late
    for topic, flow, size_ms in ((topics.REVENUE_BY_MERCHANT_1M, MONEY, MINUTE_MS), (topics.CUSTOMERS_1D, CUSTOMERS, DAY_MS)):
        rows = last_rows(world, topic).values()
        assert len(rows) == len(sums(flow, on_time, size_ms))
        for row in rows:
            over = row.window_start_ms + size_ms + GRACE_MS <= reached_ms  # type: ignore[attr-defined]
            assert row.status == ("final" if over else "provisional")  # type: ignore[attr-defined]
