"""A proxy before a broker that answers a partition's first Produce as a broker does that does not lead it yet."""

from __future__ import annotations

import struct
import threading
from collections import defaultdict
from typing import NamedTuple

from tests.support.proxy import REQUEST, SIZE, Link, Proxy, frames

PRODUCE = 0
"""The request's key in Kafka's protocol."""
FLEXIBLE_VERSIONS = range(9, 13)
"""Of Produce: with compact strings, and topics by their names."""
NOT_LEADER = 6
BEHIND_IT_S = 0.2
"""How long the answer is held back, so that a client with room for a second request on the connection sends it before."""


class Produced(NamedTuple):
    """Where the first batch of a Produce request goes; a topic's name is as long as a byte says here."""

    topic: str
    partition: int


class NotLeaderProxy(Proxy):
    """Refuses the first Produce to each partition of a topic; ``refused`` has those that were."""

    def __init__(self, broker_port: int, port: int) -> None:
        super().__init__(broker_port, port)
        self.refused: list[Produced] = []
        self._topic = ""
        self._held: defaultdict[Link, set[int]] = defaultdict(set)
        self._changed = threading.Condition()

    def arm(self, topic: str) -> None:
        """Refuse for this topic."""
        self.refused, self._topic = [], topic

    def requests(self, link: Link) -> None:
        for frame in frames(link.client):
            key, version, correlation = REQUEST.unpack_from(frame, SIZE.size)
            if key == PRODUCE:
                assert version in FLEXIBLE_VERSIONS, f"the client speaks another Produce: {version}"
                where = _read(frame)
                if where.topic == self._topic and where not in self.refused:
                    self.refused.append(where)
                    self._held[link].add(correlation)
                    threading.Timer(BEHIND_IT_S, self._refuse, [link, correlation, where]).start()
                    continue
            link.to_broker(frame)

    def answers(self, link: Link) -> None:
        for frame in frames(link.broker):
            with self._changed:  # a broker answers in the order in which it was asked
                self._changed.wait_for(lambda: not self._held[link])
            link.to_client(frame)

    def _refuse(self, link: Link, correlation: int, where: Produced) -> None:
        link.to_client(_refusal(correlation, where))
        with self._changed:
            self._held[link].discard(correlation)
            self._changed.notify_all()


def _read(frame: bytes) -> Produced:
    at = SIZE.size + REQUEST.size
    (client_id_bytes,) = struct.unpack_from(">h", frame, at)
    at += 2 + max(client_id_bytes, 0) + 1  # no tags
    at += 1 + max(frame[at] - 1, 0)  # the transactional id
    at += struct.calcsize(">hi") + 1  # acks, time-out, how many topics
    name_end = at + frame[at]
    (partition,) = struct.unpack_from(">i", frame, name_end + 1)
    return Produced(frame[at + 1 : name_end].decode(), partition)


def _refusal(correlation: int, where: Produced) -> bytes:
    name = where.topic.encode()
    body = struct.pack(">iB", correlation, 0)
    body += struct.pack(">BB", 2, len(name) + 1) + name + struct.pack(">B", 2)
    body += struct.pack(">ihqqq", where.partition, NOT_LEADER, -1, -1, -1) + bytes([1, 0, 0])  # no record errors, no message
    body += bytes([0]) + struct.pack(">i", 0) + bytes([0])  # throttle time
    return SIZE.pack(len(body)) + body
