"""Events on their way while a test does harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from connectors.cluster import Cluster
from connectors.sources.publish import Publisher
from connectors.sources.sent import Sent

CHUNK_RECORDS = 50
"""Sent at once; then the pace decides how long to wait."""


def in_parts(records: Sequence[Sent], count: int) -> list[Sequence[Sent]]:
    """Cut records into as many parts of one length, in order; the last may be shorter."""
    length = -(-len(records) // count)
    return [records[first : first + length] for first in range(0, len(records), length)]


class Sending:
    """Sends records at a pace, from a thread; leaving the context sends the rest at once and waits until all are delivered."""

    def __init__(self, cluster: Cluster, prefix: str, records: Sequence[Sent], events_per_s: float) -> None:
        self._publisher = Publisher(cluster, prefix)
        self._records = records
        self._events_per_s = events_per_s
        self._sent_count = 0
        self._hurry = threading.Event()
        self._given_up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sending", daemon=True)

    @property
    def unsent_count(self) -> int:
        """Records that are still to come."""
        return len(self._records) - self._sent_count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._given_up.set()
        self._hurry.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while self.unsent_count and not self._given_up.is_set():
                self._sent_count += self._publisher.send(self._records[self._sent_count : self._sent_count + CHUNK_RECORDS])
                self._hurry.wait(max(0.0, began + self._sent_count / self._events_per_s - time.monotonic()))
            if not self._given_up.is_set():
                self._publisher.close()
        except BaseException as failure:  # noqa: BLE001 - raised by __exit__, in the test's own thread
            self._failure = failure
