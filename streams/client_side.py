"""Faust's command line beside the workers: a process that sends and asks, owns nothing, and so has no engine running.

What it sends is committed by itself, not with an epoch; answers come on a reply topic that only it reads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from streams.effects import Output
from streams.transaction import enqueue

POLL_S = 0.1
"""How long one look for an answer or a delivery report takes; it bounds how long the end of the process waits."""
METADATA_WAIT_S = 30.0
"""For the cluster to answer, a broker's restart included; a person waits, and can end the command."""
CLOCKS_DIFFER_MS = 60_000
"""How far this clock may be ahead of the brokers': replies are read from so long before the command began."""


class PlainSender:
    """Sends record by record, each acknowledged by every replica before it counts as sent."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._producer = Producer({**client, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self._open = True
        self._reports = threading.Thread(target=self._serve, name="plain-sender", daemon=True)
        self._reports.start()

    def send(self, output: Output, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Send a record; the future is done when it is acknowledged."""
        sent: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if sent.done():
                return
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(RuntimeError(f"{output.topic} did not take it: {error.str()}"))

        def report(error: KafkaError | None, _: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        enqueue(self._producer, output, on_delivery=report)
        return sent

    def close(self) -> None:
        """Wait for what is on its way."""
        self._producer.flush(METADATA_WAIT_S)
        self._open = False

    def _serve(self) -> None:
        while self._open:
            self._producer.poll(POLL_S)


class ReplyReader:
    """Reads topics, in no group, and hands each record to ``deliver`` on the loop.

    It begins a little before ``since_ms``, for Faust asks first and then starts to listen; answers to others are nobody's.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        name: str,
        deliver: Callable[[Message], Coroutine[Any, Any, None]],
        loop: asyncio.AbstractEventLoop,
        since_ms: int,
    ) -> None:
        self._consumer = Consumer({**client, "group.id": name, "enable.auto.commit": False, "isolation.level": "read_committed"})
        self._deliver = deliver
        self._loop = loop
        self._since_ms = since_ms - CLOCKS_DIFFER_MS
        self._read: set[str] = set()
        self._open = True
        self._thread = threading.Thread(target=self._serve, name="reply-reader", daemon=True)
        self._lock = threading.Lock()

    async def read(self, topics: Iterable[str]) -> None:
        """Read these topics too."""
        await asyncio.to_thread(self._assign, set(topics) - self._read)
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """End reading."""
        self._open = False
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()

    def _assign(self, topics: set[str]) -> None:
        with self._lock:
            places = []
            for topic in topics:
                known = self._consumer.list_topics(topic, timeout=METADATA_WAIT_S).topics[topic].partitions
                places += [TopicPartition(topic, partition, self._since_ms) for partition in known]
            self._consumer.incremental_assign(self._consumer.offsets_for_times(places, timeout=METADATA_WAIT_S))
            self._read |= topics

    def _serve(self) -> None:
        while self._open:
            with self._lock:
                message = self._consumer.poll(POLL_S)
            if message is not None and message.error() is None:
                asyncio.run_coroutine_threadsafe(self._deliver(message), self._loop)
