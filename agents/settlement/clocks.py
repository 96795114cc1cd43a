"""What time it is in the events of a task: per input the newest time that was accepted. Pure.

A clock is a running counter of the task (``newest_ms|orders``), so it is committed with the epoch, restored
and moved with the task.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.ports import Batch, Limits, Row
from agents.settlement.decide import Times
from schemas.topics import ORDERS, PAYMENTS

COUNTER = "newest_ms|"
INPUTS = (ORDERS, PAYMENTS)
_INPUT_OF = {event_type: topic.name for topic in INPUTS for event_type in topic.values}


class Clocks:
    """The clocks of the tasks of one batch; they move with each applied event, and never back."""

    def __init__(self, batch: Batch, limits: Limits) -> None:
        self._batch = batch
        self._limits = limits
        self._partitions = sorted({row.partition for row in batch.rows})
        self._before = {
            (partition, topic.name): batch.counter(partition, COUNTER + topic.name)
            for partition in self._partitions
            for topic in INPUTS
        }
        self._newest = dict(self._before)
        self._times = {place: self._times_at(place) for place in self._newest}

    def times_of(self, row: Row) -> tuple[Times]:
        """Give what :func:`decide` is told of the time when it is the row's turn."""
        return (self._times[row.partition, _INPUT_OF[type(row.event)]],)

    def note(self, row: Row) -> None:
        """Take the time of an applied event."""
        place = row.partition, _INPUT_OF[type(row.event)]
        if row.event.occurred_at_ms > self._newest[place]:
            self._newest[place] = row.event.occurred_at_ms
            for topic in INPUTS:
                self._times[row.partition, topic.name] = self._times_at((row.partition, topic.name))

    def give_up_ms(self, partition: int) -> int:
        """Give the time since before which money must not wait any more: both inputs have passed it by the set time."""
        newest_ms = min(self._newest[partition, topic.name] for topic in INPUTS)
        return max(newest_ms - self._limits.waiting_max_ms, 0)

    @property
    def partitions(self) -> Sequence[int]:
        """The tasks of the batch."""
        return self._partitions

    def save(self) -> None:
        """Move the task's counters to the new times."""
        for place, newest_ms in self._newest.items():
            if newest_ms > self._before[place]:
                self._batch.count(place[0], COUNTER + place[1], newest_ms - self._before[place])

    def _times_at(self, place: tuple[int, str]) -> Times:
        return Times(max(self._newest[place] - self._limits.dedup_horizon_ms, 0), self.give_up_ms(place[0]))
