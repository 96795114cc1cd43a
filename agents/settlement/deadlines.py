"""Which orders have money that waits, in the order of time: so that it is given up though its order is never touched again."""

from __future__ import annotations

from collections.abc import Iterator

from agents.outcomes import Decision
from agents.ports import Slot, Table
from agents.settlement.clocks import Clocks
from agents.settlement.decide import give_up_waiting, waits_since_ms
from agents.settlement.state import Deadline, OrderState

GIVEN_UP_MAX = 1_000
"""Orders of one task that one epoch gives up on, so that a jump in time is no giant epoch; the others follow with the next.

No setting: it moves only which epoch of the same second an order is in.
"""
_TIME_BYTES = 8


class Deadlines:
    """Keeps one row per waiting order in step with the orders of one batch: its key is the time since when, then the order's."""

    def __init__(self, table: Table[Deadline], orders: Table[OrderState]) -> None:
        self._table = table
        self._orders = orders
        self._changed: dict[Slot, Deadline | None] = {}

    def follow(self, slot: Slot, before: OrderState | None, after: OrderState) -> None:
        """Note that an order changed."""
        was_ms = None if before is None else waits_since_ms(before)
        is_ms = waits_since_ms(after)
        if was_ms != is_ms:
            partition, order_key = slot
            if was_ms is not None:
                self._changed[partition, _key(was_ms) + order_key] = None
            if is_ms is not None:
                self._changed[partition, _key(is_ms) + order_key] = Deadline()

    def give_up(self, clocks: Clocks) -> Iterator[tuple[int, OrderState, Decision[OrderState]]]:
        """Give ``(partition, order before, what is left and what leaves)`` for each order that waited too long, oldest first."""
        self._save()
        for partition in clocks.partitions:
            give_up_ms = clocks.give_up_ms(partition)
            due = self._table.keys_below(partition, _key(give_up_ms), GIVEN_UP_MAX)
            changed: dict[Slot, OrderState | None] = {}
            for slot, before in self._orders.get_many([(partition, key[_TIME_BYTES:]) for key in due]).items():
                if before is not None:
                    after, rows = give_up_waiting(before, give_up_ms)
                    changed[slot] = after
                    self.follow(slot, before, after)
                    yield partition, before, Decision(after, rows)
            self._orders.put_many(changed)
        self._save()

    def _save(self) -> None:
        self._table.put_many(self._changed)
        self._changed = {}


def _key(time_ms: int) -> bytes:
    return time_ms.to_bytes(_TIME_BYTES, "big")
