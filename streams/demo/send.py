"""Sends a demo's plan: a paced part that is pleasant to watch, then the rest at once, so that there is lag."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from connectors.sources.generator import Sent
from connectors.sources.publish import Publisher

PACED_RATIO = 0.45
"""Of all events; with what is consumed before the kill point is reached, the kill is half-way."""
SLOW_RATIO_MAX = 0.8
"""Of all events: up to there the sender goes on slowly until the victim has its epochs behind it. Epochs on a busy
machine take a second, and a burst that came earlier would be over before the kill is due."""
SLOWER_BY = 16
"""So that the 35 % between the two ratios last 100 s: 11 epochs of nine seconds, on a machine that has other work to do."""
PACED_S = 8.0
"""How long the paced part takes when no rate is given."""
ARMED_RATIO = 0.5
"""Of the burst: the kill is armed when so much is sent, so every worker has an epoch behind it that is lag by then."""
ARMED_S_MAX = 0.2
"""How long that part of the burst is left alone at most: it lets a paced epoch end, and a worker begin with the burst."""
ARMED_S_PER_EVENT = 10e-6
"""The same for a small burst: a third of the time that one worker takes for it."""
STEP_S = 0.05
"""Between two handfuls of the paced part: twenty a second make epochs small and many."""
BURST_STEP_RECORDS = 2_000
"""Between two looks at whether it is to end."""
CLOSE_TIMEOUT_S = 130.0
"""A little above the publisher's own delivery time-out."""


class Sender(threading.Thread):
    """A thread with one publisher, to be started when the workers are ready; a context manager that stops it.

    ``arm`` is called once, in the middle of the burst; the burst waits for ``may_burst``, within bounds.
    """

    def __init__(
        self, records: Sequence[Sent], publisher: Publisher, events_per_s: float | None, arm: Callable[[], None]
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self.sent_count = 0
        self.total_count = len(records)
        self.paced_count = int(len(records) * PACED_RATIO)
        self.may_burst = threading.Event()
        self.delivered = threading.Event()
        self.error: Exception | None = None
        self.burst_s: float | None = None
        self.armed_s: float | None = None
        self._records = records
        self._publisher = publisher
        self._arm = arm
        self._events_per_s = events_per_s or max(1, self.paced_count) / PACED_S
        self.slow_count = max(self.paced_count, int(len(records) * SLOW_RATIO_MAX))
        self.paced_s_max = (self.paced_count + SLOWER_BY * (self.slow_count - self.paced_count)) / self._events_per_s
        self._stop_asked = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop_asked.set()
        if self.is_alive():
            self.join(CLOSE_TIMEOUT_S if error is None else 1.0)

    def run(self) -> None:
        """Send everything; ``error`` says what went wrong."""
        try:
            self._send_paced(self.paced_count, self._events_per_s)
            self._send_paced(self.slow_count, self._events_per_s / SLOWER_BY, unless=self.may_burst)
            self.burst_s = time.monotonic()
            self._send_rest()
            self._publisher.close()
            if self.sent_count == self.total_count:
                self.delivered.set()
        except Exception as error:  # noqa: BLE001 - handed to the thread that runs the demo, which raises it
            self.error = error

    def _send_paced(self, end: int, events_per_s: float, unless: threading.Event | None = None) -> None:
        began, first = time.monotonic(), self.sent_count
        while self.sent_count < end and not self._stop_asked.is_set() and not (unless and unless.is_set()):
            due = min(end, first + int((time.monotonic() - began) * events_per_s) + 1)
            self._send_until(due)
            self._stop_asked.wait(STEP_S)

    def _send_rest(self) -> None:
        burst_count = self.total_count - self.sent_count
        self._send_in_steps(self.sent_count + int(burst_count * ARMED_RATIO))
        self._stop_asked.wait(min(ARMED_S_MAX, burst_count * ARMED_S_PER_EVENT))
        self._arm()
        self.armed_s = time.monotonic()
        self._send_in_steps(self.total_count)

    def _send_in_steps(self, end: int) -> None:
        while self.sent_count < end and not self._stop_asked.is_set():
            self._send_until(min(end, self.sent_count + BURST_STEP_RECORDS))

    def _send_until(self, end: int) -> None:
        self.sent_count += self._publisher.send(self._records[self.sent_count : end])
