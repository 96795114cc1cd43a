"""What time it is in the events of a task: per input the newest time that was accepted, and the watermark. Pure.

They are running counters of the task (``newest_ms|orders``, ``watermark_ms``, ``idle|orders``), so they are committed
with the epoch, restored and moved with the task.

The watermark is the least of the newest times of the inputs that are not idle. While all are idle, the engine's
ticks move it on, a set time behind the wall clock. It never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agents.flows import MINUTE_MS
from agents.ports import Batch, Limits, Row, Tick
from agents.settlement.decide import Times
from schemas.events import Source
from schemas.topics import ORDERS, PAYMENTS

NEWEST = "newest_ms|"
WATERMARK = "watermark_ms"
IDLE = "idle|"
INPUTS = (ORDERS.name, PAYMENTS.name)
_INPUT_OF = {event_type: topic.name for topic in (ORDERS, PAYMENTS) for event_type in topic.values}
TOLD_MS = 1_000
"""Watermarks are told in whole seconds: often enough for minutes, and a bound on how often."""


@dataclass
class _Clock:
    """Of one task."""

    newest_ms: dict[str, int]
    idle: dict[str, bool]
    watermark_ms: int

    def move(self, now_ms: int | None = None) -> None:
        """Let the watermark follow; ``now_ms`` is where ticks may move it while all inputs are idle."""
        active = [newest_ms for name, newest_ms in self.newest_ms.items() if not self.idle[name]]
        reached_ms = min(active) if active else now_ms
        if reached_ms is not None and reached_ms > self.watermark_ms:
            self.watermark_ms = reached_ms

    @property
    def all_idle(self) -> bool:
        return all(self.idle.values())

    @property
    def told(self) -> tuple[int, bool]:
        return self.watermark_ms - self.watermark_ms % TOLD_MS, self.all_idle

    def counters(self) -> dict[str, int]:
        """Give the clock as running counters."""
        newest = {NEWEST + name: newest_ms for name, newest_ms in self.newest_ms.items()}
        idle = {IDLE + name: int(is_idle) for name, is_idle in self.idle.items()}
        return {**newest, **idle, WATERMARK: self.watermark_ms}


class Clocks:
    """The clocks of the tasks of one batch; they move with each applied event, and never back."""

    def __init__(self, batch: Batch, limits: Limits) -> None:
        self._batch = batch
        self._limits = limits
        self._clocks = {partition: _restored(batch, partition) for partition in batch.partitions}
        self._before = {partition: (clock.told, clock.counters()) for partition, clock in self._clocks.items()}
        for tick in batch.ticks:
            self._hear(tick)
        for partition, name in _arrived(batch):
            self._clocks[partition].idle[name] = False
        self._times = {(where, name): self._times_at(clock, name) for where, clock in self._clocks.items() for name in INPUTS}

    def times_of(self, row: Row) -> tuple[Times, Limits]:
        """Give what :func:`decide` is told of the time when it is the row's turn."""
        return self._times[row.partition, _INPUT_OF[type(row.event)]], self._limits

    def note(self, row: Row) -> None:
        """Take the time of an applied event."""
        self.reach(row.partition, type(row.event), row.event.occurred_at_ms)

    def reach(self, partition: int, event_type: type, occurred_at_ms: int) -> None:
        """Take the newest time of applied events of a type."""
        name, clock = _INPUT_OF[event_type], self._clocks[partition]
        if occurred_at_ms > clock.newest_ms[name]:
            clock.newest_ms[name] = occurred_at_ms
            clock.move()
            for each in INPUTS:
                self._times[partition, each] = self._times_at(clock, each)

    def standing(self) -> Iterator[tuple[int, dict[str, int | None], int]]:
        """Give ``(partition, newest times, watermark)`` of each task; the newest time of an input that is idle is None."""
        for partition, clock in self._clocks.items():
            newest_ms = {name: None if clock.idle[name] else clock.newest_ms[name] for name in INPUTS}
            yield partition, newest_ms, clock.watermark_ms

    def watermarks_ms(self) -> Iterator[tuple[int, int]]:
        """Give ``(partition, watermark)`` of each task."""
        return ((partition, clock.watermark_ms) for partition, clock in self._clocks.items())

    @property
    def have_news(self) -> bool:
        """Whether something is to be told to everybody downstream: a watermark that moved by a second, or who is idle."""
        return any(clock.told != self._before[partition][0] for partition, clock in self._clocks.items())

    def sources(self) -> tuple[Source, ...]:
        """Give what is told of each task of the batch."""
        return tuple(Source(partition, self._batch.epoch(partition), *clock.told) for partition, clock in self._clocks.items())

    def sources_before(self) -> tuple[Source, ...]:
        """Give what was told of them before, in the name of this epoch."""
        return tuple(Source(partition, self._batch.epoch(partition), *told) for partition, (told, _) in self._before.items())

    def save(self) -> None:
        """Move the tasks' counters to the new times."""
        for partition, clock in self._clocks.items():
            before = self._before[partition][1]
            for name, value in clock.counters().items():
                if value != before[name]:
                    self._batch.count(partition, name, value - before[name])

    def _hear(self, tick: Tick) -> None:
        clock = self._clocks[tick.partition]
        clock.idle = {name: name in tick.idle for name in INPUTS}
        clock.move(tick.now_ms - self._limits.idle_delay_ms)

    def _times_at(self, clock: _Clock, name: str) -> Times:
        """An input that was idle is as far as its task: nothing of before is taken for new when it wakes up."""
        limits = self._limits
        reached_ms = max(clock.newest_ms[name], clock.watermark_ms)
        return Times(
            clock.watermark_ms,
            max(reached_ms - limits.dedup_horizon_ms, 0),
            max(reached_ms - limits.grace_ms - MINUTE_MS, 0),
        )


def _arrived(batch: Batch) -> set[tuple[int, str]]:
    """Give ``(partition, input)`` of all records."""
    if batch.columns is None:
        return {(row.partition, _INPUT_OF[type(row.event)]) for row in batch.rows}
    frames = batch.columns.frames.items()
    others = {(row.partition, _INPUT_OF[type(row.event)]) for row in batch.columns.others.values()}
    return others | {(partition, _INPUT_OF[kind]) for kind, frame in frames for partition in frame["partition"].unique()}


def _restored(batch: Batch, partition: int) -> _Clock:
    newest_ms = {name: batch.counter(partition, NEWEST + name) for name in INPUTS}
    idle = {name: bool(batch.counter(partition, IDLE + name)) for name in INPUTS}
    return _Clock(newest_ms, idle, batch.counter(partition, WATERMARK))
