"""Transactions by hand: a writer that commits rows, a marker and a position, and a look at what stands committed."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer

from connectors.cluster import Cluster
from connectors.reader import read_group_offsets, read_topic
from streams.effects import Output
from streams.transaction import Aborted, Committed, Transaction, TransactionalProducer, Unknown
from streams.waiting import Waiting


class Writer:
    """Commits as a worker does, under one transactional id and in the name of one group."""

    def __init__(
        self,
        cluster: Cluster,
        prefix: str,
        *,
        transaction_timeout_ms: int = 10_000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        quiet = {"log_level": 2}  # a fenced client says so in many lines
        self._prefix = prefix
        self._consumer = Consumer({**cluster.consumer(), **quiet, "group.id": f"{prefix}writers"})
        config = {
            **cluster.producer(),
            **quiet,
            "transactional.id": f"{prefix}writer",
            "transaction.timeout.ms": transaction_timeout_ms,
        }
        self._producer = TransactionalProducer(config, lambda _: None, Waiting(lambda: None), now_s=now_s)

    def commit(self, name: str, position: int, *, rows: int = 3, row_bytes: int = 10) -> Committed | Aborted | Unknown:
        """Write ``rows`` rows, a marker, and the position of one input partition."""
        topic, changelog = f"{self._prefix}order-status", f"{self._prefix}settlement-changelog"
        records = [Output(topic, f"{name}-{row}".encode(), b"v" * row_bytes, row % 12) for row in range(rows)]
        markers = {(changelog, 0): Output(changelog, b"!marker", name.encode(), 0)}
        offsets = {(f"{self._prefix}orders", 0): position}
        return self._producer.commit(Transaction(records, markers, offsets, self._consumer.consumer_group_metadata()))


class Written:
    """What the writers under one prefix have committed."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._cluster = cluster
        self._prefix = prefix

    def names(self) -> list[str]:
        """Names of the transactions whose rows can be read; a row that is there twice is an error."""
        keys = [(record.key or b"").decode() for record in read_topic(self._cluster, f"{self._prefix}order-status", settled=True)]
        assert len(keys) == len(set(keys)), "a row is there twice"
        return sorted({key.rpartition("-")[0] for key in keys})

    def markers(self) -> list[tuple[str, int]]:
        """Names and offsets of the markers, in their order."""
        changelog = read_topic(self._cluster, f"{self._prefix}settlement-changelog", settled=True)
        return [((record.value or b"").decode(), record.offset) for record in changelog]

    def position(self) -> int:
        """The group's position on the input partition."""
        return read_group_offsets(self._cluster, f"{self._prefix}writers")[f"{self._prefix}orders", 0]
