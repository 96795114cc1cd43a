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

SENDS_MAX = 10_000
"""Records of timers and pages that may wait for a transaction; more come only while the worker owns nothing, or is stuck."""


class Send(NamedTuple):
    """One record; ``done`` is done when it has been committed."""

    output: Output
    done: asyncio.Future[None]
    by_agent: bool


class Sends:
    """Everything that waits to be sent. What an agent sends belongs to its epoch, and is forgotten when that is redone."""

    def __init__(self) -> None:
        self._waiting: list[Send] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, output: Output, *, by_agent: bool) -> asyncio.Future[None]:
        """Let a record wait for the next transaction; the future is done when that has committed.

        Raises:
            RecordTooLargeError, TypeError: the cluster would not take it.
            ClusterError: too many wait already.
        """
        check_send(output)
        if len(self._waiting) >= SENDS_MAX and not by_agent:
            raise ClusterError(f"{SENDS_MAX:,} records wait to be sent: the worker owns nothing, or its cluster is away")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Send(output, done, by_agent))
        return done

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
        self._waiting = left
        return taken

    def give_up(self, error: Exception) -> bool:
        """Fail what timers and pages sent, in case that it is what makes epochs fail; tell whether there was any."""
        suspects = [send for send in self._waiting if not send.by_agent]
        for send in suspects:
            _fail(send, f"the record for {send.output.topic} was in every attempt of an epoch that failed: {error}")
        self._waiting = [send for send in self._waiting if send.by_agent]
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
        waiting, self._waiting = [*taken, *self._waiting], []
        for send in waiting:
            if send.by_agent:
                send.done.cancel()
            elif not send.done.done():
                self._waiting.append(send)


def _fail(send: Send, sentence: str) -> None:
    log.error("%s", sentence)
    if not send.done.done():
        send.done.set_exception(ClusterError(sentence))
