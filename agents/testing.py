"""The runtime in memory: run an agent over lists of events and look at everything that it wrote.

::

    world = MemoryRuntime().run(declare, [[(0, placed), (0, captured)], [(0, refunded)]])
    world.newest(ORDER_STATUS)[b"o-1"].captured_minor

Each inner list is one batch, and so one epoch: ``(partition, event)`` in order of arrival, and
:class:`agents.ports.Tick` for a task to which the time comes. An epoch that a task asks for with ``again`` follows at
once. Tables, counters and numbers of epochs go on from run to run. It passes the same contract suite as the engine's
tables and batches over RocksDB and Kafka's messages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import polars as pl

from agents.outcomes import Decision, Duplicate, Rejected
from agents.ports import AgentFunction, Columns, Limits, Row, Runtime, Slot, TableSpec, Tick
from agents.testing_tables import MemoryTable, in_columns
from schemas.codec import PREFIXES, decode, encode
from schemas.columns import encoded
from schemas.events import Record
from schemas.partitioning import partition_of
from schemas.topics import Topic

S = TypeVar("S")

Item: TypeAlias = tuple[int, Any] | Tick
"""What a batch is made of: a record as ``(partition, event)``, or a tick."""

AGAIN_MAX = 10_000
"""Epochs that one batch may draw after it: more than any test needs, and an agent that always asks for one more is found out."""


@dataclass(frozen=True)
class MemoryRow:
    """One record of a batch."""

    partition: int
    event: Any


@dataclass(frozen=True)
class Emitted:
    """One output record, with the partition that it goes to; ``value`` is the record itself."""

    key: bytes
    value: Any
    partition: int


@dataclass(frozen=True)
class DeadLetter:
    """One buried record: ``error_class`` is rule or exception, ``reason`` the rule's or the exception's name."""

    partition: int
    event: Any
    error_class: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Dropped:
    """One duplicate, and whether it came with other content than the first of its id."""

    event: Any
    other_content: bool


@dataclass
class MemoryWorld:
    """What was committed: rows per topic, dead letters and duplicates in order, counters and epochs per partition, table rows."""

    rows: defaultdict[str, list[Emitted]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: list[DeadLetter] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    counters: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    epochs: Counter[int] = field(default_factory=Counter)
    tables: dict[str, dict[Slot, Any]] = field(default_factory=dict)

    def newest(self, topic: Topic) -> dict[bytes, Any]:
        """Give the last value per key, as a reader of a compacted topic has it."""
        return {emitted.key: emitted.value for emitted in self.rows[topic.name]}

    @property
    def totals(self) -> Counter[str]:
        """Counters summed over partitions; those that stand at zero are left out."""
        total: Counter[str] = Counter()
        for counter in self.counters.values():
            total.update(counter)
        return Counter({name: amount for name, amount in total.items() if amount})


class MemoryBatch:
    """Implements :class:`agents.ports.Batch`; what it collects counts only once it is committed."""

    def __init__(
        self, items: Iterable[Item], world: MemoryWorld, again: Collection[int] = (), *, reads: Collection[type[Any]] = ()
    ) -> None:
        items = list(items)
        self._reads = reads
        self._rows = [MemoryRow(*item) for item in items if not isinstance(item, Tick)]
        self._ticks = sorted((item for item in items if isinstance(item, Tick)), key=lambda tick: tick.partition)
        self._partitions = sorted({row.partition for row in self._rows} | {tick.partition for tick in self._ticks} | set(again))
        self._world = world
        self.begin()

    def begin(self) -> None:
        """Start over, with nothing but the records counted."""
        self.emitted: list[tuple[str, Emitted]] = []
        self.dead_letters: list[DeadLetter] = []
        self.dropped: list[Dropped] = []
        self.asked: set[int] = set()
        self.counters: defaultdict[int, Counter[str]] = defaultdict(Counter)
        for row in self._rows:
            self.count(row.partition, "consumed", 1)

    @property
    def rows(self) -> Sequence[Row]:
        """The records, in order of arrival."""
        return self._rows

    @cached_property
    def columns(self) -> Columns | None:
        """The records in columns, if the batch was made with the types of records that its stage ``reads``."""
        return in_columns(self._rows, self._reads) if self._reads and self._rows else None

    def rows_at(self, places: Sequence[int]) -> Sequence[Row]:
        """Give some of the rows, by their places."""
        return [self._rows[place] for place in places]

    @property
    def ticks(self) -> Sequence[Tick]:
        """At most one per partition, by partition."""
        return self._ticks

    @property
    def partitions(self) -> Sequence[int]:
        """All partitions of the batch, sorted."""
        return self._partitions

    def epoch(self, partition: int) -> int:
        """Give the number that this epoch will have for a partition of the batch."""
        if partition not in self._partitions:
            raise KeyError(partition)
        return self._world.epochs[partition] + 1

    def again(self, partition: int) -> None:
        """Ask for another epoch of a partition of the batch; it follows at once."""
        if partition not in self._partitions:
            raise KeyError(partition)
        self.asked.add(partition)

    def attempt(
        self, row: Row, decide: Callable[..., Decision[S] | Duplicate | Rejected], state: S | None, *facts: Any
    ) -> Decision[S] | None:
        """Run ``decide`` and count the outcome; None: a duplicate or a dead letter."""
        try:
            outcome = decide(state, row.event, *facts)
        except Exception as error:  # noqa: BLE001 - I8: the record is buried with the reason, its neighbours go on
            self._bury(row, "exception", type(error).__name__, f"decide raised {type(error).__name__}: {error}")
            return None
        if isinstance(outcome, Decision):
            self.count(row.partition, "applied", 1)
            return outcome
        if isinstance(outcome, Rejected):
            self._bury(row, "rule", outcome.reason, outcome.detail)
        else:
            self.dropped.append(Dropped(row.event, outcome.other_content))
            self.count(row.partition, "duplicates", 1)
            if outcome.other_content:
                self.count(row.partition, "duplicates|other_content", 1)
        return None

    def tally(self, partition: int, *, applied: int = 0, duplicates: int = 0, other_content: int = 0) -> None:
        """Count the outcomes of records that were decided in columns."""
        self.count(partition, "applied", applied)
        self.count(partition, "duplicates", duplicates)
        self.count(partition, "duplicates|other_content", other_content)

    def emit_columns(self, topic: Topic, record_type: type[Any], keys: Sequence[bytes], frame: pl.DataFrame) -> None:
        """Write a record for each row of a frame that has the fields of the type."""
        for key, value in zip(keys, encoded(record_type, frame, PREFIXES[record_type]), strict=True):
            self.emit(topic, key, decode(value))

    def emit(self, topic: Topic, key: bytes, value: Record, partition: int | None = None) -> None:
        """Write a record; without ``partition`` murmur2 of the key decides.

        Raises:
            ValueError, TypeError: ``value`` does not fit its schema.
        """
        encode(value)
        where = partition_of(key.decode(), topic.partitions) if partition is None else partition
        self.emitted.append((topic.name, Emitted(key, value, where)))

    def count(self, partition: int, name: str, amount: int) -> None:
        """Add to a running counter of the partition."""
        self.counters[partition][name] += amount

    def counter(self, partition: int, name: str) -> int:
        """Give a running counter of the partition as of the last commit; 0 if it was never added to."""
        return self._world.counters[partition][name] if partition in self._world.counters else 0

    def _bury(self, row: Row, error_class: str, reason: str, detail: str) -> None:
        self.dead_letters.append(DeadLetter(row.partition, row.event, error_class, reason, detail))
        self.count(row.partition, "dead", 1)
        self.count(row.partition, f"dead|{reason}", 1)


class MemoryRuntime:
    """Implements :class:`agents.ports.Runtime`; ``world`` holds everything committed so far.

    ``reads`` are the types of records whose batches are given in columns too.
    """

    def __init__(self, limits: Limits = Limits(), *, reads: Collection[type[Any]] = ()) -> None:  # noqa: B008 - frozen
        self.limits = limits
        self._reads = reads
        self.world = MemoryWorld()
        self._tables: dict[str, MemoryTable[Any]] = {}
        self._agents: dict[str, AgentFunction] = {}

    def table(self, spec: TableSpec[S]) -> MemoryTable[S]:
        """Give the table, with the rows of earlier runs."""
        return self._tables.setdefault(spec.name, MemoryTable(spec))

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        """Declare an agent."""

        def declared(function: AgentFunction) -> AgentFunction:
            self._agents[name] = function
            return function

        return declared

    def run(
        self,
        declare: Callable[[Runtime], None],
        batches: Iterable[Iterable[Item]],
        *,
        redo: Collection[int] = (),
    ) -> MemoryWorld:
        """Run the agent that ``declare`` declares over ``batches``, one epoch each; give the world after them.

        ``redo`` numbers the batches (from 0) whose effects are thrown away once before they are
        run again, as after an aborted transaction; the epochs that they ask for are redone too.

        Raises:
            ValueError: ``declare`` declares none or several agents.
            RuntimeError: the agent awaited something other than its stream, ended before it, or always asks for one more epoch.
        """
        self._agents = {}
        declare(self)
        if len(self._agents) != 1:
            raise ValueError(f"run takes one agent at a time, and {declare.__module__} declares {sorted(self._agents) or 'none'}")
        (function,) = self._agents.values()
        to_run = [MemoryBatch(items, self.world, reads=self._reads) for items in batches]
        committed: list[MemoryBatch] = []
        _drive(function(self._stream(to_run, redo, committed)))
        if len(committed) < len(to_run):
            raise RuntimeError(f"the agent ended after {len(committed)} of {len(to_run)} batches: it must iterate to the end")
        self.world.tables = {name: table.committed for name, table in self._tables.items()}
        return self.world

    async def _stream(
        self, to_run: Sequence[MemoryBatch], redo: Collection[int], committed: list[MemoryBatch]
    ) -> AsyncIterator[MemoryBatch]:
        for number, given in enumerate(to_run):
            batch = given
            for _ in range(AGAIN_MAX):
                yield batch
                if number in redo:
                    self._forget()
                    batch.begin()
                    yield batch
                self._commit(batch)
                if not batch.asked:
                    break
                batch = MemoryBatch((), self.world, batch.asked)
            else:
                raise RuntimeError(f"batch {number} drew {AGAIN_MAX:,} epochs after it: its agent always asks for one more")
            committed.append(given)

    def _forget(self) -> None:
        for table in self._tables.values():
            table.forget()

    def _commit(self, batch: MemoryBatch) -> None:
        for table in self._tables.values():
            table.commit()
        for topic, emitted in batch.emitted:
            self.world.rows[topic].append(emitted)
        self.world.dead_letters += batch.dead_letters
        self.world.dropped += batch.dropped
        for partition, counter in batch.counters.items():
            self.world.counters[partition].update(counter)
        self.world.epochs.update(batch.partitions)


def _drive(coroutine: Any) -> None:
    """Run an agent to its end; its stream never makes it wait, so one step is enough."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("an agent may await only its stream: what it waits for would be sent after the epoch that waits")
