"""Reads topics from the beginning to where they ended when the reading began, outside any group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from connectors.cluster import Cluster
from connectors.kafka_errors import passes

T = TypeVar("T")

REQUEST_TIMEOUT_S = 10.0
"""For one answer of the cluster; a healthy one takes milliseconds."""
METADATA_TIMEOUT_S = 3.0
"""A topic made a moment ago may be unknown for so long."""
LEADER_TIMEOUT_S = 20.0
"""After a broker's restart, or on a busy machine, a partition may be without its leader for so long."""
_AWAY = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT}  # noqa: SLF001
ASK_AGAIN_S = 0.1
"""Between two questions."""
STALL_TIMEOUT_S = 60.0
"""Longer than any transaction of ours can hold read_committed readers back, the broker's scan included."""
POLL_RECORDS = 5_000
"""Taken from the client at once."""
READER_GROUP = "tally-reader"
"""Of every reader. Kafka's client asks who coordinates it, so a reader needs to be allowed that."""


class ReadError(Exception):
    """The cluster did not answer, or a topic is not there."""


class ReadRecord(NamedTuple):
    """One record as it stands in its topic. ``headers`` values are bytes or None."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True)
class Range:
    """Offsets of one partition: the first kept, and the end (exclusive)."""

    begin: int
    end: int


def list_topics(cluster: Cluster) -> dict[str, int]:
    """Give every topic's name and number of partitions.

    Raises:
        ReadError: when the cluster does not answer.
    """
    admin = _admin(cluster)
    metadata = _answered(cluster, lambda: admin.list_topics(timeout=REQUEST_TIMEOUT_S))
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def ranges_of(cluster: Cluster, topic_name: str, *, committed_only: bool = True) -> dict[int, Range]:
    """Give the offset range of every partition of a topic; committed ends are the last stable offsets.

    Raises:
        ReadError: when the cluster does not answer or has no such topic.
    """
    admin = _admin(cluster)
    level = IsolationLevel.READ_COMMITTED if committed_only else IsolationLevel.READ_UNCOMMITTED
    began = time.monotonic()
    while not (found := _answered(cluster, lambda: _ranges(admin, topic_name, level))):
        if time.monotonic() - began > METADATA_TIMEOUT_S:
            raise ReadError(f"the cluster has no topic {topic_name}: run `tally topics apply`, or check the prefix")
        time.sleep(ASK_AGAIN_S)
    return found


def _answered(cluster: Cluster, ask: Callable[[], T]) -> T:
    """Ask until the cluster answers: a connection may end under a question, a leader or a coordinator be moving.

    Raises:
        ReadError: it does not answer in time, or what it answers does not pass by itself.
    """
    began = time.monotonic()
    while True:
        try:
            return ask()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            limit_s = REQUEST_TIMEOUT_S if reason.code() in _AWAY else LEADER_TIMEOUT_S
            settles = passes(reason) or reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            if not settles or time.monotonic() - began > limit_s:
                raise _no_answer(cluster, error) from error
        time.sleep(ASK_AGAIN_S)


def _ranges(admin: AdminClient, topic_name: str, level: IsolationLevel) -> dict[int, Range]:
    """Give nothing for a topic that is not there, or not yet."""
    # Only this topic's metadata would do, but asking for it by name may create it.
    topic = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics.get(topic_name)
    partitions = [TopicPartition(topic_name, partition) for partition in sorted(topic.partitions)] if topic else []
    if not partitions:
        return {}
    bounds = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
        futures = admin.list_offsets(dict.fromkeys(partitions, spec), isolation_level=level, request_timeout=REQUEST_TIMEOUT_S)
        bounds.append({place.partition: future.result().offset for place, future in futures.items()})
    first, last = bounds
    return {partition: Range(first[partition], last[partition]) for partition in sorted(last)}


def end_offsets(cluster: Cluster, topic_name: str, *, committed_only: bool = True) -> dict[int, int]:
    """Give the end offset of every partition of a topic; raises like :func:`ranges_of`."""
    ranges = ranges_of(cluster, topic_name, committed_only=committed_only)
    return {partition: bounds.end for partition, bounds in ranges.items()}


def read_group_offsets(cluster: Cluster, group_id: str) -> dict[tuple[str, int], int]:
    """Give the committed offsets of a group by topic name and partition, of every topic that exists.

    A consumer asks, not an admin client: librdkafka 2.16's admin client crashes the process when the
    group's coordinator is moving or loading (it refreshes a group membership that it does not have).

    Raises:
        ReadError: when the cluster does not answer.
    """
    config = {**cluster.consumer(), **_SELF, "group.id": group_id, "isolation.level": "read_uncommitted"}
    consumer = Consumer(config)
    try:
        topics = _answered(cluster, lambda: consumer.list_topics(timeout=REQUEST_TIMEOUT_S)).topics
        places = [
            TopicPartition(name, partition)
            for name, topic in topics.items()
            if not name.startswith("__")
            for partition in topic.partitions
        ]
        answer = _answered(cluster, lambda: consumer.committed(places, timeout=REQUEST_TIMEOUT_S)) if places else []
    finally:
        consumer.close()
    return {(place.topic, place.partition): place.offset for place in answer if place.offset >= 0}


def read_topic(
    cluster: Cluster,
    topic_name: str,
    *,
    committed_only: bool = True,
    from_offsets: Mapping[int, int] | None = None,
    settled: bool = False,
) -> Iterator[ReadRecord]:
    """Give every record from the beginning to the end offsets as they are now; in order per partition.

    Args:
        cluster: the cluster.
        topic_name: with its prefix.
        committed_only: leave out what belongs to open and aborted transactions.
        from_offsets: partition to the offset to begin at instead; partitions that are not named begin at the beginning.
        settled: wait for every transaction that is open now, and end behind it; else the first that is open is the end.

    Raises:
        ReadError: when the cluster does not answer, has no such topic, or stalls for a minute.
    """
    ranges = ranges_of(cluster, topic_name, committed_only=committed_only and not settled)
    begins = {partition: max(bounds.begin, (from_offsets or {}).get(partition, 0)) for partition, bounds in ranges.items()}
    wanted = {partition: Range(begin, ranges[partition].end) for partition, begin in begins.items()}
    yield from _read(cluster, topic_name, wanted, committed_only=committed_only)


def read_record(cluster: Cluster, topic_name: str, partition: int, offset: int) -> ReadRecord | None:
    """Give the committed record at one place; None when none is there, or none any more. Raises like :func:`read_topic`."""
    bounds = ranges_of(cluster, topic_name).get(partition)
    if bounds is None or not bounds.begin <= offset < bounds.end:
        return None
    place = {partition: Range(offset, offset + 1)}
    return next(_read(cluster, topic_name, place, committed_only=True), None)


def _read(cluster: Cluster, topic_name: str, ranges: Mapping[int, Range], *, committed_only: bool) -> Iterator[ReadRecord]:
    open_ends = {partition: bounds.end for partition, bounds in ranges.items() if bounds.begin < bounds.end}
    if not open_ends:
        return
    places = [TopicPartition(topic_name, partition, ranges[partition].begin) for partition in open_ends]
    consumer = _consumer(cluster, places, committed_only=committed_only)
    try:
        deadline = time.monotonic() + STALL_TIMEOUT_S
        while open_ends:
            messages = consumer.consume(POLL_RECORDS, timeout=0.2)
            yield from _up_to(messages, open_ends)
            if messages:  # only now: whoever takes the records may take longer with them than the limit
                deadline = time.monotonic() + STALL_TIMEOUT_S
            # Transaction markers take offsets that no record has, so only the position tells that a partition is done.
            for place in consumer.position([TopicPartition(topic_name, partition) for partition in open_ends]):
                if place.offset >= open_ends[place.partition]:
                    del open_ends[place.partition]
            if open_ends and time.monotonic() > deadline:
                raise ReadError(f"{topic_name} gave nothing for {STALL_TIMEOUT_S:.0f} s before its end; is the broker up?")
    finally:
        consumer.close()


def offsets_since(cluster: Cluster, topic_name: str, since_ms: int) -> dict[int, int]:
    """Give per partition the offset of the first record whose timestamp is at or after a time; the end if there is none yet.

    ``since_ms`` is milliseconds since 1970. Raises like :func:`ranges_of`.
    """
    ends = end_offsets(cluster, topic_name, committed_only=False)
    asked = {TopicPartition(topic_name, partition): OffsetSpec.for_timestamp(since_ms) for partition in ends}
    admin = _admin(cluster)
    try:
        futures = admin.list_offsets(asked, request_timeout=REQUEST_TIMEOUT_S)
        found = {place.partition: future.result().offset for place, future in futures.items()}
    except KafkaException as error:
        raise _no_answer(cluster, error) from error
    return {partition: offset if offset >= 0 else ends[partition] for partition, offset in found.items()}


def follow_topic(
    cluster: Cluster, topic_name: str, *, committed_only: bool = True, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[ReadRecord]:
    """Give every record that comes from now on, until ``should_stop``; arguments and errors as of :func:`read_topic`."""
    ends = end_offsets(cluster, topic_name, committed_only=committed_only)
    places = [TopicPartition(topic_name, partition, end) for partition, end in ends.items()]
    consumer = _consumer(cluster, places, committed_only=committed_only)
    forever = dict.fromkeys(ends, 1 << 62)
    try:
        while not should_stop():
            yield from _up_to(consumer.consume(POLL_RECORDS, timeout=0.2), forever)
    finally:
        consumer.close()


def latest_per_key(records: Iterable[ReadRecord]) -> dict[bytes, ReadRecord]:
    """Give the last record of each key, which is the table of a compacted topic; a null value removes its key."""
    table: dict[bytes, ReadRecord] = {}
    for record in records:
        if record.key is None:
            continue
        if record.value is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record
    return table


def _up_to(messages: list[Message], ends: Mapping[int, int]) -> Iterator[ReadRecord]:
    for message in messages:
        error = message.error()
        if error is not None:
            if error.code() in {KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:  # noqa: SLF001 (public names)
                continue  # librdkafka tries again; the stall limit decides
            raise ReadError(f"reading {message.topic()} failed: {error.str()}")
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None or offset >= ends.get(partition, 0):
            continue
        yield ReadRecord(
            message.topic() or "", partition, offset, message.timestamp()[1], message.key(), message.value(),
            _headers(message),
        )  # fmt: skip


def _headers(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    # The client gives a list of pairs with bytes; its stubs allow for more.
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return tuple(pairs)


def _consumer(cluster: Cluster, places: list[TopicPartition], *, committed_only: bool) -> Consumer:
    consumer = Consumer({
        **cluster.consumer(), **_SELF,
        "group.id": READER_GROUP,  # librdkafka wants one; nothing joins it and nothing is committed
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed" if committed_only else "read_uncommitted",
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
    })  # fmt: skip
    consumer.assign(places)
    return consumer


_SELF: dict[str, Any] = {"client.id": "tally-reader", "log_level": 2}
"""Without ``log_level`` each refused connection is a line on stderr; the caller gets a sentence instead."""


def _admin(cluster: Cluster) -> AdminClient:
    return AdminClient({**cluster.producer(), **_SELF})


def _no_answer(cluster: Cluster, error: KafkaException) -> ReadError:
    reason = error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else str(error)
    where = f"the cluster at {cluster.bootstrap_servers} did not answer"
    return ReadError(f"{where} ({reason}): run `tally broker up`, or check the address")
