"""Kafka's transactional client as a double: it notes what it is asked, and fails as the test says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition

Report = Callable[[KafkaError | None, Any], None]


class Delivered:
    """What a delivery report says of a record."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self.topic, self.partition, self.offset = (lambda: topic), (lambda: partition), (lambda: offset)


class Written(NamedTuple):
    """One record that was handed to the client."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int
    options: dict[str, Any]


class FakeCluster:
    """Makes clients, and keeps what they all share: the errors to come, and where the next record will stand."""

    def __init__(self) -> None:
        self.clients: list[FakeClient] = []
        self.end_offsets: Counter[tuple[str, int]] = Counter()
        self.full_after: int | None = None
        self.breaks: tuple[int, KafkaError] | None = None
        self._errors: defaultdict[str, Iterator[KafkaError | SystemError | None]] = defaultdict(lambda: iter(()))

    def fail(self, call: str, errors: Iterable[KafkaError | SystemError | None]) -> None:
        """Let the next calls of this name raise these, one each, whichever client is asked; None lets one pass.

        ``deliver`` is no call: its errors keep records on their way, which a flush counts and a commit raises.
        """
        self._errors[call] = iter(errors)

    def break_after(self, records: int, error: KafkaError) -> None:
        """Let the newest client learn of an error between two records, as it does of a request that was answered meanwhile."""
        self.breaks = records, error

    def make_client(self, config: dict[str, Any]) -> Any:
        self.clients.append(FakeClient(self, config))
        return self.clients[-1]

    def raise_next(self, call: str) -> None:
        error = next(self._errors[call], None)
        if isinstance(error, SystemError):
            raise error
        if error is not None:
            raise KafkaException(error)

    @property
    def client(self) -> FakeClient:
        """The newest."""
        return self.clients[-1]


class FakeClient:
    """What :class:`streams.transaction.TransactionalProducer` asks of ``confluent_kafka.Producer``."""

    def __init__(self, cluster: FakeCluster, config: dict[str, Any]) -> None:
        self.config = config
        self.calls: list[str] = []
        self.written: list[Written] = []
        self.offsets: list[tuple[str, int, int]] = []
        self.metadata: object = None
        self._cluster = cluster
        self._reports: list[tuple[Report, Any]] = []
        self._queued = 0

    def _noted(self, name: str) -> None:
        self.calls.append(name)
        self._cluster.raise_next(name)

    def _called(self, name: str) -> None:
        self._noted(name)
        if self._broken is not None:
            raise KafkaException(self._broken)

    @property
    def _broken(self) -> KafkaError | None:
        """What the client has learned; from then on each transactional call says it, until an abort if that is a way out."""
        breaks = self._cluster.breaks
        return breaks[1] if breaks and len(self.written) >= breaks[0] and self is self._cluster.client else None

    def init_transactions(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self._called("init_transactions")

    def begin_transaction(self) -> None:
        self._called("begin_transaction")

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **options: Any) -> None:
        self._noted("produce")
        if self._broken is not None:  # it does not say more, and says it without its flags
            raise KafkaException(KafkaError(KafkaError._FATAL if self._broken.fatal() else KafkaError._STATE))
        if self._cluster.full_after is not None and self._queued >= self._cluster.full_after:
            raise BufferError("Local: Queue full")
        self._queued += 1
        report = options.pop("on_delivery", None)
        self.written.append(Written(topic, key, value, partition, options))
        offset = self._cluster.end_offsets[topic, partition]
        self._cluster.end_offsets[topic, partition] += 1
        if report:
            self._reports.append((report, Delivered(topic, partition, offset)))

    def poll(self, timeout_s: float) -> int:
        assert timeout_s > 0
        self._noted("poll")
        return self._deliver()

    def flush(self, timeout_s: float) -> int:
        """Give how many records are still on their way."""
        assert timeout_s > 0
        self._noted("flush")
        try:
            self._deliver()
        except KafkaException:
            return self._queued
        return 0

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout_s: float) -> None:
        assert timeout_s > 0
        self._called("send_offsets_to_transaction")
        self.offsets = [(place.topic, place.partition, place.offset) for place in offsets]
        self.metadata = metadata

    def commit_transaction(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self._called("commit_transaction")
        self._deliver()

    def abort_transaction(self, timeout_s: float) -> None:
        assert timeout_s > 0
        if self._broken is not None and not self._broken.fatal():
            self._cluster.breaks = None
        self._called("abort_transaction")

    def _deliver(self) -> int:
        self._cluster.raise_next("deliver")
        delivered, self._queued = self._queued, 0
        reports, self._reports = self._reports, []
        for report, delivered_message in reports:
            report(None, delivered_message)
        return delivered
