"""What time does to an order: unpaid, closed, forgotten; and what an event finds when it comes after that."""

from __future__ import annotations

import msgspec
import pytest

from agents.flows import MONEY, Movement
from agents.outcomes import Rejected
from agents.ports import DAY_MS, Limits, Tick
from agents.settlement.agent import declare
from agents.settlement.decide import Times, decide
from agents.settlement.lifecycle import HOUR_MS, close, due_ms, wake
from agents.settlement.state import ORDER_STATE, TIMERS, OrderState
from agents.testing import MemoryRuntime
from schemas.events import Event
from schemas.topics import ORDER_STATUS, ORDERS, PAYMENTS, UNPAID_ORDERS
from tests.unit.orders import MINUTE_MS, T0_MS, after, applied, cancelled, captured, failed, placed, refunded

LIMITS = Limits()
WEEK_MS = LIMITS.dedup_horizon_ms
CHECKED_MS = T0_MS + LIMITS.unpaid_after_ms + MINUTE_MS + LIMITS.grace_ms
CLOSED_MS = (T0_MS + WEEK_MS) // HOUR_MS * HOUR_MS + HOUR_MS
BOTH = frozenset({ORDERS.name, PAYMENTS.name})


def tick(at_ms: int, idle: frozenset[str] = BOTH) -> Tick:
    return Tick(0, at_ms + LIMITS.idle_delay_ms, idle)


@pytest.mark.parametrize(
    ("events", "is_unpaid"),
    [
        ([placed()], True),
        ([placed(), failed()], True),
        ([placed(), captured(amount_minor=1, at_ms=T0_MS + LIMITS.unpaid_after_ms)], False),
        ([placed(), captured(at_ms=T0_MS + LIMITS.unpaid_after_ms + 1)], True),
        ([placed(), cancelled(at_ms=T0_MS + LIMITS.unpaid_after_ms)], False),
        ([placed(), cancelled(at_ms=T0_MS + LIMITS.unpaid_after_ms + 1)], True),
    ],
)
def test_an_order_is_unpaid_when_nothing_was_captured_in_time_by_the_times_of_the_events(
    events: list[Event], is_unpaid: bool
) -> None:
    state = after(*events)
    assert (due_ms(state, LIMITS) == CHECKED_MS) == is_unpaid
    woken = wake(state, b"o-1", CHECKED_MS, LIMITS)
    said = [(row.order_id, row.amount_minor, row.unpaid_at_ms) for row in woken.outputs]
    assert said == [("o-1", 100, T0_MS + LIMITS.unpaid_after_ms)] * is_unpaid
    assert wake(state, b"o-1", CHECKED_MS - 1, LIMITS).outputs == ()
    assert woken.state is not None
    assert wake(woken.state, b"o-1", CHECKED_MS + 1, LIMITS).outputs == (), "once"


def test_a_tick_alone_says_that_an_order_is_unpaid_though_nothing_comes_any_more() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, placed())], [tick(CHECKED_MS - 1)]])
    assert runtime.world.rows[UNPAID_ORDERS.name] == []
    assert runtime.world.counters[0]["watermark_ms"] == CHECKED_MS - 1
    runtime.run(declare, [[tick(CHECKED_MS)], [tick(CHECKED_MS + DAY_MS)]])
    assert [(row.key, row.value.merchant_id) for row in runtime.world.rows[UNPAID_ORDERS.name]] == [(b"o-1", "m-1")]


def test_while_one_input_is_active_ticks_move_nothing_and_an_idle_input_holds_nothing_back() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, placed())], [tick(T0_MS + DAY_MS, frozenset({PAYMENTS.name}))]])
    assert runtime.world.counters[0]["watermark_ms"] == T0_MS, "the orders' newest: payments are idle from the start"
    runtime.run(declare, [[(0, captured(at_ms=T0_MS - 5))]])
    assert runtime.world.counters[0]["idle|payments"] == 0, "what comes makes it active"
    assert runtime.world.counters[0]["watermark_ms"] == T0_MS, "and takes nothing back"


def test_an_order_is_closed_after_the_horizon_to_a_hundred_bytes_and_forgotten_after_the_set_time() -> None:
    state = after(
        placed("e" * 32, order_id="o-1-000123", customer_id="c-9999", merchant_id="m-40"),
        captured("f" * 32, payment_id="p-1-000123-1", amount_minor=70), captured("g" * 32, payment_id="p-2", amount_minor=20),
        refunded("h" * 32, payment_id="p-2", amount_minor=5), cancelled("i" * 32),
    )  # fmt: skip
    assert due_ms(state, LIMITS) == CLOSED_MS
    closed = wake(state, b"o-1-000123", CLOSED_MS, LIMITS).state
    assert closed == close(state)
    assert closed is not None
    assert (closed.seen, closed.captured_minor, closed.refunded_minor, closed.status) == ((), 90, 5, "cancelled")
    assert len(msgspec.msgpack.encode(closed)) <= 100
    forgotten_ms = (T0_MS + LIMITS.keep_closed_ms) // HOUR_MS * HOUR_MS + HOUR_MS
    assert due_ms(closed, LIMITS) == forgotten_ms
    assert wake(closed, b"o", forgotten_ms - 1, LIMITS).state == closed
    assert wake(closed, b"o", forgotten_ms, LIMITS).state is None


