"""How a worker's one byte budget (``TALLY_MEMORY_MB``) is divided. Pure.

::

    producer   1/8  what the client has still to send; never less than the largest record needs
    stores     3/7 of the rest: RocksDB's block cache, and inside it the write buffers of all tasks
    epoch      2/7 records as Python objects, decoded events, rows and outputs of the epochs in hand, a third each (room.py)
    consumer   1/7 what the client has fetched ahead; at its limit it stops fetching
    restore    1/7 the same for changelogs, and the batch of them that goes into the stores

Of 64 MB that is 8, 24, 16, 8 and 8. What is not in it is what the process takes before its first record
(Python, Faust, the client: some 90 MB), and what allocators keep of memory that was given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.topics import MAX_CHANGELOG_BYTES

MEBIBYTE = 1 << 20
MEMORY_MB_MIN = 12
"""Below it nothing is left beside the producer's queue, which holds the largest record twice."""
MEMORY_MB_MAX = 32_767
"""Above it the consumer's share would be more than librdkafka's queue can be told: half of an eighth is 2 GiB."""
PRODUCER_BYTES_MIN = 2 * MAX_CHANGELOG_BYTES
"""A record that is larger than the client's whole queue would never be taken: the largest, and as much for what is on its way."""

QUEUED_RECORD_BYTES = 640
"""Of a small record in the client's queue: its own 100-200 bytes, and librdkafka's operation around it. Measured."""
FETCH_BYTES_MIN = 1_000_000
"""librdkafka raises ``fetch.max.bytes`` to this."""
PARTITION_FETCH_BYTES_MIN = 64 << 10
"""Of one partition in a fetch; a record that is larger comes alone."""
QUEUE_BACK_OFF_MS = 10
"""A full queue is looked at again after this; librdkafka's second would let a small budget stand still most of the time."""
SENT_RECORD_BYTES = 400
"""Of a small record that waits to be sent: its bytes, and librdkafka's message around it."""


@dataclass(frozen=True)
class Budget:
    """The shares, in bytes."""

    producer_bytes: int
    stores_bytes: int
    epoch_bytes: int
    consumer_bytes: int
    restore_bytes: int

    @classmethod
    def of(cls, memory_mb: int) -> Budget:
        """Divide a budget of ``memory_mb`` mebibytes."""
        producer_bytes = max(memory_mb * MEBIBYTE // 8, PRODUCER_BYTES_MIN)
        seventh = (memory_mb * MEBIBYTE - producer_bytes) // 7
        return cls(producer_bytes, 3 * seventh, 2 * seventh, seventh, seventh)

    @property
    def write_buffer_bytes(self) -> int:
        """Half of what the stores have; the cache that the other half is for uses what they leave."""
        return self.stores_bytes // 2

    def producer_config(self) -> dict[str, Any]:
        """Give the client's options for its queue. When it is full, producing waits until some of it is sent."""
        return {
            "queue.buffering.max.kbytes": max(self.producer_bytes // 2, MAX_CHANGELOG_BYTES + MEBIBYTE) // 1024,
            "queue.buffering.max.messages": self.producer_bytes // SENT_RECORD_BYTES,
        }


def fetch_config(share_bytes: int) -> dict[str, Any]:
    """Give a consumer's options, so that what it has fetched ahead stays within ``share_bytes``.

    It stops fetching when either half of its queue is full: by bytes, or by small records, which cost more around them
    than in them. What was asked for by then still comes: one answer of each broker, an eighth of the share before its
    small records have been unpacked. With several brokers that are all behind it is an answer of each.
    """
    answer_bytes = max(share_bytes // 8, FETCH_BYTES_MIN)
    return {
        "queued.max.messages.kbytes": max(share_bytes // 2 // 1024, 1),
        "queued.min.messages": max(share_bytes // 4 // QUEUED_RECORD_BYTES, 1),
        "fetch.max.bytes": answer_bytes,
        "max.partition.fetch.bytes": max(answer_bytes // 16, PARTITION_FETCH_BYTES_MIN),
        "fetch.queue.backoff.ms": QUEUE_BACK_OFF_MS,
    }
