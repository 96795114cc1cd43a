"""For Faust's own command line: ``faust -A tests.support.faust_cli square 12`` asks an agent of the workers."""

from __future__ import annotations

from typing import Any

from faust.cli import argument

from streams.app import create_app
from streams.settings import load_settings
from tests.support.faust_surface import WITH_FAUST, Number

app = create_app(load_settings(), WITH_FAUST)


@app.command(argument("amount", type=int))
async def square(self: Any, amount: int) -> None:
    """Ask the agent for a square."""
    answer = await app.surface.squares.ask(Number(amount))  # type: ignore[attr-defined] # set by the topology
    self.say(f"the square is {answer}")
