"""The books of settlement: accepted = booked + waiting + unmatched, entry by entry."""

from __future__ import annotations

import pytest

from agents.settlement.books import Books, entries
from agents.settlement.state import OrderState
from schemas.events import Event
from tests.unit.orders import after, applied, cancelled, captured, failed, placed, refunded


def entered(state: OrderState | None, event: Event) -> list[tuple[str, str, str, int]]:
    return sorted(entries(state, event, applied(state, event)))


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (
            None,
            placed(),
            [
                ("accepted", "EUR", "gross_minor", 100),
                ("accepted", "EUR", "orders_count", 1),
                ("booked", "EUR", "gross_minor", 100),
                ("booked", "EUR", "orders_count", 1),
            ],
        ),
        (
            after(placed()),
            captured(),
            [("accepted", "EUR", "captured_minor", 100), ("booked", "EUR", "captured_minor", 100)],
        ),
        (
            None,
            captured(currency="JPY"),
            [("accepted", "JPY", "captured_minor", 100), ("waiting", "JPY", "captured_minor", 100)],
        ),
        (
            after(placed()),
            refunded(amount_minor=40),
            [("accepted", "EUR", "refunded_minor", 40), ("waiting", "EUR", "refunded_minor", 40)],
        ),
        (None, failed(), []),
        (after(placed()), failed(), []),
        (None, cancelled(), []),
        (
            after(placed()),
            cancelled(),
            [("accepted", "EUR", "cancelled_minor", 100), ("booked", "EUR", "cancelled_minor", 100)],
        ),
        (
            after(cancelled(), captured()),
            placed(),
            [
                ("accepted", "EUR", "cancelled_minor", 100),
                ("accepted", "EUR", "gross_minor", 100),
                ("accepted", "EUR", "orders_count", 1),
                ("booked", "EUR", "cancelled_minor", 100),
                ("booked", "EUR", "captured_minor", 100),
                ("booked", "EUR", "gross_minor", 100),
                ("booked", "EUR", "orders_count", 1),
                ("waiting", "EUR", "captured_minor", -100),
            ],
        ),
        (
            after(captured(currency="USD"), failed(currency="USD")),
            placed(),
            [
                ("accepted", "EUR", "gross_minor", 100),
                ("accepted", "EUR", "orders_count", 1),
                ("booked", "EUR", "gross_minor", 100),
                ("booked", "EUR", "orders_count", 1),
                ("unmatched", "USD", "captured_minor", 100),
                ("waiting", "USD", "captured_minor", -100),
            ],
        ),
        (
            after(placed(), refunded(amount_minor=101)),
            captured(),
            [
                ("accepted", "EUR", "captured_minor", 100),
                ("booked", "EUR", "captured_minor", 100),
                ("unmatched", "EUR", "refunded_minor", 101),
                ("waiting", "EUR", "refunded_minor", -101),
            ],
        ),
    ],
)
def test_each_event_enters_what_it_accepts_books_holds_and_gives_up(
    state: OrderState | None, event: Event, expected: list[tuple[str, str, str, int]]
) -> None:
    assert entered(state, event) == expected


def test_books_sum_the_entries_per_task_and_account() -> None:
    books = Books()
    for partition in (3, 4):
        first = applied(None, captured(amount_minor=30))
        books.add(partition, None, captured(amount_minor=30), first)
    second = captured("b", payment_id="p-2", amount_minor=5)
    books.add(4, first.state, second, applied(first.state, second))
    assert sorted(books.totals()) == [
        (3, "accepted|EUR|captured_minor", 30),
        (3, "waiting_events", 1),
        (3, "waiting|EUR|captured_minor", 30),
        (4, "accepted|EUR|captured_minor", 35),
        (4, "waiting_events", 2),
        (4, "waiting|EUR|captured_minor", 35),
    ]
