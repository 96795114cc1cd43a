"""Settlement in columns does what the rule book does, event by event: states, rows, sums, books, clocks, dead letters."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.outcomes import Decision
from agents.ports import Keys, Limits, Slot, Tick
from agents.settlement.agent import declare
from agents.settlement.column_keys import due_of, keys_of
from agents.settlement.column_lifecycle import pass_over
from agents.settlement.lifecycle import due_ms, wake
from agents.settlement.state import ORDER_STATE
from agents.testing import Item, MemoryRuntime
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


@st.composite
def any_limits(draw: st.DrawFn) -> Limits:
    """Give limits of a minute to three hours."""
    span = st.sampled_from([60_000, 30 * 60_000, HOUR_MS, 3 * HOUR_MS])
    return Limits(
        dedup_horizon_ms=draw(span), waiting_max_ms=draw(span), grace_ms=draw(span),
        idle_delay_ms=draw(span), unpaid_after_ms=draw(span), keep_closed_ms=draw(span),
    )  # fmt: skip


TICKS = st.builds(
    Tick,
    st.integers(0, 1),
    st.integers(BASE_MS, BASE_MS + 9 * HOUR_MS),
    st.sets(st.sampled_from([ORDERS.name, PAYMENTS.name])).map(frozenset),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_orders_are_closed_and_inputs_idle_alike_where_the_extension_is_built(data: st.DataObject) -> None:
    limits = data.draw(any_limits())
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


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_time_passes_over_any_order_as_the_rule_book_says_where_the_extension_is_built(data: st.DataObject) -> None:
    """At any time, also with limits other than those that the orders lived under: then timers fire that nothing is due of."""
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 4)))]
    events = data.draw(at_any_hour([*(event for history in histories for event in history)]))
    runtime = MemoryRuntime(data.draw(any_limits()))
    runtime.run(declare, data.draw(cut([(data.draw(st.integers(0, 1)), event) for event in data.draw(sent(events))])))
    limits, now_ms = data.draw(any_limits()), data.draw(st.integers(BASE_MS, BASE_MS + 99 * HOUR_MS))
    table = runtime.table(ORDER_STATE)
    orders = {slot: order for slot, order in sorted(table.committed.items()) if order is not None}
    keys = {
        partition: [key for where, key in orders if where == partition] for partition in sorted({where for where, _ in orders})
    }

    passed = pass_over(keys, table.get_columns(keys), dict.fromkeys(keys, now_ms), limits)

    said = {slot: wake(order, slot[1], now_ms, limits) for slot, order in orders.items()}
    table.put_columns(keys_of(passed.closed), passed.closed)
    due = {
        (partition, key): at_ms
        for partition, (times_ms, some) in due_of(passed.closed, "due_ms").items()
        for at_ms, key in zip(times_ms, some, strict=True)
    }
    for slot, order in table.get_many(list(due)).items():
        assert order is not None
        assert (said.pop(slot), due[slot]) == (Decision(order, ()), due_ms(order, limits))
    for slot in slots_of(passed.forgotten):
        assert said.pop(slot) == Decision(None, ())
    assert list(said) == slots_of(passed.others), "the rest, the longest due first"
    for slot, decision in said.items():
        is_plain = not decision.outputs and not orders[slot].waiting
        assert not is_plain or decision.state == orders[slot], "what says nothing is done in columns"


def slots_of(keys: Keys) -> list[Slot]:
    return [(partition, key) for partition, some in keys.items() for key in some]
