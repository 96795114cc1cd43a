"""Which records may be decided: looks at the envelope of what producers send, and at no record of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message, murmur2

from agents.envelope import Envelope, refusal
from agents.outcomes import Rejected
from schemas.topics import Kind, Topic
from schemas.wire import FIXED, Wire

if TYPE_CHECKING:
    from schemas.columns import WireColumns


@dataclass(frozen=True)
class Admission:
    """``partition_counts`` are the cluster's, by full name; a topic that is not in it is taken as it was declared.

    ``wire`` says what the schema ids of values mean.
    """

    future_max_ms: int
    partition_counts: Mapping[str, int] = field(default_factory=dict)
    wire: Wire = FIXED

    @cached_property
    def columns(self) -> WireColumns:
        """Values to columns, by the same ids."""
        from schemas.columns import WireColumns  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has

        return WireColumns(self.wire)

    def refusal(self, topic: Topic, message: Message, event: Any) -> Rejected | None:
        """Give the rule that a record of an input breaks; None for all others."""
        if topic.kind is not Kind.INPUT:
            return None
        partitions_count = self.partition_counts.get(message.topic() or "", topic.partitions)
        key_wanted: bytes = getattr(event, topic.key).encode()
        partition_wanted = murmur2(key_wanted, partitions_count)  # the client's own, in C: ten times as fast as ours
        appended_at_ms = message.timestamp()[1]
        envelope = Envelope(
            message.key(), key_wanted, message.partition() or 0, partition_wanted, appended_at_ms, self.future_max_ms
        )
        return refusal(envelope, event)
