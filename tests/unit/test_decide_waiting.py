"""What waits in settlement, when it is booked, and what leaves unmatched."""

from __future__ import annotations

import pytest

from agents.flows import MONEY, Movement
from agents.outcomes import DUPLICATE, Decision, Rejected
from agents.settlement.decide import decide
from agents.settlement.rows import status_row
from agents.settlement.state import OrderState
from schemas.events import Event, OrderCapture, OrderStatus, UnmatchedPayment
from tests.unit.orders import MINUTE_MS, T0_MS, after, applied, cancelled, captured, failed, placed, refunded

NEXT_MS = T0_MS + MINUTE_MS


def moved(measure: str, amount: int, at_ms: int = T0_MS) -> Movement:
    return Movement(MONEY, ("m-1", "EUR"), at_ms, tuple(amount * (each == measure) for each in MONEY.measures))


def money(decision: Decision[OrderState]) -> tuple[object, ...]:
    """Give what is said of money, and what is no movement."""
    return tuple(output for output in decision.outputs if not isinstance(output, Movement) or output.flow is MONEY)


ORDER_MOVES = (Movement(MONEY, ("m-1", "EUR"), T0_MS, (1, 100, 0, 0, 0)),)


def status(state: OrderState | None) -> OrderStatus:
    assert state is not None
    assert state.placed is not None
    return status_row(b"o-1", state, state.placed)


@pytest.mark.parametrize("event", [captured(), failed(), refunded(), cancelled()])
def test_whatever_comes_before_its_order_waits_and_moves_nothing(event: Event) -> None:
    decision = applied(None, event)
    assert decision.outputs == ()
    assert decision.state.waiting == (event,)
    assert decision.state.booked_count == 0
    assert decide(decision.state, event) == DUPLICATE


@pytest.mark.parametrize(
    ("event", "moves"),
    [
        (captured(), (moved("captured_minor", 100),)),
        (failed(), ()),
        (cancelled(), (moved("cancelled_minor", 100),)),
    ],
)
def test_what_waited_for_its_order_is_booked_with_it(event: Event, moves: tuple[Movement, ...]) -> None:
    decision = applied(after(event), placed())
    assert money(decision) == (*ORDER_MOVES, *moves)
    assert decision.state.waiting == ()
    assert decision.state.booked_count == 2


def test_a_refund_waits_for_its_capture_though_the_order_is_there() -> None:
    waiting = after(placed(), captured(payment_id="p-2"), refunded())
    assert waiting is not None
    assert waiting.waiting == (refunded(),)
    decision = applied(waiting, captured("late"))
    assert money(decision) == (moved("captured_minor", 100), moved("refunded_minor", 100))
    assert decision.state.waiting == ()


def test_a_refund_that_waits_for_order_and_capture_is_booked_after_both() -> None:
    with_order = applied(after(refunded()), placed())
    assert money(with_order) == ORDER_MOVES
    assert with_order.state.waiting == (refunded(),)
    assert money(applied(with_order.state, captured())) == (moved("captured_minor", 100), moved("refunded_minor", 100))


def test_a_refund_older_than_its_capture_is_booked_when_both_waited() -> None:
    state = after(refunded(at_ms=T0_MS), captured(at_ms=NEXT_MS))
    decision = applied(state, placed())
    assert money(decision) == (*ORDER_MOVES, moved("captured_minor", 100, NEXT_MS), moved("refunded_minor", 100))


def unmatched(event: Event, reason: str) -> UnmatchedPayment:
    assert isinstance(event, type(captured()) | type(refunded()) | type(failed()))
    return UnmatchedPayment(
        event.event_id,
        type(event).__name__,
        "o-1",
        event.occurred_at_ms,
        event.payment_id,
        event.amount_minor,
        event.currency,
        reason,
    )


@pytest.mark.parametrize("event", [captured(currency="USD"), failed(currency="USD")])
def test_i4_what_waited_in_another_currency_leaves_as_unmatched_with_the_reason(event: Event) -> None:
    decision = applied(after(event), placed())
    assert money(decision) == (*ORDER_MOVES, unmatched(event, "currency_mismatch"))
    assert decision.state.waiting == ()
    assert decision.state.booked_count == 1
    assert decide(decision.state, event) == DUPLICATE


def test_i4_a_refund_that_waited_and_exceeds_its_capture_leaves_as_unmatched() -> None:
    refund = refunded(amount_minor=101)
    decision = applied(after(placed(), refund), captured())
    assert money(decision) == (moved("captured_minor", 100), unmatched(refund, "refund_exceeds_capture"))
    assert decision.state.waiting == ()
    assert status(decision.state).refunded_minor == 0


