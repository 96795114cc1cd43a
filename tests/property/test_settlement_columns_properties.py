"""Settlement in columns does what the rule book does, event by event: states, rows, sums, books, clocks, dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.flows import FLOW_NAMED
from agents.ports import Limits
from agents.settlement.agent import declare
from agents.settlement.column_batch import KINDS
from agents.testing import MemoryRuntime, MemoryWorld
from schemas.events import Event
from schemas.partitioning import partition_of
from schemas.topics import CUSTOMER_DELTAS, ORDER_STATUS, REVENUE_ADJUSTMENTS, REVENUE_DELTAS, UNMATCHED_PAYMENTS, UNPAID_ORDERS
from tests.property.histories import ANY_HISTORIES, CLASHING_EVENTS, cut, sent, valid_histories
from tests.support.columns import NEEDS_EXTENSION

pytestmark = NEEDS_EXTENSION
Batches = list[list[tuple[int, Event]]]


def placed_at(events: Iterable[Event]) -> list[tuple[int, Event]]:
    return [(partition_of(event.order_id, 12), event) for event in events]


def said(world: MemoryWorld) -> object:
    """Everything that anybody can see of a world, without the order in which different keys were written."""
    sums: Counter[object] = Counter()
    sources: Counter[object] = Counter()
    for topic in (REVENUE_DELTAS, CUSTOMER_DELTAS):
        for emitted in world.rows[topic.name]:
            sources[topic.name, emitted.partition, emitted.value.sources] += 1
            for part in emitted.value.flows:
                for cell in part.cells:
                    for measure, amount in zip(FLOW_NAMED[part.flow].measures, cell.amounts, strict=True):
                        sums[part.flow, cell.dimensions, cell.minute_ms, measure, emitted.partition] += amount
    rows = {
        topic.name: Counter((emitted.key, str(emitted.value), emitted.partition) for emitted in world.rows[topic.name])
        for topic in (ORDER_STATUS, UNPAID_ORDERS, UNMATCHED_PAYMENTS, REVENUE_ADJUSTMENTS)
    }
    counters = {where: +counter for where, counter in world.counters.items()}
    dead = Counter((letter.partition, str(letter.event), letter.reason, letter.detail) for letter in world.dead_letters)
    return world.tables, rows, +sums, sources, counters, dead


DEFAULT = Limits()


def both(batches: Batches, limits: Limits = DEFAULT, redo: Sequence[int] = ()) -> tuple[object, object]:
    by_rows = MemoryRuntime(limits).run(declare, batches, redo=redo)
    in_columns = MemoryRuntime(limits, reads=KINDS).run(declare, batches, redo=redo)
    return said(by_rows), said(in_columns)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_valid_orders_are_booked_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 4)))]
    events = placed_at(event for history in histories for event in history)
    by_rows, in_columns = both(data.draw(data.draw(sent(events).map(cut))))
    assert in_columns == by_rows


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_is_decided_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    by_rows, in_columns = both(data.draw(cut(placed_at(data.draw(ANY_HISTORIES)))))
    assert in_columns == by_rows


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_time_passes_alike_with_short_limits_where_the_extension_is_built(data: st.DataObject) -> None:
    minutes = st.integers(1, 5).map(lambda each: each * 60_000)
    limits = Limits(
        dedup_horizon_ms=data.draw(minutes), waiting_max_ms=data.draw(minutes), grace_ms=data.draw(minutes),
        unpaid_after_ms=data.draw(minutes), keep_closed_ms=data.draw(minutes),
    )  # fmt: skip
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 4)))]
    clashing = data.draw(st.lists(CLASHING_EVENTS, max_size=5))
    events = placed_at([*(event for history in histories for event in history), *clashing])
    by_rows, in_columns = both(data.draw(data.draw(sent(events).map(cut))), limits)
    assert in_columns == by_rows
