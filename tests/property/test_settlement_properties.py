"""Settlement, for every history: order of arrival, repetition, cut and redo leave no trace; no amount is ever lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.flows import FLOW_NAMED, MONEY, Movement
from agents.outcomes import DUPLICATE, Decision, Rejected
from agents.ports import Limits
from agents.settlement.agent import declare
from agents.settlement.books import WAITING_EVENTS, entries
from agents.settlement.decide import (
    MAX_AMOUNT_MINOR,
    MAX_EVENTS_PER_ORDER,
    MAX_ID_CHARACTERS,
    RULE_BOOK,
    decide,
)
from agents.settlement.lifecycle import due_ms
from agents.settlement.rows import status_row
from agents.settlement.state import ORDER_STATE, TIMERS, OrderState
from agents.testing import MemoryRuntime, MemoryWorld
from schemas.events import Event, OrderCancelled, OrderPlaced, OrderStatus, PaymentCaptured, PaymentRefunded
from schemas.partitioning import partition_of
from schemas.topics import CUSTOMER_DELTAS, ORDER_STATUS, REVENUE_ADJUSTMENTS, REVENUE_DELTAS, UNMATCHED_PAYMENTS, UNPAID_ORDERS
from tests.property.histories import ANY_HISTORIES, BASE_MS, CLASHING_EVENTS, WILD_EVENTS, cut, sent, valid_histories

Deltas = Counter[tuple[str, tuple[str, ...], int, str]]
"""(flow, dimensions, minute, measure) to an amount."""
REASONS = {rule.reason for rule in RULE_BOOK}


def add(deltas: Deltas, movement: Movement) -> None:
    for measure, amount in zip(movement.flow.measures, movement.amounts, strict=True):
        deltas[movement.flow.name, movement.dimensions, movement.minute_ms, measure] += amount


def fold(events: Iterable[Event]) -> tuple[OrderState, Deltas, Counter[str]]:
    """Give the end state, the sum of deltas, and how often each outcome was given."""
    state, deltas, outcomes = OrderState(), Deltas(), Counter[str]()
    for event in events:
        outcome = decide(state, event)
        outcomes[type(outcome).__name__] += 1
        if isinstance(outcome, Decision):
            state = outcome.state
            for output in outcome.outputs:
                assert isinstance(output, Movement), "nothing of a valid history may be unmatched"
                add(deltas, output)
    return state, deltas, outcomes


def status_of(state: OrderState) -> OrderStatus | None:
    return None if state.placed is None else status_row(b"o-1", state, state.placed)


def expected_deltas(history: list[Event]) -> Deltas:
    """Say again, in other words, what money a whole valid history moves."""
    (order,) = (event for event in history if isinstance(event, OrderPlaced))
    deltas = Deltas()
    for event in history:
        match event:
            case OrderPlaced():
                amounts = {"orders_count": 1, "gross_minor": event.amount_minor}
            case PaymentCaptured():
                amounts = {"captured_minor": event.amount_minor}
            case PaymentRefunded():
                amounts = {"refunded_minor": event.amount_minor}
            case OrderCancelled():
                amounts = {"cancelled_minor": order.amount_minor}
            case _:
                amounts = {}
        minute_ms = max(event.occurred_at_ms, order.occurred_at_ms) // 60_000 * 60_000
        for measure, amount in amounts.items():
            deltas[MONEY.name, (order.merchant_id, order.currency), minute_ms, measure] += amount
    return deltas


@settings(max_examples=200)
@given(st.data())
def test_every_order_and_any_duplication_of_a_valid_history_gives_the_same_state_sums_and_status(data: st.DataObject) -> None:
    history = data.draw(valid_histories())
    state, deltas, outcomes = fold(history)
    other_state, other_deltas, other_outcomes = fold(other := data.draw(sent(history)))
    assert other_state == state
    assert other_deltas == deltas
    assert status_of(other_state) == status_of(state)
    assert outcomes == Counter(Decision=len(history))
    assert other_outcomes == Counter(Decision=len(history), Duplicate=len(other) - len(history))


@given(st.data())
def test_a_whole_history_adds_up_to_its_amounts_in_the_minute_of_the_later_of_event_and_order(data: st.DataObject) -> None:
    history = data.draw(valid_histories(whole=True))
    state, deltas, _ = fold(data.draw(sent(history)))
    assert +Deltas({place: amount for place, amount in deltas.items() if place[0] == MONEY.name}) == expected_deltas(history)
    assert state.waiting == ()
    assert state.booked_count == len(history)


def settle(batches: list[list[tuple[int, Event]]], redo: Iterable[int] = ()) -> MemoryWorld:
    return MemoryRuntime().run(declare, batches, redo=set(redo))


def delta_sums(world: MemoryWorld) -> Deltas:
    sums = Deltas()
    for topic in (REVENUE_DELTAS, CUSTOMER_DELTAS):
        for emitted in world.rows[topic.name]:
            for part in emitted.value.flows:
                flow = FLOW_NAMED[part.flow]
                assert flow.topic is topic
                for cell in part.cells:
                    assert partition_of(cell.dimensions[0], topic.partitions) == emitted.partition
                    add(sums, Movement(flow, cell.dimensions, cell.minute_ms, cell.amounts))
    return +sums


@settings(max_examples=200)
@given(st.data())
def test_any_batch_cut_and_redo_of_several_orders_gives_the_same_tables_sums_status_rows_and_books(data: st.DataObject) -> None:
    histories = [data.draw(valid_histories(f"o-{number}")) for number in range(data.draw(st.integers(1, 3)))]
    events = [(partition_of(event.order_id, 12), event) for history in histories for event in history]
    straight = settle([events])
    batches = data.draw(data.draw(sent(events).map(cut)))
    world = settle(batches, redo=data.draw(st.sets(st.integers(0, 4))))

    assert world.tables == straight.tables
    assert delta_sums(world) == delta_sums(straight)
    assert world.newest(ORDER_STATUS) == straight.newest(ORDER_STATUS)
    assert not world.dead_letters
    assert not world.rows[UNMATCHED_PAYMENTS.name]
    repeats = sum(map(len, batches)) - len(events)
    assert world.totals == straight.totals + Counter({"consumed": repeats, "duplicates": repeats})


@settings(max_examples=200)
@given(st.data())
def test_i4_every_event_of_any_history_is_applied_duplicate_or_dead_and_redo_changes_nothing(data: st.DataObject) -> None:
    history = data.draw(ANY_HISTORIES)
    batches = data.draw(cut([(partition_of(event.order_id, 12), event) for event in history]))
    world, redone = settle(batches), settle(batches, redo=range(len(batches)))
    assert redone == world
    totals = world.totals
    assert totals["consumed"] == len(history) == totals["applied"] + totals["duplicates"] + totals["dead"]
    assert totals["dead"] == len(world.dead_letters)
    assert {letter.reason for letter in world.dead_letters} <= REASONS
    for counter in world.counters.values():
        assert counter["consumed"] == counter["applied"] + counter["duplicates"] + counter["dead"]


@settings(max_examples=200)
@given(ANY_HISTORIES)
def test_the_books_balance_after_every_prefix_and_waiting_is_what_the_state_holds(history: list[Event]) -> None:
    state: OrderState | None = None
    books: Counter[tuple[str, str, str]] = Counter()
    for event in history:
        outcome = decide(state, event)
        if not isinstance(outcome, Decision):
            continue
        for account, currency, measure, amount in entries(state, event, outcome):
            books[account, currency, measure] += amount
        state = outcome.state
        for currency, measure in {name[1:] for name in books}:
            accepted, booked, waiting, unmatched = (
                books[account, currency, measure] for account in ("accepted", "booked", "waiting", "unmatched")
            )
            assert accepted == booked + waiting + unmatched
            held = sum(
                event.amount_minor
                for event in state.waiting
                if isinstance(event, PaymentCaptured | PaymentRefunded)
                and (event.currency, measure)
                == (currency, "captured_minor" if isinstance(event, PaymentCaptured) else "refunded_minor")
            )
            assert waiting == held


@settings(max_examples=200)
@given(ANY_HISTORIES)
def test_limits_hold_whatever_comes(history: list[Event]) -> None:
    state = OrderState()
    for event in history:
        outcome = decide(state, event)
        state = outcome.state if isinstance(outcome, Decision) else state
        assert len(state.waiting) <= len(state.seen) <= MAX_EVENTS_PER_ORDER
        assert all(0 < len(event_id) <= MAX_ID_CHARACTERS for event_id, _ in state.seen)
        assert list(state.seen) == sorted(dict(state.seen).items()), "sorted, each id once"
        assert all(0 <= capture.refunded_minor <= capture.captured_minor <= MAX_AMOUNT_MINOR for capture in state.captures)
        assert len({capture.payment_id for capture in state.captures}) == len(state.captures)
        assert state.placed is not None or not (state.captures or state.cancelled_at_ms or state.booked_count)


@given(ANY_HISTORIES, st.data())
def test_an_event_that_was_applied_is_a_duplicate_for_ever_and_a_rejected_one_is_judged_the_same_again(
    history: list[Event], data: st.DataObject
) -> None:
    state: OrderState | None = None
    applied = []
    for event in history:
        outcome = decide(state, event)
        assert decide(state, event) == outcome, "deciding twice on the same state must give the same"
        if isinstance(outcome, Rejected):
            assert outcome.reason in REASONS
        elif isinstance(outcome, Decision):
            state = outcome.state
            applied.append(event)
    for event in applied:
        assert decide(state, event) == DUPLICATE


@given(st.lists(CLASHING_EVENTS, max_size=15), WILD_EVENTS | CLASHING_EVENTS)
def test_a_rejected_event_leaves_no_trace(history: list[Event], intruder: Event) -> None:
    partition = partition_of("o-1", 12)
    alone = settle([[(partition, event) for event in history]])
    state = alone.tables[ORDER_STATE.name].get((partition, b"o-1"))
    if not isinstance(decide(state, intruder), Rejected):
        return
    after = settle([[*((partition, event) for event in history), (partition, intruder), (partition, intruder)]])
    assert after.tables == alone.tables or intruder.order_id != "o-1"
    assert after.rows == alone.rows or intruder.order_id != "o-1"


@st.composite
def long_histories(draw: st.DrawFn) -> list[Event]:
    """Give events of a few orders over two weeks in any order, so that much is too old to be new and much waits too long."""
    orders = [draw(valid_histories(f"o-{number}")) for number in range(draw(st.integers(1, 4)))]
    events = draw(st.permutations([event for history in orders for event in history]))
    half_days = st.integers(-14, 14).map(lambda number: BASE_MS + number * 12 * 3_600_000)
    return [replace(event, occurred_at_ms=draw(half_days)) for event in events]


@settings(max_examples=200)
@given(st.data())
def test_where_epochs_are_cut_says_nothing_about_what_is_too_old_or_given_up(data: st.DataObject) -> None:
    events = [(0, event) for event in data.draw(long_histories())]
    straight = settle([[one] for one in events])
    batches = data.draw(cut(events))
    world = settle(batches, redo=data.draw(st.sets(st.integers(0, 4))))

    assert world.tables == straight.tables
    assert world.totals == straight.totals
    assert world.dead_letters == straight.dead_letters
    for topic in (UNMATCHED_PAYMENTS, UNPAID_ORDERS, REVENUE_ADJUSTMENTS):
        said, said_straight = (sorted(repr(emitted) for emitted in one.rows[topic.name]) for one in (world, straight))
        assert said == said_straight
    assert delta_sums(world) == delta_sums(straight)
    for currency, measure in ((c, m) for c in ("EUR", "JPY", "KWD") for m in ("captured_minor", "refunded_minor")):
        accepted, *parts = (
            world.totals[f"{account}|{currency}|{measure}"]
            for account in ("accepted", "booked", "adjusted", "waiting", "unmatched")
        )
        assert accepted == sum(parts)
    assert world.totals[WAITING_EVENTS] == sum(len(order.waiting) for order in world.tables[ORDER_STATE.name].values())
    due = {
        (slot[0], due_at_ms.to_bytes(8, "big") + slot[1])
        for slot, order in world.tables[ORDER_STATE.name].items()
        if (due_at_ms := due_ms(order, Limits())) is not None
    }
    assert world.tables[TIMERS.name].keys() == due, "a timer for each order that time has to do with, and no other"
