"""Writes the state of live orders to the changelog as settlement would have: its rows, its timers, markers and offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from confluent_kafka import Consumer, murmur2

from agents.outcomes import Decision
from agents.ports import Slot
from agents.settlement.decide import decide
from agents.settlement.rows import order_key
from agents.settlement.state import ORDER_STATE, TIMERS, OrderState
from agents.settlement.timers import Timers
from bench.main_job import BenchError
from bench.scale.traffic import LiveOrders
from schemas.codec import encode
from schemas.events import OrderPlaced
from schemas.topics import MARKER_KEY
from streams.effects import Output
from streams.marker import make_marker
from streams.settings import Settings
from streams.tables import EngineTable
from streams.topology import TOPOLOGY
from streams.transaction import Committed, Transaction, TransactionalProducer
from streams.waiting import Waiting

CHUNK_ORDERS = 10_000
"""In one transaction: some 20,000 records, which a broker takes well within a worker's time-out of ten seconds."""
ATTEMPTS_MAX = 5
"""Of one chunk; a busy broker lets a call of two seconds time out now and then. Written twice, it leaves the same state."""
SETTLEMENT = TOPOLOGY[0]


@dataclass
class Preloaded:
    """What was written: rows and the bytes of their keys and values, markers left out."""

    rows_count: int = 0
    rows_bytes: int = 0


class Rows:
    """Makes rows of placed orders with the product's own rules, tables and timers."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._orders: EngineTable[OrderState] = EngineTable(ORDER_STATE, {})
        timers = EngineTable(TIMERS, {})
        self._tables = (self._orders, timers)
        self._timers = Timers(timers, self._orders, settings.limits)

    def of(self, orders: list[OrderPlaced]) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Give ``(partition, key in the changelog, value)`` of everything that settlement keeps of these orders."""
        after: dict[Slot, OrderState | None] = {}
        for order in orders:
            decision = decide(None, order, limits=self._limits)
            if not isinstance(decision, Decision):
                raise BenchError(f"the rules refuse live order {order.order_id}: {decision}")
            key = order_key(order)
            after[murmur2(key, SETTLEMENT.changelog.partitions), key] = decision.state
        self._orders.put_many(after)
        self._timers.follow(dict.fromkeys(after), after)
        for table in self._tables:
            name = table.spec.name.encode() + b"/"
            for partition, rows in table.changes.items():
                yield from ((partition, name + key, value) for key, value in rows.items())
            table.forget()


def preload(settings: Settings, orders: LiveOrders, say: Callable[[str], None]) -> Preloaded:
    """Write the state of all orders in chunks, each with a marker of every task and its offsets: nothing is read of the inputs.

    Raises:
        BenchError: the cluster did not take it.
    """
    done, rows, made = Preloaded(), Rows(settings), iter(orders)
    changelog = SETTLEMENT.changelog.named(settings.prefix)
    consumer = Consumer({**settings.cluster.consumer(), "group.id": settings.group_id, "log_level": 2})
    producer = TransactionalProducer.of(settings, lambda _: None, Waiting(lambda: None))
    try:
        epoch = 0
        while chunk := list(islice(made, CHUNK_ORDERS)):
            epoch += 1
            records = [Output(changelog, key, value, partition) for partition, key, value in rows.of(chunk)]
            metadata = consumer.consumer_group_metadata()
            _commit(producer, Transaction(records, _markers(settings, epoch), _offsets(settings), metadata))
            done.rows_count += len(records)
            done.rows_bytes += sum(len(record.key or b"") + len(record.value or b"") for record in records)
            say(f"{min(epoch * CHUNK_ORDERS, orders.count):,} of {orders.count:,} live orders written")
    finally:
        consumer.close()
    return done


def _commit(producer: TransactionalProducer, transaction: Transaction) -> None:
    cause = ""
    for _ in range(ATTEMPTS_MAX):
        outcome = producer.commit(transaction)
        if isinstance(outcome, Committed):
            return
        cause = outcome.cause
    raise BenchError(f"the live orders could not be written in {ATTEMPTS_MAX} attempts, the last one: {cause}")


def _offsets(settings: Settings) -> dict[tuple[str, int], int]:
    return {(topic.named(settings.prefix), number): 0 for topic in SETTLEMENT.reads for number in range(topic.partitions)}


def _markers(settings: Settings, epoch: int) -> dict[tuple[str, int], Output]:
    changelog, markers = SETTLEMENT.changelog.named(settings.prefix), {}
    for number in range(SETTLEMENT.changelog.partitions):
        at = {(topic.named(settings.prefix), number): (0, 0) for topic in SETTLEMENT.reads}
        value = encode(make_marker(epoch, settings.worker_id, at, {}))
        markers[changelog, number] = Output(changelog, MARKER_KEY, value, number)
    return markers
