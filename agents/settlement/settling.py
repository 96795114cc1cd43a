"""One batch of settlement: booked in columns as far as that goes, else by the rule book, row by row; then what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from agents.flows import MONEY, Flow
from agents.ports import Batch, Columns, Limits, Row, Slot, Table
from agents.rowwise import Fold
from agents.settlement.books import Books
from agents.settlement.clocks import Clocks
from agents.settlement.decide import Times, decide
from agents.settlement.rows import DELTAS_KEY, Combiner, order_key, status_rows
from agents.settlement.state import OrderState
from agents.settlement.timers import Timers
from schemas.events import OrderStatus
from schemas.topics import ORDER_STATUS


class Settling:
    """What a batch does to orders, money and time. ``flows`` are what the stages behind it sum."""

    def __init__(self, batch: Batch, orders: Table[OrderState], timers: Timers, limits: Limits, flows: Sequence[Flow]) -> None:
        self._batch = batch
        self._orders = orders
        self._timers = timers
        self._limits = limits
        self._flows = flows
        self._clocks = Clocks(batch, limits)
        self._books = Books()
        self._said = Combiner(flows)

    def decide(self) -> None:
        """Decide every record: whole orders in columns where the batch has them, and what is left by the rule book."""
        columns = self._batch.columns
        if columns is None:
            self._by_rows(self._batch.rows, self._clocks.times_of)
        else:
            self._by_columns(columns)

    def _by_columns(self, columns: Columns) -> None:
        from agents.settlement.column_batch import Gathering  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has
        from agents.settlement.columns import book  # noqa: PLC0415

        gathering = Gathering(columns)
        found = self._orders.get_columns(gathering.keys)
        booked = book(gathering, found, self._clocks, self._limits, {MONEY, *self._flows})
        self._orders.put_columns(booked.keys, booked.orders)
        self._timers.move(booked.due("was_due_ms"), booked.due("due_ms"))
        self._batch.emit_columns(ORDER_STATUS, OrderStatus, [*chain(*booked.keys.values())], booked.rows)
        for partition, currency, amounts in booked.money():
            self._books.add_booked(partition, currency, amounts)
        for flow in self._flows:
            for dimensions, minute_ms, amounts in booked.sums(flow):
                self._said.add_sum(flow, dimensions, minute_ms, amounts)
        for partition, applied, duplicates, other_content in booked.outcomes():
            self._batch.tally(partition, applied=applied, duplicates=duplicates, other_content=other_content)
        newest = booked.newest_before_told()

        def times_of(row: Row) -> tuple[Times, Limits]:
            for event_type, occurred_at_ms in next(newest):  # of what was booked in columns and had come before this row
                self._clocks.reach(row.partition, event_type, occurred_at_ms)
            return self._clocks.times_of(row)

        self._by_rows(self._batch.rows_at(booked.told["at"].to_list()), times_of)
        for partition, event_type, occurred_at_ms in booked.newest():
            self._clocks.reach(partition, event_type, occurred_at_ms)

    def _by_rows(self, rows: Sequence[Row], times_of: Callable[[Row], tuple[Times, Limits]]) -> None:
        fold = Fold(self._batch, self._orders, order_key, decide, times_of, rows)
        first: dict[Slot, OrderState | None] = {}
        for row, before, decision in fold:
            self._books.add(row.partition, before, row.event, decision)
            self._said.add(decision.outputs)
            self._clocks.note(row)
            first.setdefault((row.partition, order_key(row.event)), before)
        self._timers.follow(first, fold.changed)
        for key, status in status_rows(fold.changed):
            self._batch.emit(ORDER_STATUS, key, status)

    def fire(self) -> None:
        """Do to orders what time does to them."""
        for partition, order, woken in self._timers.fire(self._batch, self._clocks.watermarks_ms()):
            self._books.add(partition, order, None, woken)
            self._said.add(woken.outputs)

    def say(self) -> None:
        """Write what is said of all of it, and keep the tasks' clocks and books."""
        batch, clocks, said = self._batch, self._clocks, self._said
        clocks.save()
        for topic, key, record in said.rows():
            batch.emit(topic, key, record)
        for topic, partition, deltas in said.deltas(clocks.sources_before(), clocks.sources(), to_all=clocks.have_news):
            batch.emit(topic, DELTAS_KEY, deltas, partition)
        for partition, account, amount in self._books.totals():
            batch.count(partition, account, amount)
