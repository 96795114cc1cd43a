"""What Faust sends, on its way into a transaction: by timers and pages, or by agents on topics of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.effects import Output, check_send
from streams.errors import ClusterError
from streams.transaction import Committed, Outcome, TransactionRefusedError, Unknown

log = logging.getLogger(__name__)

SEND_BYTES = 1_700
"""Of a record that waits, beside its bytes: the objects around it, and who waits for its delivery. Measured."""


class Send(NamedTuple):
    """One record; ``done`` is done when it has been committed."""

    output: Output
    done: asyncio.Future[None]
    by_agent: bool
    bytes: int


class Sends:
    """Everything that waits to be sent. What an agent sends belongs to its epoch, and is forgotten when that is redone.

    What timers and pages send may take ``bytes_max`` while it waits, the share of the memory budget that the producer's queue
    has: they wait while the worker owns nothing or its cluster is away, and then that queue is empty.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._waiting: list[Send] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, output: Output, *, by_agent: bool) -> asyncio.Future[None]:
        """Let a record wait for the next transaction; the future is done when that has committed.

        Raises:
            RecordTooLargeError, TypeError: the cluster would not take it.
            ClusterError: too many wait already.
        """
        size_bytes = check_send(output) + SEND_BYTES
        if self._bytes + size_bytes > self._bytes_max and not by_agent:
            raise ClusterError(
                f"{len(self._waiting):,} records wait to be sent, more than TALLY_MEMORY_MB has room for: "
                "the worker owns nothing, or its cluster is away"
            )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bytes += size_bytes
        self._waiting.append(Send(output, done, by_agent, size_bytes))
        return done

    def _keep(self, waiting: list[Send]) -> None:
        self._waiting, self._bytes = waiting, sum(send.bytes for send in waiting)

    def topics(self) -> set[str]:
        """Give the topics of what waits."""
        return {send.output.topic for send in self._waiting}

    def take(self, partition_counts: Mapping[str, int], *, by_agents_only: bool) -> list[Send]:
        """Take what goes into this transaction; what has no topic, or no such partition, must not cost it and fails alone.

        Raises:
            TransactionRefusedError: an agent sent it, and it belongs to the epoch.
        """
        taken: list[Send] = []
        left: list[Send] = []
        for send in self._waiting:
            topic, partition = send.output.topic, send.output.partition
            if topic not in partition_counts or partition >= partition_counts[topic]:
                lacks = f"has no partition {partition}" if topic in partition_counts else "does not exist: make it first"
                refused = f"nothing can be sent to {topic}: it {lacks}"
                if send.by_agent:
                    raise TransactionRefusedError(refused)
                _fail(send, refused)
            else:
                (left if by_agents_only and not send.by_agent else taken).append(send)
        self._keep(left)
        return taken

    def give_up(self, error: Exception) -> bool:
        """Fail what timers and pages sent, in case that it is what makes epochs fail; tell whether there was any."""
        suspects = [send for send in self._waiting if not send.by_agent]
        for send in suspects:
            _fail(send, f"the record for {send.output.topic} was in every attempt of an epoch that failed: {error}")
        self._keep([send for send in self._waiting if send.by_agent])
        return bool(suspects)

    def answer(self, taken: Sequence[Send], outcome: Outcome | None) -> None:
        """Tell who sent what became of it; if nothing happened, what timers and pages sent waits for the next transaction."""
        for send in taken:
            if isinstance(outcome, Committed) and not send.done.done():
                send.done.set_result(None)
            elif isinstance(outcome, Unknown) and not send.by_agent:
                _fail(send, f"nobody knows whether the record for {send.output.topic} was sent: {outcome.cause}")
        if isinstance(outcome, Committed):
            return
        waiting = [*taken, *self._waiting]
        for send in waiting:
            if send.by_agent:
                send.done.cancel()
        self._keep([send for send in waiting if not send.by_agent and not send.done.done()])


def _fail(send: Send, sentence: str) -> None:
    log.error("%s", sentence)
    if not send.done.done():
        send.done.set_exception(ClusterError(sentence))
