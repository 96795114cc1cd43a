"""Settlement on Quix Streams: orders, payments and ticks of a partition in one dataframe, over one state.

A tick comes to each partition twice a second, as a record like any other: with it go the sums of what has moved since the last,
and how far the task is. All of it is in the state, so a transaction holds it and a restart goes on with it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from quixstreams import Application
from quixstreams.models import TopicConfig

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agents.flows import MONEY, Movement, adjustment_key
from agents.outcomes import Decision, Rejected
from agents.settlement.decide import decide
from agents.settlement.lifecycle import due_ms, wake
from agents.settlement.rows import status_row
from agents.settlement.state import OrderState
from bench.peers.quix.program import LIMITS, TOLD, Out, application, inputs_of, out, run
from bench.peers.quix.slots import Agenda, Slots
from bench.peers.rule_book import Amounts, Clock, Dead, Place, Received, added, opened
from schemas import topics
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.topics import PARTITIONS, Topic

TICKS = "ticks"
TICK_S = 0.5
ORDER, CLOCK, TIMERS, SUMS = b"o", b"c", b"t", b"s"

_packed = msgspec.msgpack.encode
_state = msgspec.msgpack.Decoder(OrderState).decode
_clock = msgspec.msgpack.Decoder(Clock).decode
_sum = msgspec.msgpack.Decoder(tuple[Place, Amounts]).decode


class Task:
    """One partition of settlement. Everything it holds is in its state too; ``state`` is that of the record being worked on."""

    def __init__(self, partition: int, state: Any) -> None:
        self.partition = partition
        self.state = state
        saved = state.get_bytes(CLOCK)
        self._clock = _clock(saved) if saved else Clock()
        self._timers = Agenda(TIMERS, state)
        self._slots = Slots(SUMS)
        self._sums: dict[Place, tuple[int, Amounts]] = {}
        for slot, value in self._slots.load(state):
            place, amounts = _sum(value)
            self._sums[place] = slot, amounts

    def settle(self, received: Received, headers: Any, of: Topic) -> Iterator[Out]:
        """Decode, check, decide, and say what came of it."""
        event = opened(received, of, TOLD.future_max_ms)
        if isinstance(event, Dead):
            yield _letter(received, headers, of, event)
            return
        key = event.order_id.encode()
        before = self._order(key)
        decided = decide(before, event, self._clock.times(of, LIMITS), LIMITS)
        if isinstance(decided, Rejected):
            yield _letter(received, headers, of, Dead("rule", decided.reason))
        if not isinstance(decided, Decision):
            return
        self._clock.note(of, event.occurred_at_ms)
        self.state.set_bytes(CLOCK, _packed(self._clock))
        yield from self._keep(key, before, decided)
        if decided.state.placed is not None:
            yield out(topics.ORDER_STATUS, key, status_row(key, decided.state, decided.state.placed))
        watermark_ms = self._clock.watermark_ms
        for due_key in self._timers.take(self.state, watermark_ms):
            held = self._order(due_key)
            if held is not None and (due_at_ms := due_ms(held, LIMITS)) is not None and due_at_ms <= watermark_ms:
                yield from self._keep(due_key, held, wake(held, due_key, watermark_ms, LIMITS))

    def tick(self) -> Iterator[Out]:
        """Send what has moved since the last tick, and behind it how far the task is."""
        for place, (slot, amounts) in self._sums.items():
            self._slots.free(self.state, slot)
            yield Out(topics.REVENUE_DELTAS, place[0].encode(), b"d" + _packed((place, amounts)))
        self._sums.clear()
        told_ms = self._clock.tell()
        if told_ms is not None:
            self.state.set_bytes(CLOCK, _packed(self._clock))
            for partition in range(PARTITIONS):
                yield Out(topics.REVENUE_DELTAS, b"", b"w" + _packed((self.partition, told_ms)), partition)

    def _order(self, key: bytes) -> OrderState | None:
        held = self.state.get_bytes(ORDER + key)
        return _state(held) if held is not None else None

    def _keep(self, key: bytes, before: OrderState | None, decided: Decision[Any]) -> Iterator[Out]:
        """Write the state, set its timer, say its outputs."""
        after: OrderState | None = decided.state
        if after is None:
            self.state.delete(ORDER + key)
        else:
            self.state.set_bytes(ORDER + key, _packed(after))
            due_at_ms = due_ms(after, LIMITS)
            if due_at_ms is not None and (before is None or due_ms(before, LIMITS) != due_at_ms):
                self._timers.add(self.state, due_at_ms, key)
        for output in decided.outputs:
            match output:
                case Movement():
                    if output.flow is MONEY:
                        self._add(output)
                case RevenueAdjustment():
                    if output.flow == MONEY.name:
                        yield out(topics.REVENUE_ADJUSTMENTS, adjustment_key(output), output)
                case _:
                    topic = topics.UNPAID_ORDERS if isinstance(output, UnpaidOrder) else topics.UNMATCHED_PAYMENTS
                    yield out(topic, output.order_id.encode(), output)

    def _add(self, moved: Movement) -> None:
        merchant_id, currency = moved.dimensions
        place = merchant_id, currency, moved.minute_ms
        known = self._sums.get(place)
        if known is None:
            self._sums[place] = self._slots.add(self.state, _packed((place, moved.amounts))), moved.amounts
        else:
            slot, amounts = known[0], added(known[1], moved.amounts)
            self._sums[place] = slot, amounts
            self._slots.set(self.state, slot, _packed((place, amounts)))


def _letter(received: Received, headers: Any, of: Topic, dead: Dead) -> Out:
    topic = topics.BY_NAME[str(of.dead_letters)]
    said = {**dict(headers or ()), **dead.headers(TOLD.prefix + of.name)}
    return Out(topic, received.key, received.value, headers=said)


def tick_for_ever(app: Application, topic: str) -> None:
    """Send a tick to each partition, again and again. Their time is the earliest: of several topics the earliest comes next."""
    with app.get_producer() as producer:
        while True:
            for partition in range(PARTITIONS):
                producer.produce(topic, key=b"", value=b"", partition=partition, timestamp=1)
            producer.flush()
            time.sleep(TICK_S)


def main() -> None:
    """Run until SIGTERM."""
    app = application("settlement")
    kept_for_ever = TopicConfig(PARTITIONS, 1, {"retention.ms": "-1"})
    ticks = app.topic(TOLD.prefix + TICKS, value_deserializer="bytes", config=kept_for_ever)
    orders = inputs_of(app, topics.ORDERS).apply(lambda value: (topics.ORDERS, value))
    payments = inputs_of(app, topics.PAYMENTS).apply(lambda value: (topics.PAYMENTS, value))
    inputs = orders.concat(payments).concat(app.dataframe(ticks).apply(lambda _: (None, None)))

    def work(
        task: Task, value: tuple[Topic | None, bytes | None], key: bytes | None, timestamp: int, headers: Any
    ) -> Iterator[Out]:
        of, content = value
        return task.tick() if of is None else task.settle(Received(key, content, task.partition, timestamp), headers, of)

    threading.Thread(target=tick_for_ever, args=(app, ticks.name), daemon=True).start()
    run(app, inputs, Task, work)


if __name__ == "__main__":
    main()
