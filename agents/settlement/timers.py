"""Which orders time has something to do with, in the order of time: so that it is done though no event touches them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import pack

from agents.outcomes import Decision
from agents.ports import Batch, Keys, Limits, Slot, Table
from agents.settlement.lifecycle import due_ms, wake
from agents.settlement.state import OrderState, Timer

FIRED_MAX = 1_000
"""Timers of one task that one epoch fires, so that a jump in time is no giant epoch; the next ones fire the others."""
COLUMNS_FROM = 1_200
"""With so many due in a batch that has columns they are done in columns; from there on that is cheaper (bench/README.md)."""
TIMER = Timer()
_TIME_BYTES = 8
Due = Mapping[int, tuple[Sequence[int], Sequence[bytes]]]
"""By task, when orders are due and which ones these are: two sequences of one length."""
_Noted = dict[int, tuple[list[int], list[bytes]]]


class Timers:
    """Keeps one row per order in step with the orders of one batch: its key is the time that it is due, then the order's."""

    def __init__(self, table: Table[Timer], orders: Table[OrderState], limits: Limits) -> None:
        self._table = table
        self._orders = orders
        self._limits = limits

    def follow(self, before: Mapping[Slot, OrderState | None], after: Mapping[Slot, OrderState | None]) -> None:
        """Note how orders were, and how they are."""
        was: _Noted = {}
        due: _Noted = {}
        for slot, order in after.items():
            was_ms, is_ms = self._due_ms(before[slot]), self._due_ms(order)
            if was_ms != is_ms:
                _note(was, slot, was_ms)
                _note(due, slot, is_ms)
        self.move(was, due)

    def move(self, was: Due, due: Due) -> None:
        """Note of orders when they were due, and when they are due from now on."""
        self._table.put_same({partition: _keys(*some) for partition, some in was.items()}, None)
        self._table.put_same({partition: _keys(*some) for partition, some in due.items()}, TIMER)

    def _due_ms(self, order: OrderState | None) -> int | None:
        return None if order is None else due_ms(order, self._limits)

    def fire(
        self, batch: Batch, watermarks_ms: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[int, OrderState, Decision[OrderState | None]]]:
        """Do what is due; give ``(partition, order before, what is left and what is said)`` where something may be said.

        What fired is gone, also where nothing was due after all: the deployment's limits may be others than when it was noted,
        and an order that is due later is noted anew.
        """
        now_ms, fired = dict(watermarks_ms), {}
        for partition, watermark_ms in now_ms.items():
            if due := self._table.keys_below(partition, pack(">Q", watermark_ms + 1), FIRED_MAX):
                fired[partition] = due
            if len(due) == FIRED_MAX:
                batch.again(partition)
        self._table.put_same(fired, None)
        keys: Keys = {partition: [*dict.fromkeys(key[_TIME_BYTES:] for key in some)] for partition, some in fired.items()}
        if batch.columns is not None and sum(map(len, keys.values())) >= COLUMNS_FROM:
            keys = self._pass_over(keys, now_ms)
        return self._wake(keys, now_ms)

    def _pass_over(self, keys: Keys, now_ms: Mapping[int, int]) -> Keys:
        """Close and forget in columns the orders with which time has nothing else to do, which says nothing; give the others."""
        from agents.settlement.column_keys import due_of, keys_of  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has
        from agents.settlement.column_lifecycle import pass_over  # noqa: PLC0415

        passed = pass_over(keys, self._orders.get_columns(keys), now_ms, self._limits)
        self._orders.put_columns(keys_of(passed.closed), passed.closed)
        self._orders.put_same(passed.forgotten, None)
        self.move({}, due_of(passed.closed, "due_ms"))
        return passed.others

    def _wake(self, keys: Keys, now_ms: Mapping[int, int]) -> Iterator[tuple[int, OrderState, Decision[OrderState | None]]]:
        """Ask the rule book of each order, the longest due first."""
        for partition, some in keys.items():
            found = self._orders.get_many([(partition, key) for key in some])
            after: dict[Slot, OrderState | None] = {}
            due: _Noted = {}
            for slot, order in found.items():
                if order is not None:
                    decision = wake(order, slot[1], now_ms[partition], self._limits)
                    after[slot] = decision.state
                    _note(due, slot, self._due_ms(decision.state))
                    yield partition, order, decision
            self._orders.put_many(after)
            self.move({}, due)


def _note(due: _Noted, slot: Slot, time_ms: int | None) -> None:
    if time_ms is not None:
        times_ms, keys = due.setdefault(slot[0], ([], []))
        times_ms.append(time_ms)
        keys.append(slot[1])


def _keys(times_ms: Sequence[int], keys: Sequence[bytes]) -> list[bytes]:
    times = pack(f">{len(times_ms)}Q", *times_ms)  # sorts as the times do
    return [times[at : at + _TIME_BYTES] + key for at, key in zip(range(0, len(times), _TIME_BYTES), keys, strict=True)]
