"""The plain way to run a rule book: one decision after the other, states read and written together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from agents.outcomes import Decision, Duplicate, Rejected
from agents.ports import Batch, Row, Slot, Table

S = TypeVar("S")


class Fold:
    """Runs ``decide`` over every row of a batch, or over some ``rows``, in order, each on the state that the one before left.

    Iterate to get ``(row, state before, Decision)`` for each applied row; when the iteration has
    ended, ``changed`` holds the last state of every changed slot and the table has them. What a
    decision needs to know besides state and event, ``facts_of`` gives when the row's turn has come.
    """

    def __init__(
        self,
        batch: Batch,
        table: Table[Any],
        key_of: Callable[[Any], bytes],
        decide: Callable[..., Decision[Any] | Duplicate | Rejected],
        facts_of: Callable[[Row], tuple[Any, ...]] = lambda _: (),
        rows: Sequence[Row] | None = None,
    ) -> None:
        self._batch = batch
        self._table = table
        self._key_of = key_of
        self._decide = decide
        self._facts_of = facts_of
        self._rows = batch.rows if rows is None else rows
        self.changed: dict[Slot, Any] = {}

    def __iter__(self) -> Iterator[tuple[Row, Any, Decision[Any]]]:
        batch, decide, facts_of, changed = self._batch, self._decide, self._facts_of, self.changed
        rows = self._rows
        slots = [(row.partition, self._key_of(row.event)) for row in rows]
        states = self._table.get_many(slots)
        for row, slot in zip(rows, slots, strict=True):
            before = states[slot]
            decision = batch.attempt(row, decide, before, *facts_of(row))
            if decision is not None:
                states[slot] = changed[slot] = decision.state
                yield row, before, decision
        self._table.put_many(changed)
