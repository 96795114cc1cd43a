"""Which partition a key belongs to: Java's murmur2, as every Kafka client but librdkafka's default has it."""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Give the 32-bit murmur2 hash (unsigned) as ``org.apache.kafka.common.utils.Utils.murmur2`` has it."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)  # merchants and the like: few, and asked for again and again
def partition_of(key: str, partitions: int) -> int:
    """Give the partition, 0 to ``partitions`` - 1, that Java's default partitioner gives ``key`` as UTF-8."""
    return partition_of_bytes(key.encode(), partitions)


def partition_of_bytes(key: bytes, partitions: int) -> int:
    """Give the same for a key that need not be text."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
