"""The main job on stock Faust: the same rule book, Faust's own consumer, tables (RocksDB, changelogs), producer and commits.

It is at least once, as stock Faust is: without a failure each event counts once. Faust gives one event at a time and knows no
transaction that spans state and outputs. So nothing is summed before the shuffle: what is kept in memory until a timer comes
would be lost when the process is, and a table may only be written under the event whose partition it is.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import faust
import msgspec
from faust.types import StreamT

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agents.flows import MINUTE_MS, MONEY, Movement, adjustment, adjustment_key
from agents.outcomes import Decision, Rejected
from agents.ports import Limits
from agents.settlement.decide import decide
from agents.settlement.lifecycle import due_ms, wake
from agents.settlement.rows import status_row
from agents.settlement.state import OrderState
from bench.peers.rule_book import Amounts, Clock, Dead, Place, Received, added, minute_row, opened, told
from schemas import codec, topics
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.events import Record
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS, Topic

TOLD = told()
PREFIX = TOLD.prefix
LIMITS = Limits(**TOLD.limits)
TELL_S = 0.5

app = faust.App(
    f"{PREFIX}faust",
    broker=f"kafka://{TOLD.bootstrap}",
    store="rocksdb://",
    datadir=TOLD.state,
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    stream_wait_empty=False,
    broker_session_timeout=6.0,  # as everybody's here; its own 60 s would be most of a takeover
    broker_heartbeat_interval=2.0,
    producer_linger=0.05,  # a request for some hundred records: it is the requests that cost, here and on the broker
    producer_max_batch_size=262_144,
)


def _raw(*names: str) -> Any:
    return app.topic(
        *(PREFIX + name for name in names), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


def _table(name: str) -> Any:
    return app.Table(name, key_type=bytes, value_type=bytes, partitions=PARTITIONS)


inputs, deltas = _raw(topics.ORDERS.name, topics.PAYMENTS.name), _raw(topics.REVENUE_DELTAS.name)
outputs = {
    topic.name: _raw(topic.name)
    for topic in (
        topics.ORDER_STATUS, topics.UNPAID_ORDERS, topics.UNMATCHED_PAYMENTS, topics.REVENUE_ADJUSTMENTS,
        topics.REVENUE_BY_MERCHANT_1M, topics.ORDERS_DLQ, topics.PAYMENTS_DLQ,
    )
}  # fmt: skip
orders, minutes = _table("orders"), _table("minutes")

_packed = msgspec.msgpack.encode
_state = msgspec.msgpack.Decoder(OrderState).decode
_delta = msgspec.msgpack.Decoder(tuple[Place, Amounts]).decode
_told = msgspec.msgpack.Decoder(tuple[int, int]).decode
_place = msgspec.msgpack.Decoder(Place).decode
_held = msgspec.msgpack.Decoder(tuple[int, Amounts]).decode


class Task:
    """Event time of one settlement task, and what waits for it. In memory: a restart would have to read its table again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.timers: list[tuple[int, bytes]] = []


class Windows:
    """The open minutes of one revenue task, and how far the tasks before it are."""

    def __init__(self) -> None:
        self.heard_ms = [0] * PARTITIONS
        self.watermark_ms = 0
        self.open: list[tuple[int, bytes]] = []


tasks: defaultdict[int, Task] = defaultdict(Task)
windows: defaultdict[int, Windows] = defaultdict(Windows)


async def say(topic: Topic, key: bytes, row: Record, partition: int | None = None) -> None:
    """Send a row."""
    await outputs[topic.name].send(key=key, value=codec.encode(row), partition=partition)


@app.agent(inputs)
async def settlement(stream: StreamT[Any]) -> None:
    """Decide one event after the other."""
    async for received in stream.events():
        await settle(received)


async def settle(received: Any) -> None:
    """Decode, check, decide, and say what came of it."""
    message = received.message
    source = topics.ORDERS if message.topic == PREFIX + topics.ORDERS.name else topics.PAYMENTS
    record = Received(message.key, message.value, message.partition, round(message.timestamp * 1_000))
    event = opened(record, source, TOLD.future_max_ms)
    if isinstance(event, Dead):
        await bury(source, message, event)
        return
    task, wanted = tasks[message.partition], event.order_id.encode()
    known = orders.get(wanted)
    before = _state(known) if known is not None else None
    decided = decide(before, event, task.clock.times(source, LIMITS), LIMITS)
    if isinstance(decided, Rejected):
        await bury(source, message, Dead("rule", decided.reason))
    if not isinstance(decided, Decision):
        return
    task.clock.note(source, event.occurred_at_ms)
    await keep(task, wanted, before, decided)
    if decided.state.placed is not None:
        await say(topics.ORDER_STATUS, wanted, status_row(wanted, decided.state, decided.state.placed))
    watermark_ms = task.clock.watermark_ms
    while task.timers and task.timers[0][0] <= watermark_ms:
        _, key = heappop(task.timers)
        held = orders.get(key)
        state = _state(held) if held is not None else None
        if state is not None and (due_at_ms := due_ms(state, LIMITS)) is not None and due_at_ms <= watermark_ms:
            await keep(task, key, state, wake(state, key, watermark_ms, LIMITS))


