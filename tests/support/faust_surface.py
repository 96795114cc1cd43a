"""The real topology with Faust's own things beside it: agents on plain topics, a sink, group_by, pages that ask and cast."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import faust

from agents.settlement import agent as settlement
from streams.topology import TOPOLOGY

FAILS_ONCE = 13
"""The first number of a worker, if it is this one, makes its agent raise."""


class Number(faust.Record):
    """What goes over the plain topics."""

    amount: int
    parity: str = ""


class Surface:
    """The agents and pages of one app."""

    def __init__(self, app: Any) -> None:
        self.seen: Counter[str] = Counter()
        self.sunk: list[int] = []
        self.app = app
        self.numbers, self.sums, self.by_parity, self.selfish_topic = (
            self._topic(name) for name in ("numbers", "sums", "by-parity", "selfish")
        )
        self.squares = app.agent(self.numbers, name="squares", sink=[self.sunk.append])(self._squares)
        self.parities = app.agent(self.sums, name="parities")(self._parities)
        self.selfish = app.agent(self.selfish_topic, name="selfish")(self._selfish)

    def _topic(self, name: str) -> Any:
        return self.app.topic(f"{self.app.engine.settings.prefix}{name}", value_type=Number, internal=True, partitions=4)

    async def _squares(self, stream: Any) -> Any:
        async for number in stream:
            self.seen["squares"] += 1
            if number.amount == FAILS_ONCE and self.seen["squares"] == 1:
                raise ZeroDivisionError("once")
            yield number.amount**2

    async def _parities(self, stream: Any) -> None:
        async for number in stream.group_by(Number.parity, topic=self.by_parity):
            self.seen[number.parity] += number.amount

    async def _selfish(self, stream: Any) -> Any:
        async for number in stream:
            try:
                if number.parity == "ask":
                    await self.squares.ask(number)
                else:
                    await (await self.numbers.send(value=number))
            except RuntimeError as error:
                yield str(error)
            else:
                yield "it waited"


def _add_pages(surface: Surface) -> None:
    async def square(view: Any, _request: Any, amount: str) -> Any:
        return view.json(await surface.squares.ask(Number(int(amount))))

    async def selfish(view: Any, _request: Any, how: str) -> Any:
        return view.json(await surface.selfish.ask(Number(2, how)))

    async def sums(view: Any, _request: Any) -> Any:
        for amount in range(1, 11):
            await surface.parities.cast(Number(amount, "odd" if amount % 2 else "even"))
        return view.json("cast")

    async def nowhere(view: Any, _request: Any) -> Any:
        try:
            await (await surface.app.topic("t-nobody-made-this", value_serializer="raw").send(value=b"x"))
        except Exception as error:  # noqa: BLE001 - the test reads it
            return view.json(str(error))
        return view.json("sent")

    async def seen(view: Any, _request: Any) -> Any:
        return view.json({"seen": surface.seen, "sunk": surface.sunk})

    for path, page in (
        ("square/{amount}", square),
        ("selfish/{how}", selfish),
        ("sums", sums),
        ("nowhere", nowhere),
        ("seen", seen),
    ):
        surface.app.page(f"/{path}")(page)


def _declare(runtime: Any) -> None:
    settlement.declare(runtime)
    _add_pages(Surface(runtime.app))


WITH_FAUST = (replace(TOPOLOGY[0], declare=_declare), *TOPOLOGY[1:])
