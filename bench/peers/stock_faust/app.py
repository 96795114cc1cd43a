"""The main job on stock Faust: the same rule book, Faust's own consumer, tables (RocksDB, changelogs), producer and commits.

It is at least once, as stock Faust is: without a failure each event counts once. Faust gives one event at a time and knows no
transaction that spans state and outputs. So nothing is summed before the shuffle: what is kept in memory until a timer comes
would be lost when the process is, and a table may only be written under the event whose partition it is.
"""

from __future__ import annotations

import os
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

from agents.envelope import Envelope, refusal
from agents.flows import MINUTE_MS, MONEY, Movement, adjustment, adjustment_key
from agents.outcomes import Decision, Rejected
from agents.ports import Limits
from agents.settlement.decide import Times, decide
from agents.settlement.lifecycle import due_ms, wake
from agents.settlement.rows import status_row
from agents.settlement.state import OrderState
from schemas import codec, topics
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.events import MerchantRevenue, Record
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS, Topic

PREFIX = os.environ["PEER_PREFIX"]
LIMITS = Limits(**msgspec.json.decode(os.environ["PEER_LIMITS"]))
FUTURE_MAX_MS = int(os.environ["PEER_FUTURE_MAX_MS"])
TOLD_MS = 1_000
TELL_S = 0.5