def test_i4_of_two_refunds_that_waited_the_older_is_booked_and_the_other_is_unmatched() -> None:
    older, younger = refunded("z-older", amount_minor=60), refunded("a-younger", amount_minor=60, at_ms=T0_MS + 1)
    for first, second in ((older, younger), (younger, older)):
        decision = applied(after(placed(), first, second), captured())
        assert money(decision) == (
            moved("captured_minor", 100),
            moved("refunded_minor", 60),
            unmatched(younger, "refund_exceeds_capture"),
        )


def test_a_refund_whose_capture_is_unmatched_goes_on_waiting() -> None:
    refund = refunded(currency="EUR")
    state = applied(after(captured(currency="USD"), refund), placed()).state
    assert state.waiting == (refund,)


@pytest.mark.parametrize(
    ("event", "measure", "amount"),
    [
        (captured(), "captured_minor", 100),
        (refunded(amount_minor=40), "refunded_minor", 40),
        (cancelled(), "cancelled_minor", 100),
    ],
)
@pytest.mark.parametrize(
    ("order_ms", "event_ms", "window_ms"),
    [
        (T0_MS, NEXT_MS + 1, NEXT_MS),
        (NEXT_MS + 59_999, T0_MS, NEXT_MS),
        (T0_MS + 59_999, T0_MS, T0_MS),
        (T0_MS, T0_MS + 59_999, T0_MS),
        (T0_MS, T0_MS + 60_000, NEXT_MS),
    ],
)
def test_a_delta_stands_in_the_minute_of_the_later_of_event_and_order(
    event: Event, measure: str, amount: int, order_ms: int, event_ms: int, window_ms: int
) -> None:
    order = placed(at_ms=order_ms)
    dated = type(event)(**{**{name: getattr(event, name) for name in event.__struct_fields__}, "occurred_at_ms": event_ms})
    first = captured("the capture", at_ms=order_ms) if measure == "refunded_minor" else None
    history = (order, first) if first else (order,)
    assert money(applied(after(*history), dated)) == (moved(measure, amount, window_ms),)
    late = applied(after(dated), order)
    if first:
        late = applied(late.state, first)
    assert moved(measure, amount, window_ms) in late.outputs


def test_a_capture_after_the_cancellation_is_booked_because_the_money_moved_and_a_refund_is_due() -> None:
    decision = applied(after(placed(), cancelled()), captured())
    assert money(decision) == (moved("captured_minor", 100),)
    row = status(decision.state)
    assert (row.status, row.refund_due, row.captured_minor) == ("cancelled", True, 100)
    partly = applied(decision.state, refunded("a", amount_minor=99)).state
    assert status(partly).refund_due
    wholly = applied(partly, refunded("b", amount_minor=1)).state
    assert not status(wholly).refund_due
    assert status(wholly).status == "cancelled"


@pytest.mark.parametrize(
    ("history", "name"),
    [
        ([placed()], "placed"),
        ([placed(), failed()], "placed"),
        ([placed(), captured(amount_minor=99)], "partially_captured"),
        ([placed(), captured(amount_minor=60), captured("b", payment_id="p-2", amount_minor=40)], "captured"),
        ([placed(), captured(amount_minor=150)], "captured"),
        ([placed(), captured(), refunded(amount_minor=99)], "captured"),
        ([placed(), captured(), refunded()], "refunded"),
        ([placed(), cancelled()], "cancelled"),
        ([placed(), captured(), cancelled()], "cancelled"),
    ],
)
def test_status_is_named_after_the_money(history: list[Event], name: str) -> None:
    assert status(after(*history)).status == name


def test_a_status_row_says_everything_that_is_booked() -> None:
    state = after(
        placed(), failed("f-1"), captured(amount_minor=70, at_ms=NEXT_MS), refunded(amount_minor=20), cancelled(at_ms=T0_MS + 5)
    )
    assert status(state) == OrderStatus(
        order_id="o-1",
        merchant_id="m-1",
        customer_id="c-1",
        currency="EUR",
        status="cancelled",
        amount_minor=100,
        captured_minor=70,
        refunded_minor=20,
        refund_due=True,
        failures_count=1,
        placed_at_ms=T0_MS,
        cancelled_at_ms=T0_MS + 5,
        updated_at_ms=NEXT_MS,
        revision=5,
        captures=(OrderCapture("p-1", "card", NEXT_MS, 70, 20, T0_MS),),
    )


def test_a_second_cancellation_is_rejected_also_while_the_first_waits() -> None:
    assert isinstance(decide(after(cancelled()), cancelled("b")), Rejected)
