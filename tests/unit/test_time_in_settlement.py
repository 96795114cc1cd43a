"""Event time in settlement: the clocks of a task, what is too old to be new, and money that waited too long."""

from __future__ import annotations

import pytest

from agents.ports import DAY_MS, Limits
from agents.settlement import timers
from agents.settlement.agent import declare
from agents.settlement.decide import Times, decide
from agents.settlement.lifecycle import WAITED_TOO_LONG, give_up_waiting
from agents.settlement.state import ORDER_STATE, TIMERS
from agents.testing import MemoryRuntime
from schemas.events import Event, PaymentCaptured, UnmatchedPayment
from schemas.topics import ORDER_STATUS, UNMATCHED_PAYMENTS, UNPAID_ORDERS
from tests.unit.orders import T0_MS, after, applied, cancelled, captured, failed, placed, refunded

WEEK_MS = 7 * DAY_MS


def at(order_id: str, event_id: str, at_ms: int) -> Event:
    return placed(event_id, order_id=order_id, at_ms=at_ms)


def pay(order_id: str, event_id: str, at_ms: int) -> PaymentCaptured:
    return captured(event_id, order_id=order_id, payment_id=f"p-{event_id}", at_ms=at_ms)


def reasons(runtime: MemoryRuntime) -> list[tuple[str, str]]:
    return [(letter.event.event_id, letter.reason) for letter in runtime.world.dead_letters]


def given_up(runtime: MemoryRuntime) -> list[str]:
    rows = [emitted.value for emitted in runtime.world.rows[UNMATCHED_PAYMENTS.name]]
    assert {row.reason for row in rows} <= {WAITED_TOO_LONG}
    return [row.event_id for row in rows]


def test_an_event_older_than_its_partitions_newest_by_more_than_the_horizon_is_never_new() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, at("o-1", "now", T0_MS)), (0, at("o-2", "old", T0_MS - WEEK_MS - 1))]])
    assert reasons(runtime) == [("old", "beyond_horizon")]
    runtime.run(declare, [[(0, at("o-3", "in time", T0_MS - WEEK_MS))]])
    assert len(reasons(runtime)) == 1
    runtime.run(declare, [[(0, at("o-4", "a little later", T0_MS + 1)), (0, at("o-5", "just beyond", T0_MS - WEEK_MS))]])
    assert reasons(runtime)[1:] == [("just beyond", "beyond_horizon")]


def test_each_partition_of_each_input_has_a_clock_of_its_own() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, at("o-1", "now", T0_MS)), (1, at("o-2", "elsewhere", T0_MS - WEEK_MS - 1))]])
    runtime.run(declare, [[(0, pay("o-1", "other input", T0_MS - WEEK_MS - 1))]])
    assert reasons(runtime) == []
    assert runtime.world.counters[0]["newest_ms|orders"] == T0_MS
    assert runtime.world.counters[0]["newest_ms|payments"] == T0_MS - WEEK_MS - 1
    assert runtime.world.counters[1]["newest_ms|orders"] == T0_MS - WEEK_MS - 1
    assert runtime.world.counters[1]["newest_ms|payments"] == 0


def test_only_what_was_applied_moves_a_clock() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, at("o-1", "first", T0_MS)), (0, placed("bad", order_id="o-2", at_ms=T0_MS + 1, currency="XXX"))]])
    runtime.run(declare, [[(0, placed("first", order_id="o-1", at_ms=T0_MS + 2))]])
    assert runtime.world.counters[0]["newest_ms|orders"] == T0_MS
    assert runtime.world.counters[0]["duplicates|other_content"] == runtime.world.counters[0]["duplicates"] == 1


def test_the_horizon_is_set_by_the_deployment() -> None:
    runtime = MemoryRuntime(Limits(dedup_horizon_ms=1_000))
    runtime.run(
        declare, [[(0, at("o-1", "now", T0_MS)), (0, at("o-2", "old", T0_MS - 1_001)), (0, at("o-3", "ok", T0_MS - 1_000))]]
    )
    assert reasons(runtime) == [("old", "beyond_horizon")]


def test_money_is_given_up_when_both_inputs_have_passed_it_by_the_set_time_though_its_order_is_never_touched() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, pay("o-lost", "lost", T0_MS))]])
    runtime.run(declare, [[(0, at("o-1", "order", T0_MS + DAY_MS + 1)), (0, pay("o-1", "payment", T0_MS + DAY_MS))]])
    assert given_up(runtime) == [], "payments have passed it by no more than a day"
    assert (0, (T0_MS + DAY_MS + 1).to_bytes(8, "big") + b"o-lost") in runtime.world.tables[TIMERS.name]
    runtime.run(declare, [[(0, pay("o-1", "one more", T0_MS + DAY_MS + 1))]])
    assert given_up(runtime) == ["lost"]
    state = runtime.world.tables[ORDER_STATE.name][0, b"o-lost"]
    assert state.waiting == ()
    assert [event_id for event_id, _ in state.seen] == ["lost"], "a repeat stays a duplicate"
    assert [key[8:] for _, key in runtime.world.tables[TIMERS.name]] == [b"o-1", b"o-lost"], "one each, for what comes next"
    runtime.run(declare, [[(0, at("o-2", "later", T0_MS + 2 * DAY_MS)), (0, pay("o-2", "later too", T0_MS + 2 * DAY_MS))]])
    assert given_up(runtime) == ["lost"], "once"


