"""Where a cluster is and what its clients need to be let in: the one beginning of every client's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RECONNECT_MS_MAX = 1_000
"""A broker that comes back is found again within this; librdkafka's own is 10 s."""
IN_FLIGHT_MAX = 1
"""Produce requests without an answer, for each broker: librdkafka's own 5 lose records, in transactions too.

A partition without its leader for a moment refuses a first batch; if it takes the second, which is on its way already, the
client counts the first as delivered too. Kafka lets a producer begin with any sequence number where it has not written before.
"""
CONSUMERS_ONLY = frozenset({
    "coordinator.query.interval.ms", "fetch.error.backoff.ms", "fetch.min.bytes",
})  # fmt: skip
PRODUCERS_ONLY = frozenset({
    "batch.num.messages", "batch.size", "compression.codec", "compression.level", "compression.type", "enable.gapless.guarantee",
    "message.send.max.retries", "queue.buffering.backpressure.threshold", "queuing.strategy", "request.timeout.ms", "retries",
    "sticky.partitioning.linger.ms",
})  # fmt: skip
"""librdkafka takes these from the other kind of client too, and warns of each on standard error."""


@dataclass(frozen=True)
class Cluster:
    """A cluster. ``options`` are librdkafka's, such as TLS and login; they may hold passwords and are never shown."""

    bootstrap_servers: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def consumer(self) -> dict[str, Any]:
        """Give what every consumer's configuration begins with."""
        return self._without(PRODUCERS_ONLY)

    def producer(self) -> dict[str, Any]:
        """Give what the configuration of every producer and admin client begins with; both are producers to librdkafka."""
        return {**self._without(CONSUMERS_ONLY), "max.in.flight.requests.per.connection": IN_FLIGHT_MAX}

    def _without(self, others: frozenset[str]) -> dict[str, Any]:
        options = {name: value for name, value in self.options.items() if name not in others}
        return {"reconnect.backoff.max.ms": RECONNECT_MS_MAX, **options, "bootstrap.servers": self.bootstrap_servers}
