"""Settlement on a stream: decisions in, order states, status rows, deltas and unmatched payments out."""

from __future__ import annotations

from agents.ports import Runtime, Stream
from agents.rowwise import Fold
from agents.settlement.books import Books
from agents.settlement.clocks import Clocks
from agents.settlement.deadlines import Deadlines
from agents.settlement.decide import decide
from agents.settlement.rows import Combiner, order_key, status_row
from agents.settlement.state import DEADLINES, ORDER_STATE
from schemas.topics import ORDER_STATUS


def declare(runtime: Runtime) -> None:
    """Declare the agent and its tables."""
    orders, waiting, limits = runtime.table(ORDER_STATE), runtime.table(DEADLINES), runtime.limits

    @runtime.agent("settlement")
    async def settlement(stream: Stream) -> None:
        async for batch in stream:
            books, said, clocks = Books(), Combiner(), Clocks(batch, limits)
            fold, deadlines = Fold(batch, orders, order_key, decide, clocks.times_of), Deadlines(waiting, orders)
            for row, before, decision in fold:
                books.add(row.partition, before, row.event, decision)
                said.add(decision.outputs)
                clocks.note(row)
                deadlines.follow((row.partition, order_key(row.event)), before, decision.state)
            for partition, before, decision in deadlines.give_up(clocks):
                books.add(partition, before, None, decision)
                said.add(decision.outputs)
            clocks.save()
            for (_, key), order in fold.changed.items():
                if order.placed is not None:
                    batch.emit(ORDER_STATUS, key, status_row(key, order, order.placed))
            for topic, key, record in said.records():
                batch.emit(topic, key, record)
            for partition, account, amount in books.totals():
                batch.count(partition, account, amount)
