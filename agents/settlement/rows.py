"""What settlement says: a status row per order, deltas for the windows, and what no window takes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import add
from typing import Any, TypeAlias

from agents.flows import FLOWS, Flow, Movement, adjustment_key
from agents.ports import Slot
from agents.settlement.state import Capture, OrderState, Placed
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.events import Cell, Deltas, Event, FlowDeltas, OrderCapture, OrderStatus, Source
from schemas.partitioning import partition_of
from schemas.topics import REVENUE_ADJUSTMENTS, UNMATCHED_PAYMENTS, UNPAID_ORDERS, Topic

CELLS_MAX = 1_000
"""Of one record; with ids at their longest it is 1.6 MB, and its topic takes 4."""
DELTAS_KEY = b"settlement"
_Cells: TypeAlias = dict[tuple[tuple[str, ...], int], tuple[int, ...]]


def order_key(event: Event) -> bytes:
    """Give the key of the event's order in the table and on the topics."""
    return event.order_id.encode()


def status_row(key: bytes, order: OrderState, placed: Placed) -> OrderStatus:
    """Give the row of ``order-status`` for an order that was placed."""
    captured, refunded = order.captured_minor, order.refunded_minor
    return OrderStatus(
        order_id=key.decode(),
        merchant_id=placed.merchant_id,
        customer_id=placed.customer_id,
        currency=placed.currency,
        status=order.status,
        amount_minor=placed.amount_minor,
        captured_minor=captured,
        refunded_minor=refunded,
        refund_due=order.cancelled_at_ms is not None and captured > refunded,
        failures_count=order.failures_count,
        placed_at_ms=placed.occurred_at_ms,
        cancelled_at_ms=order.cancelled_at_ms,
        updated_at_ms=order.updated_at_ms,
        revision=order.booked_count,
        captures=tuple(_capture(capture) for capture in sorted(order.captures, key=_oldest_first)),
    )


def status_rows(changed: Mapping[Slot, OrderState]) -> Iterator[tuple[bytes, OrderStatus]]:
    """Give ``(key, row)`` of each order that was placed."""
    return ((key, status_row(key, order, order.placed)) for (_, key), order in changed.items() if order.placed is not None)


def _oldest_first(capture: Capture) -> tuple[int, str]:
    return capture.captured_at_ms, capture.payment_id


def _capture(capture: Capture) -> OrderCapture:
    return OrderCapture(
        capture.payment_id,
        capture.method,
        capture.captured_at_ms,
        capture.captured_minor,
        capture.refunded_minor,
        capture.refunded_at_ms,
    )


class Combiner:
    """Takes what decisions say. Sums an epoch's movements per flow, dimensions and minute, for each target partition.

    What moves in other flows than ``flows`` is left out, in time or late.
    """

    def __init__(self, flows: Sequence[Flow] = FLOWS) -> None:
        self._flows = frozenset(flows)
        self._names = frozenset(flow.name for flow in flows)
        self._targets = tuple(dict.fromkeys(flow.topic for flow in flows))
        self._cells: defaultdict[Flow, _Cells] = defaultdict(dict)
        self._rows: list[tuple[Topic, bytes, Any]] = []

    def add(self, outputs: tuple[Any, ...]) -> None:
        """Add a decision's outputs: movements are summed, rows kept."""
        for output in outputs:
            if isinstance(output, Movement):
                self.add_sum(output.flow, output.dimensions, output.minute_ms, output.amounts)
            elif isinstance(output, RevenueAdjustment):
                if output.flow not in self._names:
                    continue
                self._rows.append((REVENUE_ADJUSTMENTS, adjustment_key(output), output))
            else:
                topic = UNPAID_ORDERS if isinstance(output, UnpaidOrder) else UNMATCHED_PAYMENTS
                self._rows.append((topic, output.order_id.encode(), output))

    def add_sum(self, flow: Flow, dimensions: tuple[str, ...], minute_ms: int, amounts: tuple[int, ...]) -> None:
        """Add to one minute of a flow."""
        if flow in self._flows:
            cells, place = self._cells[flow], (dimensions, minute_ms)
            known = cells.get(place)
            cells[place] = amounts if known is None else tuple(map(add, known, amounts))

    def rows(self) -> Iterator[tuple[Topic, bytes, Any]]:
        """Give ``(topic, key, row)`` of what is no sum."""
        return iter(self._rows)

    def deltas(
        self, before: tuple[Source, ...], sources: tuple[Source, ...], *, to_all: bool
    ) -> Iterator[tuple[Topic, int, Deltas]]:
        """Give ``(topic, partition, record)``: to each partition that anything is added to, or ``to_all``, news or not.

        Only the last record of a partition tells of ``sources``, those in front of it still of ``before``: what is added must not
        be late by a watermark that its own epoch has moved.
        """
        added: defaultdict[tuple[Topic, int], list[tuple[Flow, Cell]]] = defaultdict(list)
        for flow, cells in self._cells.items():
            for (dimensions, minute_ms), amounts in cells.items():
                where = flow.topic, partition_of(dimensions[0], flow.topic.partitions)
                added[where].append((flow, Cell(dimensions, minute_ms, amounts)))
        if to_all:
            for topic in self._targets:
                for partition in range(topic.partitions):
                    _ = added[topic, partition]  # a record without cells: what is told is told to it too
        for (topic, partition), kept in added.items():
            last = (max(len(kept), 1) - 1) // CELLS_MAX
            for number in range(last + 1):
                part = kept[number * CELLS_MAX : (number + 1) * CELLS_MAX]
                yield topic, partition, Deltas(sources if number == last else before, _by_flow(part))


def _by_flow(cells: Sequence[tuple[Flow, Cell]]) -> tuple[FlowDeltas, ...]:
    by_flow: defaultdict[str, list[Cell]] = defaultdict(list)
    for flow, cell in cells:
        by_flow[flow.name].append(cell)
    return tuple(FlowDeltas(name, tuple(some)) for name, some in by_flow.items())