app = faust.App(
    f"{PREFIX}faust",
    broker=f"kafka://{os.environ['PEER_BOOTSTRAP']}",
    store="rocksdb://",
    datadir=os.environ["PEER_STATE"],
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
_delta = msgspec.msgpack.Decoder(tuple[str, str, int, tuple[int, ...]]).decode
_told = msgspec.msgpack.Decoder(tuple[int, int]).decode
_held = msgspec.msgpack.Decoder(tuple[int, tuple[int, ...]]).decode


class Clock:
    """Event time of one settlement task, and what waits for it. In memory: a restart would have to read its table again."""

    def __init__(self) -> None:
        self.newest_ms = {True: 0, False: 0}
        self.watermark_ms = 0
        self.told_ms = 0
        self.timers: list[tuple[int, bytes]] = []

    def times(self, of_orders: bool) -> Times:
        """Give what the rules are told of the time."""
        reached_ms = max(self.newest_ms[of_orders], self.watermark_ms)
        oldest_ms, over_ms = reached_ms - LIMITS.dedup_horizon_ms, reached_ms - LIMITS.grace_ms - MINUTE_MS
        return Times(self.watermark_ms, max(oldest_ms, 0), max(over_ms, 0))

    def note(self, of_orders: bool, occurred_at_ms: int) -> None:
        """Take the time of an applied event."""
        self.newest_ms[of_orders] = max(self.newest_ms[of_orders], occurred_at_ms)
        self.watermark_ms = max(self.watermark_ms, min(self.newest_ms.values()))


class Windows:
    """The open minutes of one revenue task, and how far the tasks before it are."""

    def __init__(self) -> None:
        self.heard_ms = [0] * PARTITIONS
        self.watermark_ms = 0
        self.open: list[tuple[int, bytes]] = []


clocks: defaultdict[int, Clock] = defaultdict(Clock)
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
    of_orders = message.topic == PREFIX + topics.ORDERS.name
    source = topics.ORDERS if of_orders else topics.PAYMENTS
    try:
        event: Any = codec.decode(message.value)
    except codec.Undecodable as error:
        await bury(source, message, "undecodable", error.reason)
        return
    if type(event) not in source.values:
        await bury(source, message, "undecodable", "unexpected_type")
        return
    wanted = event.order_id.encode()
    appended_at_ms = round(message.timestamp * 1_000)
    envelope = Envelope(
        message.key, wanted, message.partition, partition_of(event.order_id, PARTITIONS), appended_at_ms, FUTURE_MAX_MS
    )
    refused = refusal(envelope, event)
    if refused is not None:
        await bury(source, message, "envelope", refused.reason)
        return
    clock = clocks[message.partition]
    known = orders.get(wanted)
    before = _state(known) if known is not None else None
    decided = decide(before, event, clock.times(of_orders), LIMITS)
    if isinstance(decided, Rejected):
        await bury(source, message, "rule", decided.reason)
    if not isinstance(decided, Decision):
        return
    clock.note(of_orders, event.occurred_at_ms)
    await keep(clock, wanted, before, decided)
    if decided.state.placed is not None:
        await say(topics.ORDER_STATUS, wanted, status_row(wanted, decided.state, decided.state.placed))
    while clock.timers and clock.timers[0][0] <= clock.watermark_ms:
        _, key = heappop(clock.timers)
        held = orders.get(key)
        state = _state(held) if held is not None else None
        if state is not None and (due_at_ms := due_ms(state, LIMITS)) is not None and due_at_ms <= clock.watermark_ms:
            await keep(clock, key, state, wake(state, key, clock.watermark_ms, LIMITS))


async def keep(clock: Clock, key: bytes, before: OrderState | None, decided: Decision[Any]) -> None:
    """Write the state, set its timer, say its outputs."""
    state: OrderState | None = decided.state
    if state is None:
        orders.pop(key)
    else:
        orders[key] = _packed(state)
        due_at_ms = due_ms(state, LIMITS)
        if due_at_ms is not None and (before is None or due_ms(before, LIMITS) != due_at_ms):
            heappush(clock.timers, (due_at_ms, key))
    for output in decided.outputs:
        match output:
            case Movement():
                if output.flow is MONEY:
                    merchant_id, currency = output.dimensions
                    value = b"d" + _packed((merchant_id, currency, output.minute_ms, output.amounts))
                    await deltas.send(key=merchant_id.encode(), value=value)
            case RevenueAdjustment():
                if output.flow == MONEY.name:
                    await say(topics.REVENUE_ADJUSTMENTS, adjustment_key(output), output)
            case _:
                topic = topics.UNPAID_ORDERS if isinstance(output, UnpaidOrder) else topics.UNMATCHED_PAYMENTS
                await say(topic, output.order_id.encode(), output)


async def bury(source: Topic, message: Any, error_class: str, reason: str) -> None:
    """Send a dead letter: the record as it came, and why."""
    headers = {
        "__streams.errors.topic": message.topic.encode(),
        "__tally.errors.class": error_class.encode(),
        "__tally.errors.reason": reason.encode(),
    }
    await outputs[str(source.dead_letters)].send(key=message.key, value=message.value, headers=headers)


async def tell() -> None:
    """Tell the windows how far each task is, behind what it has sent them."""
    for partition, clock in list(clocks.items()):
        told_ms = clock.watermark_ms - clock.watermark_ms % TOLD_MS
        if told_ms > clock.told_ms:
            clock.told_ms = told_ms
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


async def add(partition: int, merchant_id: str, currency: str, minute_ms: int, amounts: tuple[int, ...]) -> None:
    """Add to one minute and show it; what meets a final one is an adjustment."""
    at = windows[partition]
    if minute_ms <= at.watermark_ms - LIMITS.grace_ms - MINUTE_MS:
        row = adjustment(Movement(MONEY, (merchant_id, currency), minute_ms, amounts), "final")
        await say(topics.REVENUE_ADJUSTMENTS, adjustment_key(row), row)
        return
    key = _packed((merchant_id, currency, minute_ms))
    held = minutes.get(key)
    revision, sums = _held(held) if held is not None else (0, (0,) * len(amounts))
    if held is None:
        heappush(at.open, (minute_ms, key))
    sums = tuple(known + more for known, more in zip(sums, amounts, strict=True))
    minutes[key] = _packed((revision + 1, sums))
    await show(key, revision + 1, sums, "provisional")


async def hear(at: Windows, task: int, told_ms: int) -> None:
    """Take how far a task is; say the final row of each minute that is over by that."""
    at.heard_ms[task] = told_ms
    at.watermark_ms = max(at.watermark_ms, min(at.heard_ms))
    while at.open and at.open[0][0] <= at.watermark_ms - LIMITS.grace_ms - MINUTE_MS:
        _, key = heappop(at.open)
        revision, sums = _held(minutes.pop(key))
        await show(key, revision + 1, sums, "final")


async def show(key: bytes, revision: int, sums: tuple[int, ...], status: str) -> None:
    """Send the row of a minute."""
    merchant_id, currency, minute_ms = msgspec.msgpack.decode(key)
    orders_count, gross, captured, refunded, cancelled = sums
    row = MerchantRevenue(
        merchant_id, currency, minute_ms, minute_ms + MINUTE_MS, status, revision, orders_count, gross, captured, refunded,
        cancelled, captured - refunded,
    )  # fmt: skip
    place = row_key(merchant_id, currency, window_start_ms=minute_ms).encode()
    await say(topics.REVENUE_BY_MERCHANT_1M, place, row, partition_of(merchant_id, PARTITIONS))


if __name__ == "__main__":
    app.main()
