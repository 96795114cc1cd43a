"""murmur2 as Java has it: the values of Kafka's own tests, and librdkafka's."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitioning import murmur2, partition_of

JAVA = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]
"""From org.apache.kafka.common.utils.UtilsTest.testMurmur2."""


@pytest.mark.parametrize(("key", "signed"), JAVA)
def test_murmur2_is_java_s(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32
    assert partition_of(key.decode(), 12) == (signed & 0x7FFFFFFF) % 12


def _of_librdkafka() -> Callable[[bytes, int], int] | None:
    """Give the partitioner of the client's own bundled library, where its symbol can be found."""
    root = Path(confluent_kafka.__file__).parent
    found = [path for folder in (root, root.parent / "confluent_kafka.libs") if folder.exists() for path in folder.iterdir()]
    for path in found:
        if re.match(r"librdkafka.*\.(so|dylib)", path.name):
            partitioner = ctypes.CDLL(str(path)).rd_kafka_msg_partitioner_murmur2
            partitioner.argtypes = [
                ctypes.c_void_p,
                ctypes.c_char_p,
                ctypes.c_size_t,
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_void_p,
            ]
            partitioner.restype = ctypes.c_int32
            return lambda key, partitions: int(partitioner(None, key, len(key), partitions, None, None))
    return None


LIBRDKAFKA = _of_librdkafka()


@pytest.mark.skipif(LIBRDKAFKA is None, reason="this build of confluent-kafka does not bundle librdkafka as a file of its own")
@given(st.text(), st.integers(1, 1_000))
def test_librdkafka_s_murmur2_gives_every_key_the_same_partition(key: str, partitions: int) -> None:
    assert LIBRDKAFKA is not None
    assert LIBRDKAFKA(key.encode(), partitions) == partition_of(key, partitions)
