"""What an agent must not wait for: what it sends is committed with the epoch that it works on.

It would wait for itself, for ever, and its worker with it. So it is refused with a sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import faust
from faust.agents import current_agent
from faust.types.tuples import RecordMetadata


class WaitsForItselfError(RuntimeError):
    """An agent asked to wait for its own epoch."""

    def __init__(self, what: str) -> None:
        super().__init__(f"an agent cannot wait for {what}: it is sent with the epoch that the agent works on; {_INSTEAD}")


_INSTEAD = "cast what need not be answered, and ask from a timer, a web page or the command line"


class Delivery(asyncio.Future[RecordMetadata]):
    """Done when the record is committed; cancelled when the agent that sent it is redone, and will send it again."""

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Wait for the commit.

        Raises:
            WaitsForItselfError: inside an agent.
        """
        if not self.done() and current_agent() is not None:
            raise WaitsForItselfError("the delivery of what it sends")
        return super().__await__()

    __iter__ = __await__


class Agent(faust.Agent):
    """Faust's agent, which may not be asked by another one (``ask``, ``map`` and ``join`` all come by here)."""

    async def ask_nowait(self, *args: Any, **kwargs: Any) -> Any:
        """Send a question and give the promise of its answer.

        Raises:
            WaitsForItselfError: inside an agent.
        """
        if current_agent() is not None:
            raise WaitsForItselfError(f"an answer of {self.name}")
        return await super().ask_nowait(*args, **kwargs)
