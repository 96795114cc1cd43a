"""Settlement by the rule book and in columns, side by side: what each says, and what the columns leave to the rule book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from unittest.mock import patch

from agents.flows import FLOW_NAMED, FLOWS
from agents.ports import Columns, Found, Limits
from agents.settlement import timers
from agents.settlement.agent import declare
from agents.settlement.clocks import Clocks
from agents.settlement.column_batch import KINDS, Gathering
from agents.settlement.columns import Booked, book
from agents.settlement.state import ORDER_STATE
from agents.testing import Item, MemoryBatch, MemoryRuntime, MemoryWorld
from schemas.topics import CUSTOMER_DELTAS, ORDER_STATUS, REVENUE_ADJUSTMENTS, REVENUE_DELTAS, UNMATCHED_PAYMENTS, UNPAID_ORDERS

Batches = Sequence[Sequence[Item]]
DEFAULT = Limits()


def said(world: MemoryWorld) -> object:
    """Everything that anybody can see of a world, without the order in which different keys were written."""
    sums: Counter[object] = Counter()
    sources: Counter[object] = Counter()
    for topic in (REVENUE_DELTAS, CUSTOMER_DELTAS):
        for emitted in world.rows[topic.name]:
            sources[topic.name, emitted.partition, emitted.value.sources] += 1
            for part in emitted.value.flows:
                for cell in part.cells:
                    for measure, amount in zip(FLOW_NAMED[part.flow].measures, cell.amounts, strict=True):
                        sums[part.flow, cell.dimensions, cell.minute_ms, measure, emitted.partition] += amount
    rows = {
        topic.name: Counter((emitted.key, str(emitted.value), emitted.partition) for emitted in world.rows[topic.name])
        for topic in (ORDER_STATUS, UNPAID_ORDERS, UNMATCHED_PAYMENTS, REVENUE_ADJUSTMENTS)
    }
    counters = {where: +counter for where, counter in world.counters.items()}
    dead = [(letter.partition, str(letter.event), letter.reason, letter.detail) for letter in world.dead_letters]
    return world.tables, rows, +sums, sources, counters, dead


def both(batches: Batches, limits: Limits = DEFAULT, redo: Sequence[int] = ()) -> tuple[object, object]:
    """Give what is said by the rule book, and in columns."""
    by_rows = MemoryRuntime(limits).run(declare, batches, redo=redo)
    with patch.object(timers, "COLUMNS_FROM", 1):
        in_columns = MemoryRuntime(limits, reads=KINDS).run(declare, batches, redo=redo)
    return said(by_rows), said(in_columns)


def booked(
    before: Batches, batch: Iterable[Item], limits: Limits = DEFAULT, found: Found | None = None, others: Collection[int] = ()
) -> Booked:
    """Give what the columns do to ``batch`` after other batches.

    Args:
        before: the other batches.
        batch: the records, and ticks.
        limits: of the deployment.
        found: if given, stands for what the table has.
        others: places of records that shall have no columns.
    """
    runtime = MemoryRuntime(limits)
    world = runtime.run(declare, before)
    records = MemoryBatch(batch, world, reads=KINDS)
    columns = records.columns
    assert columns is not None
    frames = {kind: frame.filter(~frame["at"].is_in(list(others))) for kind, frame in columns.frames.items()}
    gathering = Gathering(Columns(frames, {at: records.rows[at] for at in others}))
    found = found or runtime.table(ORDER_STATE).get_columns(gathering.keys)
    return book(gathering, found, Clocks(records, limits), limits, FLOWS)
