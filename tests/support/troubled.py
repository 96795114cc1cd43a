"""The real topology in trouble: a timer of Faust's that raises, and an agent that never comes back from a batch."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from agents.ports import Runtime, Stream
from agents.settlement import agent as settlement
from streams.topology import TOPOLOGY


def _declare_raising_timer(runtime: Any) -> None:
    settlement.declare(runtime)

    @runtime.app.timer(2.0)  # type: ignore[untyped-decorator]
    async def raises() -> None:
        raise ZeroDivisionError("a timer of somebody's")


def _declare_absent(runtime: Runtime) -> None:
    @runtime.agent("settlement")
    async def absent(stream: Stream) -> None:
        async for _ in stream:
            logging.getLogger(__name__).warning("the agent is away with a batch")
            await asyncio.Event().wait()


RAISING_TIMER = (replace(TOPOLOGY[0], declare=_declare_raising_timer), *TOPOLOGY[1:])
ABSENT_AGENT = (replace(TOPOLOGY[0], declare=_declare_absent), *TOPOLOGY[1:])
