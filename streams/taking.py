"""Take records from a consumer in steps, as many as there is room for."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, Message

from streams.room import Room


def take(consumer: Consumer, room: Room, wait_s: float, stop: Callable[[], bool] = lambda: False) -> list[Message]:
    """Give records and errors, waiting up to ``wait_s`` for the batch to be full; ``stop`` ends it between two steps."""
    taken: list[Message] = []
    message_bytes = 0
    deadline_s = time.monotonic() + wait_s
    while step := room.next_step(len(taken), message_bytes):
        found = consumer.consume(step, max(deadline_s - time.monotonic(), 0.0))
        taken += found
        message_bytes += sum(map(len, found))
        if len(found) < step or stop():
            break
    return taken
