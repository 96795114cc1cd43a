"""Settlement on a stream: decisions in; order states, status rows, deltas, and what fits no window out."""

from __future__ import annotations

from agents.flows import FLOWS, Flow
from agents.ports import Runtime, Slot, Stream
from agents.rowwise import Fold
from agents.settlement.books import Books
from agents.settlement.clocks import Clocks
from agents.settlement.decide import decide
from agents.settlement.rows import DELTAS_KEY, Combiner, order_key, status_rows
from agents.settlement.state import ORDER_STATE, TIMERS, OrderState
from agents.settlement.timers import Timers
from schemas.topics import ORDER_STATUS


def declare(runtime: Runtime, flows: tuple[Flow, ...] = FLOWS) -> None:
    """Declare the agent and its tables; ``flows`` are what the stages behind it sum."""
    orders, limits = runtime.table(ORDER_STATE), runtime.limits
    timers = Timers(runtime.table(TIMERS), orders, limits)

    @runtime.agent("settlement")
    async def settlement(stream: Stream) -> None:
        async for batch in stream:
            books, said, clocks = Books(), Combiner(flows), Clocks(batch, limits)
            fold = Fold(batch, orders, order_key, decide, clocks.times_of)
            first: dict[Slot, OrderState | None] = {}
            for row, before, decision in fold:
                books.add(row.partition, before, row.event, decision)
                said.add(decision.outputs)
                clocks.note(row)
                first.setdefault((row.partition, order_key(row.event)), before)
            timers.follow(first, fold.changed)
            for partition, order, woken in timers.fire(batch, clocks.watermarks_ms()):
                books.add(partition, order, None, woken)
                said.add(woken.outputs)
            clocks.save()
            for key, status in status_rows(fold.changed):
                batch.emit(ORDER_STATUS, key, status)
            for topic, key, record in said.rows():
                batch.emit(topic, key, record)
            for topic, partition, deltas in said.deltas(clocks.sources_before(), clocks.sources(), to_all=clocks.have_news):
                batch.emit(topic, DELTAS_KEY, deltas, partition)
            for partition, account, amount in books.totals():
                batch.count(partition, account, amount)
