"""Settlement on a stream: decisions in, order states, status rows, deltas and unmatched payments out."""

from __future__ import annotations

from agents.ports import Runtime, Stream
from agents.rowwise import Fold
from agents.settlement.books import Books
from agents.settlement.decide import decide
from agents.settlement.rows import Combiner, order_key, status_row, unmatched_rows
from agents.settlement.state import ORDER_STATE
from schemas.topics import ORDER_STATUS, REVENUE_DELTAS, UNMATCHED_PAYMENTS


def declare(runtime: Runtime) -> None:
    """Declare the agent and its table."""
    orders = runtime.table(ORDER_STATE)

    @runtime.agent("settlement")
    async def settlement(stream: Stream) -> None:
        async for batch in stream:
            books, deltas = Books(), Combiner()
            fold = Fold(batch, orders, order_key, decide)
            for row, before, decision in fold:
                books.add(row.partition, before, row.event, decision)
                deltas.add(decision.outputs)
                for unmatched in unmatched_rows(decision.outputs):
                    batch.emit(UNMATCHED_PAYMENTS, unmatched.order_id.encode(), unmatched)
            for (_, key), order in fold.changed.items():
                if order.placed is not None:
                    batch.emit(ORDER_STATUS, key, status_row(key, order, order.placed))
            for delta in deltas.rows():
                batch.emit(REVENUE_DELTAS, delta.merchant_id.encode(), delta)
            for partition, account, amount in books.totals():
                batch.count(partition, account, amount)