async def keep(task: Task, key: bytes, before: OrderState | None, decided: Decision[Any]) -> None:
    """Write the state, set its timer, say its outputs."""
    state: OrderState | None = decided.state
    if state is None:
        orders.pop(key)
    else:
        orders[key] = _packed(state)
        due_at_ms = due_ms(state, LIMITS)
        if due_at_ms is not None and (before is None or due_ms(before, LIMITS) != due_at_ms):
            heappush(task.timers, (due_at_ms, key))
    for output in decided.outputs:
        match output:
            case Movement():
                if output.flow is MONEY:
                    merchant_id, currency = output.dimensions
                    value = b"d" + _packed(((merchant_id, currency, output.minute_ms), output.amounts))
                    await deltas.send(key=merchant_id.encode(), value=value)
            case RevenueAdjustment():
                if output.flow == MONEY.name:
                    await say(topics.REVENUE_ADJUSTMENTS, adjustment_key(output), output)
            case _:
                topic = topics.UNPAID_ORDERS if isinstance(output, UnpaidOrder) else topics.UNMATCHED_PAYMENTS
                await say(topic, output.order_id.encode(), output)


async def bury(source: Topic, message: Any, dead: Dead) -> None:
    """Send a dead letter: the record as it came, and why."""
    headers = dead.headers(message.topic)
    await outputs[str(source.dead_letters)].send(key=message.key, value=message.value, headers=headers)


async def tell() -> None:
    """Tell the windows how far each task is, behind what it has sent them."""
    for partition, task in list(tasks.items()):
        told_ms = task.clock.tell()
        if told_ms is not None:
            for target in range(PARTITIONS):
                await deltas.send(key=b"", value=b"w" + _packed((partition, told_ms)), partition=target)


app.timer(TELL_S)(tell)


@app.agent(deltas)
async def revenue(stream: StreamT[Any]) -> None:
    """Add to the minutes of merchants, and close those that all tasks have passed."""
    async for received in stream.events():
        value, partition = received.message.value or b"", received.message.partition
        if value[:1] == b"d":
            await add(partition, *_delta(value[1:]))
        else:
            await hear(windows[partition], *_told(value[1:]))


async def add(partition: int, place: Place, amounts: Amounts) -> None:
    """Add to one minute and show it; what meets a final one is an adjustment."""
    at = windows[partition]
    merchant_id, currency, minute_ms = place
    if minute_ms <= at.watermark_ms - LIMITS.grace_ms - MINUTE_MS:
        row = adjustment(Movement(MONEY, (merchant_id, currency), minute_ms, amounts), "final")
        await say(topics.REVENUE_ADJUSTMENTS, adjustment_key(row), row)
        return
    key = _packed(place)
    held = minutes.get(key)
    revision, sums = _held(held) if held is not None else (0, (0,) * len(amounts))
    sums = added(sums, amounts)
    minutes[key] = _packed((revision + 1, sums))
    if held is None:  # and written: a minute that is open and has no row would stop this agent again and again
        heappush(at.open, (minute_ms, key))
    await show(place, revision + 1, sums, "provisional")


async def hear(at: Windows, task: int, told_ms: int) -> None:
    """Take how far a task is; say the final row of each minute that is over by that."""
    at.heard_ms[task] = told_ms
    at.watermark_ms = max(at.watermark_ms, min(at.heard_ms))
    while at.open and at.open[0][0] <= at.watermark_ms - LIMITS.grace_ms - MINUTE_MS:
        _, key = heappop(at.open)
        revision, sums = _held(minutes.pop(key))
        await show(_place(key), revision + 1, sums, "final")


async def show(place: Place, revision: int, sums: Amounts, status: str) -> None:
    """Send the row of a minute."""
    key, row = minute_row(place, status, revision, sums)
    await say(topics.REVENUE_BY_MERCHANT_1M, key, row, partition_of(place[0], PARTITIONS))


if __name__ == "__main__":
    app.main()
