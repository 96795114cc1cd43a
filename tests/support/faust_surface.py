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


class Counting(faust.Sensor):
    """A sensor that counts what Faust tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Counter[str] = Counter()

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        self.told[f"in {tp.topic.rpartition('.')[2]}"] += 1

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> None:
        self.told[f"event {tp.topic.rpartition('.')[2]}"] += 1

    def on_stream_event_out(self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        self.told[f"done {tp.topic.rpartition('.')[2]}"] += 1

    def on_send_initiated(self, producer: Any, topic: str, message: Any, keysize: int, valsize: int) -> Any:
        self.told[f"send {topic.rpartition('.')[2]}"] += 1

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        self.told[f"sent {metadata.topic.rpartition('.')[2]}"] += 1

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        self.told["rebalanced"] += 1

    def on_web_request_end(self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None) -> None:
        self.told["page"] += 1


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
        self.sensor = Counting()
        app.sensors.add(self.sensor)
        self.led = 0
        app.timer(0.1, on_leader=True)(self._lead)
        self.led_at_start = False
        app.task(on_leader=True)(self._lead_once)
        app.surface = self

    def _topic(self, name: str) -> Any:
        return self.app.topic(f"{self.app.engine.settings.prefix}{name}", value_type=Number, internal=True, partitions=4)

    async def _lead(self) -> None:
        self.led += 1

    async def _lead_once(self) -> None:
        self.led_at_start = True

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


def _add_pages_that_look(surface: Surface) -> None:
    async def seen(view: Any, _request: Any) -> Any:
        return view.json({"seen": surface.seen, "sunk": surface.sunk})

    async def leads(view: Any, _request: Any) -> Any:
        return view.json({"leads": surface.app.is_leader(), "led": surface.led, "at_start": surface.led_at_start})

    async def told(view: Any, _request: Any) -> Any:
        return view.json(surface.sensor.told)

    for path, page in (("seen", seen), ("leads", leads), ("told", told)):
        surface.app.page(f"/{path}")(page)


def _add_pages(surface: Surface) -> None:
    _add_pages_that_look(surface)

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

    for path, page in (
        ("square/{amount}", square),
        ("selfish/{how}", selfish),
        ("sums", sums),
        ("nowhere", nowhere),
    ):
        surface.app.page(f"/{path}")(page)


def _declare(runtime: Any) -> None:
    settlement.declare(runtime)
    _add_pages(Surface(runtime.app))


WITH_FAUST = (replace(TOPOLOGY[0], declare=_declare), *TOPOLOGY[1:])
