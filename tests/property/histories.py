"""Strategies: what can happen to one order, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

from schemas.events import Event, OrderCancelled, OrderLine, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded

T = TypeVar("T")

BASE_MS = 1_795_000_000_000
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TIMES_MS = st.integers(BASE_MS - 180_000, BASE_MS + 180_000)
AMOUNTS_MINOR = st.integers(1, 1_000) | st.integers(1, 10**12)


@st.composite
def valid_histories(draw: st.DrawFn, order_id: str = "o-1", *, whole: bool = False) -> list[Event]:
    """Give events of one order that are valid in some order; unless ``whole`` some may be missing, so that others wait."""
    currency = draw(st.sampled_from(["EUR", "JPY", "KWD"]))
    numbers = iter(range(1_000))

    def common() -> tuple[str, str, int, str]:
        # Ids are shuffled against time, so that neither order can stand in for the other.
        return f"{draw(st.integers(0, 99)):02d}-{next(numbers)}-{order_id}", order_id, draw(TIMES_MS), "shop"

    line = st.builds(OrderLine, st.text(max_size=3), st.integers(1, 9), st.integers(1, 10**6))
    lines = draw(st.lists(line, min_size=1, max_size=3))
    amount_minor = sum(line.quantity * line.unit_price_minor for line in lines)
    merchant_id = draw(st.sampled_from(["m-1", "m-2"]))
    history: list[Event] = [OrderPlaced(*common(), "c-1", merchant_id, currency, amount_minor, tuple(lines))]
    for number in range(draw(st.integers(0, 3))):
        payment_id, captured_minor = f"p-{number}", draw(AMOUNTS_MINOR)
        history.append(PaymentCaptured(*common(), payment_id, "card", captured_minor, currency))
        left_minor = captured_minor
        for _ in range(draw(st.integers(0, 3))):
            if left_minor == 0:
                break
            refunded_minor = draw(st.integers(1, left_minor))
            left_minor -= refunded_minor
            refund_id = f"r-{next(numbers)}"
            history.append(PaymentRefunded(*common(), refund_id, payment_id, refunded_minor, currency))
    fails = draw(st.integers(0, 2))
    history += [PaymentFailed(*common(), f"p-{number}", "card", draw(AMOUNTS_MINOR), currency) for number in range(fails)]
    if draw(st.booleans()):
        history.append(OrderCancelled(*common()))
    if not whole:
        missing = draw(st.sets(st.integers(0, len(history) - 1), max_size=2))
        history = [event for place, event in enumerate(history) if place not in missing]
    return history


@st.composite
def sent(draw: st.DrawFn, history: Sequence[T]) -> list[T]:
    """Give the history in another order, with any of its events sent several times."""
    again = draw(st.lists(st.sampled_from(history), max_size=len(history))) if history else []
    return draw(st.permutations([*history, *again]))


@st.composite
def cut(draw: st.DrawFn, items: Sequence[T]) -> list[list[T]]:
    """Cut a list into batches."""
    places = sorted(draw(st.sets(st.integers(1, len(items) - 1), max_size=4))) if len(items) > 1 else []
    return [list(items[start:end]) for start, end in zip([0, *places], [*places, len(items)], strict=True)]


def _events(
    ids: st.SearchStrategy[str],
    order_ids: st.SearchStrategy[str],
    texts: st.SearchStrategy[str],
    currencies: st.SearchStrategy[str],
    times_ms: st.SearchStrategy[int],
    amounts: st.SearchStrategy[int],
    small: st.SearchStrategy[int],
) -> st.SearchStrategy[Event]:
    lines = st.lists(st.builds(OrderLine, texts, small, amounts), max_size=3).map(tuple)
    payment = (texts, texts, amounts, currencies)
    common = (ids, order_ids, times_ms, texts)
    return st.one_of(
        st.builds(OrderPlaced, *common, texts, texts, currencies, amounts, lines),
        st.builds(OrderCancelled, *common),
        st.builds(PaymentCaptured, *common, *payment),
        st.builds(PaymentFailed, *common, *payment),
        st.builds(PaymentRefunded, *common, *payment),
    )


def _rightly_summed(event: Event) -> Event:
    if not isinstance(event, OrderPlaced):
        return event
    amount = sum(line.quantity * line.unit_price_minor for line in event.lines)
    return OrderPlaced(
        event.event_id, event.order_id, event.occurred_at_ms, event.source,
        event.customer_id, event.merchant_id, event.currency, amount, event.lines,
    )  # fmt: skip


WILD_EVENTS = _events(st.text(), st.text(), st.text(), st.text() | st.just("EUR"), INT64, INT64, INT32)
"""Any value that a schema can hold in any field."""

CLASHING_EVENTS = _events(
    st.integers(0, 30).map(lambda n: f"e-{n}"),
    st.just("o-1"),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["EUR", "EUR", "EUR", "USD"]),
    TIMES_MS,
    st.integers(1, 30) | st.integers(-1, 30),
    st.integers(1, 3) | st.integers(0, 1),
).map(_rightly_summed)
"""Events that look right one by one and get into each other's way: few ids, small amounts, two currencies."""

ANY_HISTORIES = st.lists(CLASHING_EVENTS | WILD_EVENTS, max_size=30) | st.lists(CLASHING_EVENTS, max_size=30)
