"""Settlement in columns does what the rule book does, event by event: states, rows, sums, books, clocks, dead letters."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.ports import Limits, Tick
from agents.testing import Item
from schemas.events import Event
from schemas.partitioning import partition_of
from schemas.topics import ORDERS, PAYMENTS
from tests.property.histories import ANY_HISTORIES, BASE_MS, CLASHING_EVENTS, cut, sent, valid_histories
from tests.support.both_ways import both
from tests.support.columns import NEEDS_EXTENSION

pytestmark = NEEDS_EXTENSION
HOUR_MS = 3_600_000


def placed_at(events: Iterable[Event]) -> list[tuple[int, Event]]:
    return [(partition_of(event.order_id, 12), event) for event in events]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_valid_orders_are_booked_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 4)))]
    events = placed_at(event for history in histories for event in history)
    by_rows, in_columns = both(data.draw(data.draw(sent(events).map(cut))))
    assert in_columns == by_rows


@st.composite
def of_two_orders(draw: st.DrawFn, events: list[Event]) -> list[Event]:
    """Give some of the events to another order on the partition of o-1, so that ids of the one are ids of the other too."""
    order_ids = [draw(st.sampled_from([event.order_id, event.order_id, "o-9"])) for event in events]
    return [replace(event, order_id=order_id) for event, order_id in zip(events, order_ids, strict=True)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_is_decided_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    by_rows, in_columns = both(data.draw(cut(placed_at(data.draw(ANY_HISTORIES.flatmap(of_two_orders))))))
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


@st.composite
def at_any_hour(draw: st.DrawFn, events: list[Event]) -> list[Event]:
    """Give the events hours apart, so that orders are given up, unpaid, closed and forgotten between them."""
    hours = [draw(st.sampled_from([0, 0, 0, 1, 2, 9])) for _ in events]
    moved_ms = [event.occurred_at_ms + each * HOUR_MS for event, each in zip(events, hours, strict=True)]
    return [replace(event, occurred_at_ms=at_ms) for event, at_ms in zip(events, moved_ms, strict=True)]


TICKS = st.builds(
    Tick,
    st.integers(0, 1),
    st.integers(BASE_MS, BASE_MS + 9 * HOUR_MS),
    st.sets(st.sampled_from([ORDERS.name, PAYMENTS.name])).map(frozenset),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_orders_are_closed_and_inputs_idle_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    spans = st.sampled_from([60_000, 30 * 60_000, HOUR_MS, 3 * HOUR_MS])
    limits = Limits(
        dedup_horizon_ms=data.draw(spans), waiting_max_ms=data.draw(spans), grace_ms=data.draw(spans),
        idle_delay_ms=data.draw(spans), unpaid_after_ms=data.draw(spans), keep_closed_ms=data.draw(spans),
    )  # fmt: skip
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 3)))]
    events = data.draw(at_any_hour([*(event for history in histories for event in history)]))
    items = [(data.draw(st.sampled_from([0, 0, 0, 1])), event) for event in data.draw(sent(events))]
    if data.draw(st.booleans()):
        items.sort(key=lambda item: item[1].occurred_at_ms // HOUR_MS)
    ticks = st.lists(TICKS, max_size=2, unique_by=lambda tick: tick.partition)
    batches: list[list[Item]] = [[*batch, *data.draw(ticks)] for batch in data.draw(cut(items))]
    redo = data.draw(st.sets(st.integers(0, len(batches) - 1)))
    by_rows, in_columns = both(batches, limits, sorted(redo))
    assert in_columns == by_rows
