"""Which records may be decided: looks at the envelope of what producers send, and at no record of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from agents.envelope import Envelope, refusal
from agents.outcomes import Rejected
from schemas.topics import Kind, Topic


@dataclass(frozen=True)
class Admission:
    """``partition_counts`` are the cluster's, by full name; a topic that is not in it is taken as it was declared."""

    future_max_ms: int
    partition_counts: Mapping[str, int] = field(default_factory=dict)

    def refusal(self, topic: Topic, message: Message, event: Any) -> Rejected | None:
        """Give the rule that a record of an input breaks; None for all others."""
        if topic.kind is not Kind.INPUT:
            return None
        partitions_count = self.partition_counts.get(message.topic() or "", topic.partitions)
        key_wanted: str = getattr(event, topic.key)
        envelope = Envelope(
            message.key(), key_wanted, message.partition() or 0, partitions_count, message.timestamp()[1], self.future_max_ms
        )
        return refusal(envelope, event)
