"""Plans with large records in them: what a worker's memory must have room for."""

from __future__ import annotations

import msgspec

from connectors.sources.sent import APPLIED, Plan, Sent
from schemas import codec
from schemas.events import OrderLine, OrderPlaced

LINES = 12
"""Of a large order, beside its own; free of charge, so that its amount stays right."""


def with_large_orders(plan: Plan, orders: int, order_bytes: int) -> Plan:
    """Give the same plan with its first ``orders`` orders grown to about ``order_bytes`` each; no total changes by it.

    Repeats and bad records that were made of them must not be in the plan: make it without duplicates and bad records.
    """
    sent: list[Sent] = []
    left = orders
    sku_bytes = order_bytes // LINES
    for record in plan.sent:
        event = codec.decode(record.value) if left and record.expected is APPLIED else None
        if isinstance(event, OrderPlaced):
            gifts = tuple(OrderLine(f"{number:0{sku_bytes}d}", 1, 0) for number in range(LINES))
            value = codec.encode(msgspec.structs.replace(event, lines=(*event.lines, *gifts)))
            sent.append(Sent(record.topic, record.key, value, record.expected, record.partition))
            left -= 1
        else:
            sent.append(record)
    return Plan(plan.seed, plan.start_ms, sent)
