"""Take records from a consumer in steps, as many as there is room for."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, Message

from streams.room import Room


def take(consumer: Consumer, room: Room, wait_s: float, stop: Callable[[], bool] = lambda: False) -> list[Message]:
    """Give records and errors, waiting up to ``wait_s`` for the batch to be full; ``stop`` ends it between two steps.

    A step takes what the client has at hand. Only one record is waited for: by the time that it comes, those behind it may be
    of any size, and a step that was meant for small ones would let far more than the share in.
    """
    taken: list[Message] = []
    message_bytes = 0
    deadline_s = time.monotonic() + wait_s
    while step := room.next_step(len(taken), message_bytes):
        found = consumer.consume(step, 0.0) or consumer.consume(1, max(deadline_s - time.monotonic(), 0.0))
        taken += found
        message_bytes += sum(map(len, found))
        if not found or stop():
            break
    return taken
