"""Settlement on a stream: decisions in; order states, status rows, deltas, and what fits no window out."""

from __future__ import annotations

from agents.flows import FLOWS, Flow
from agents.ports import Runtime, Stream
from agents.settlement.settling import Settling
from agents.settlement.state import ORDER_STATE, TIMERS
from agents.settlement.timers import Timers


def declare(runtime: Runtime, flows: tuple[Flow, ...] = FLOWS) -> None:
    """Declare the agent and its tables; ``flows`` are what the stages behind it sum."""
    orders, limits = runtime.table(ORDER_STATE), runtime.limits
    timers = Timers(runtime.table(TIMERS), orders, limits)

    @runtime.agent("settlement")
    async def settlement(stream: Stream) -> None:
        async for batch in stream:
            settling = Settling(batch, orders, timers, limits, flows)
            settling.decide()
            settling.fire()
            settling.say()