def test_an_order_with_money_that_waits_is_never_closed_over_it() -> None:
    state = after(placed(), refunded())
    slow = Limits(waiting_max_ms=30 * DAY_MS)
    assert wake(state, b"o-1", CLOSED_MS + DAY_MS, slow).state is not None
    assert wake(state, b"o-1", CLOSED_MS + DAY_MS, slow).state.waiting == state.waiting  # type: ignore[union-attr]


def test_what_was_never_placed_is_forgotten_at_the_horizon() -> None:
    assert wake(after(cancelled()), b"o-1", CLOSED_MS, LIMITS).state is None


def test_a_closed_order_takes_a_refund_of_what_it_had_captured_and_opens_for_another_horizon() -> None:
    closed = close(after(placed(), captured(amount_minor=60), captured("b", payment_id="p-2", amount_minor=40)))
    late_ms = T0_MS + 20 * DAY_MS
    decision = applied(closed, refunded("late", payment_id="p-2", amount_minor=90, at_ms=late_ms))
    minute_ms = late_ms - late_ms % MINUTE_MS
    assert decision.outputs == (Movement(MONEY, ("m-1", "EUR"), minute_ms, (0, 0, 0, 90, 0)),)
    assert decision.state.refunded_minor == 90
    again = decide(decision.state, refunded("more", payment_id="p-1", amount_minor=11, at_ms=late_ms))
    assert isinstance(again, Rejected)
    assert again.reason == "refund_exceeds_capture"
    assert due_ms(decision.state, LIMITS) == (late_ms + WEEK_MS) // HOUR_MS * HOUR_MS + HOUR_MS
    new = applied(closed, captured("new", payment_id="p-3", amount_minor=7, at_ms=late_ms)).state
    assert (new.captured_minor, len(new.captures)) == (107, 2)


def test_an_event_finds_its_order_as_time_has_left_it_though_no_timer_has_fired_yet() -> None:
    state = after(placed(), captured())
    times = Times(watermark_ms=CLOSED_MS, oldest_ms=CLOSED_MS - WEEK_MS)
    assert applied_at(state, captured("new", payment_id="p-3", at_ms=CLOSED_MS), times) == applied_at(
        close(state), captured("new", payment_id="p-3", at_ms=CLOSED_MS), times
    )
    repeated = decide(state, captured(), times)
    assert isinstance(repeated, Rejected)
    assert repeated.reason == "beyond_horizon", "its id is no longer known, and so it is never taken for new"


def applied_at(state: OrderState, event: Event, times: Times) -> OrderState:
    outcome = decide(state, event, times)
    assert not isinstance(outcome, Rejected)
    return outcome.state  # type: ignore[union-attr]


def test_the_last_row_of_a_closed_order_stays_and_its_state_goes() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, placed()), (0, captured())], [tick(CLOSED_MS)]])
    [closed] = runtime.world.tables[ORDER_STATE.name].values()
    assert closed.seen == ()
    runtime.run(declare, [[tick(T0_MS + 200 * DAY_MS)]])
    assert runtime.world.tables[ORDER_STATE.name] == runtime.world.tables[TIMERS.name] == {}
    assert runtime.world.newest(ORDER_STATUS)[b"o-1"].status == "captured"


def test_a_late_event_changes_its_order_and_its_money_is_an_adjustment_of_every_flow() -> None:
    runtime = MemoryRuntime()
    on_time_ms = T0_MS + LIMITS.grace_ms
    runtime.run(declare, [[(0, placed("on", order_id="o-2", at_ms=on_time_ms + MINUTE_MS)), (0, placed())]])
    rows = [row.value for row in runtime.world.rows["revenue-adjustments"]]
    assert [(row.flow, row.event_id, row.reason) for row in rows] == [
        ("money", "placed", "late"), ("customers", "placed", "late"), ("products", "placed", "late"),
    ]  # fmt: skip
    assert rows[0].amounts == {"orders_count": 1, "gross_minor": 100}
    assert rows[0].dimensions == {"merchant_id": "m-1", "currency": "EUR"}
    assert runtime.world.totals["adjusted|EUR|gross_minor"] == 100 == runtime.world.totals["booked|EUR|gross_minor"]
    assert runtime.world.newest(ORDER_STATUS)[b"o-1"].amount_minor == 100
    again = MemoryRuntime()
    again.run(declare, [[(0, placed("on", order_id="o-2", at_ms=on_time_ms + MINUTE_MS - 1)), (0, placed())]])
    assert again.world.rows["revenue-adjustments"] == []
