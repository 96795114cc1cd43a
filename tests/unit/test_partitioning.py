"""murmur2 as Java has it: the values of Kafka's own tests, and the client's."""

from __future__ import annotations

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


@given(st.text(), st.integers(1, 200))
def test_the_client_gives_every_key_the_same_partition(key: str, partitions: int) -> None:
    assert partition_of(key, partitions) == confluent_kafka.murmur2(key.encode(), partitions)
