"""Reads the inbox: letters of whole topics or at addresses, and what was cut from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from connectors.cluster import Cluster
from connectors.reader import ReadRecord, read_record, read_topic
from schemas.topics import BY_NAME, TOPICS, Kind
from schemas.wire import FIXED
from streams.errors import RefusedError
from streams.inbox.letters import Address, DeadLetter, letter_of, made_whole
from streams.registry import Registry, wire_of


class Mailbox:
    """The dead-letter topics of one cluster. ``partition_counts`` are all its topics.

    Every method raises :class:`connectors.reader.ReadError` when the cluster does not answer, and RegistryAwayError when a
    registry must be asked and does not.
    """

    def __init__(
        self, cluster: Cluster, prefix: str, partition_counts: Mapping[str, int], registry: Registry | None = None
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._prefix = prefix
        self._there = partition_counts

    def topics(self) -> list[str]:
        """Give the full names of the deployment's dead-letter topics that are there."""
        names = [topic.named(self._prefix) for topic in TOPICS if topic.kind is Kind.DLQ]
        return [name for name in names if name in self._there]

    def letters(self, topics: Iterable[str]) -> Iterator[DeadLetter]:
        """Give the letters that the topics have now, each partition's in order."""
        for topic in topics:
            for record in read_topic(self._cluster, topic):
                yield self._letter(record)

    def letter(self, address: Address) -> DeadLetter:
        """Give one letter.

        Raises:
            RefusedError: there is none at this address, or none any more.
        """
        declared = BY_NAME.get(address.topic)
        named = "" if declared is None else declared.named(self._prefix)
        topic = named if named in self._there else address.topic
        record = self._record(topic, address.partition, address.offset)
        if record is None:
            raise RefusedError(f"there is no letter at {address}, or none any more: `tally dlq list --each` shows what there is")
        return self._letter(record)

    def whole(self, letter: DeadLetter) -> DeadLetter:
        """Give the letter, and if it was cut, with what its source still has.

        Raises:
            RefusedError: the source has it no longer.
        """
        if not letter.cut:
            return letter
        topic, partition, offset = letter.source
        found = None
        if topic is not None and partition is not None and offset is not None:
            found = self._record(topic, partition, offset)
        return made_whole(letter, found, FIXED if found is None else wire_of(self._registry, found))

    def _letter(self, record: ReadRecord) -> DeadLetter:
        return letter_of(record, self._prefix, wire_of(self._registry, record))

    def _record(self, topic: str, partition: int, offset: int) -> ReadRecord | None:
        if partition >= self._there.get(topic, 0):
            return None
        return read_record(self._cluster, topic, partition, offset)