def test_the_books_balance_when_money_is_given_up() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, pay("o-lost", "lost", T0_MS))]])
    assert runtime.world.totals["waiting|EUR|captured_minor"] == 100
    late_ms = T0_MS + DAY_MS + 1
    totals = runtime.run(declare, [[(0, at("o-1", "order", late_ms)), (0, pay("o-1", "payment", late_ms))]]).totals
    assert totals["unmatched|EUR|captured_minor"] == 100
    assert totals["waiting|EUR|captured_minor"] == 0
    assert totals["accepted|EUR|captured_minor"] == 200 == totals["booked|EUR|captured_minor"] + 100


def test_an_order_that_comes_too_late_for_its_payment_is_placed_without_it() -> None:
    state = after(captured())
    decision = applied(state, placed(at_ms=T0_MS + DAY_MS))
    assert decision.state.captured_minor == 100, "nothing says that it is late"
    late = decide(state, placed(at_ms=T0_MS + DAY_MS), Times(watermark_ms=T0_MS + DAY_MS + 1))
    assert late != decision
    rows = [output for output in late.outputs if isinstance(output, UnmatchedPayment)]  # type: ignore[union-attr]
    assert [(row.event_id, row.reason, row.amount_minor) for row in rows] == [("captured", WAITED_TOO_LONG, 100)]
    assert late.state.captured_minor == 0  # type: ignore[union-attr]
    assert late.state.waiting == ()  # type: ignore[union-attr]


def test_a_cancellation_waits_for_ever_and_younger_money_goes_on_waiting() -> None:
    state = after(
        cancelled(at_ms=T0_MS - 5), captured("a", at_ms=T0_MS), failed("b", at_ms=T0_MS + 1), refunded("c", at_ms=T0_MS + 2)
    )
    left, rows = give_up_waiting(state, T0_MS + 2)
    assert [event.event_id for event in left.waiting] == ["cancelled", "c"]
    assert [row.event_id for row in rows] == ["a", "b"]
    assert give_up_waiting(state, T0_MS) == (state, ())
    assert left.seen == state.seen


def test_a_refund_that_waits_for_its_capture_is_given_up_too_and_its_order_stays() -> None:
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, placed()), (0, refunded("r", payment_id="never"))]])
    late_ms = T0_MS + DAY_MS + 1
    runtime.run(declare, [[(0, at("o-2", "order", late_ms)), (0, pay("o-2", "payment", late_ms))]])
    assert given_up(runtime) == ["r"]
    assert runtime.world.newest(ORDER_STATUS)[b"o-1"].status == "placed"


def test_i5_one_epoch_fires_a_bounded_number_of_timers_and_asks_for_one_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timers, "FIRED_MAX", 2)
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, pay(f"o-lost-{number}", f"lost {number}", T0_MS + 9 - number)) for number in range(5)]])
    late_ms = T0_MS + 2 * DAY_MS
    runtime.run(declare, [[(0, at("o-1", "order", late_ms)), (0, pay("o-1", "payment", late_ms))]])
    assert given_up(runtime) == [f"lost {4 - place}" for place in range(5)], "the oldest first"
    assert runtime.world.epochs[0] == 1 + 3


@pytest.mark.parametrize(
    "limits",
    [Limits(dedup_horizon_ms=2 * WEEK_MS), Limits(dedup_horizon_ms=DAY_MS), Limits(unpaid_after_ms=3 * DAY_MS)],
    ids=["a longer horizon", "a shorter one", "more time to pay"],
)
def test_timers_of_other_limits_fire_once_and_stand_in_nobodys_way(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was noted with the limits of before is due at another time now: it fired for ever, and kept all later ones waiting."""
    monkeypatch.setattr(timers, "FIRED_MAX", 2)
    runtime = MemoryRuntime()
    runtime.run(declare, [[(0, at(f"o-{number}", f"e-{number}", T0_MS + number)) for number in range(7)]])
    runtime.run(declare, [[(0, pay("o-1", "paid", T0_MS + 1)), (0, pay("o-lost", "lost", T0_MS + 1))]])
    runtime.limits = limits
    for day in (8, 9, 30):
        now_ms = T0_MS + day * DAY_MS
        runtime.run(declare, [[(0, at(f"o-{day}", "placed", now_ms)), (0, pay(f"o-{day}", "paid", now_ms))]])
        assert runtime.table(TIMERS).keys_below(0, now_ms.to_bytes(8, "big"), 100) == [], f"on day {day}"
    assert given_up(runtime) == ["lost"]
    unpaid = [emitted.key for emitted in runtime.world.rows[UNPAID_ORDERS.name]]
    assert sorted(unpaid) == [b"o-0", *(b"o-%d" % number for number in range(2, 7))]
    for day in (400, 401):  # closed, then forgotten
        now_ms = T0_MS + day * DAY_MS
        runtime.run(declare, [[(0, at(f"o-{day}", "placed", now_ms)), (0, pay(f"o-{day}", "paid", now_ms))]])
    assert {slot[1] for slot in runtime.world.tables[ORDER_STATE.name]} == {b"o-400", b"o-401"}
    assert {slot[1][8:] for slot in runtime.world.tables[TIMERS.name]} == {b"o-400", b"o-401"}
