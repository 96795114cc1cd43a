"""What an agent is handed: the records of one epoch for its stage, over all its tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar, cast

from confluent_kafka import Message
from msgspec import Struct

from agents.outcomes import Decision, Duplicate, Rejected
from agents.ports import Columns, Row, Tick
from schemas.codec import PREFIXES, encode
from schemas.events import Record
from schemas.topics import BY_NAME, Topic
from schemas.wire import FIXED
from streams.admission import Admission
from streams.arrivals import Arrived, EngineRow, Reader
from streams.dead_letters import Cause, dead_letter_headers
from streams.effects import Effects
from streams.marker import TopicPartition
from streams.messages import list_headers
from streams.tasks import Task
from streams.topology import Stage

if TYPE_CHECKING:
    import polars as pl

    from streams.column_arrivals import Sorted

S = TypeVar("S")


class StageRecords:
    """What one epoch has for one stage; records are decoded when first asked, once, however often the epoch is redone.

    ``tasks`` are those of the records, of the ``ticks``, and those that asked for another epoch (``again``), by partition.
    """

    def __init__(
        self,
        stage: Stage,
        prefix: str,
        messages: list[Message],
        tasks: dict[int, Task],
        admission: Admission | None = None,
        ticks: Sequence[Tick] = (),
        again: frozenset[int] = frozenset(),
        newest: Mapping[TopicPartition, Message] | None = None,
    ) -> None:
        self.ticks = ticks
        self.again = again
        self.stage = stage
        self.prefix = prefix
        self.admission = admission
        self.wire = admission.wire if admission else FIXED
        self.messages = messages
        self.tasks = tasks
        self.topics = {topic.named(prefix): topic for topic in stage.reads}
        self._newest = newest
        self._reader = Reader(self.topics, admission)
        self._sorted: Sorted | None = None

    @cached_property
    def newest(self) -> Mapping[TopicPartition, Message]:
        """The last record of each partition."""
        if self._newest is not None:
            return self._newest
        return {(message.topic() or "", message.partition() or 0): message for message in self.messages}

    @property
    def takes_columns(self) -> bool:
        """Whether the stage takes columns, and there are enough records for them."""
        return 0 < self.stage.columns_from <= len(self.messages)

    def read(self) -> None:
        """Read columns now, on whatever thread it is, so that :attr:`arrived` need not."""
        self._sorted = self._reader.columns_of(self.messages)

    def take_over(self, before: StageRecords) -> None:
        """Take what was read of the very same records."""
        if before.messages == self.messages:
            self._sorted = before._sorted

    @cached_property
    def arrived(self) -> Arrived:
        """What can be decided, and what cannot."""
        if self.takes_columns:
            return self._reader.in_columns(self.messages, self._sorted)
        return self._reader.one_by_one(self.messages)

    def rows_at(self, places: Iterable[int]) -> list[EngineRow]:
        """Give some of the records that stand in columns, read alone."""
        others = self.arrived.columns.others if self.arrived.columns else {}
        found = [others.get(place) or self._reader.read(self.messages[place]) for place in places]
        return cast("list[EngineRow]", found)

    @cached_property
    def counts(self) -> Counter[int]:
        """How many records there are of each partition."""
        return Counter(map(methodcaller("partition"), self.messages))

    @cached_property
    def all_rows(self) -> list[EngineRow]:
        """All that could be decoded, for who takes no columns."""
        dead = {id(message) for message, _ in self.arrived.dead}
        return self.rows_at(at for at, message in enumerate(self.messages) if id(message) not in dead)

    def only(self, tasks: Collection[Task]) -> StageRecords:
        """Give the records of these very tasks; one that took another's place has records of its own to come."""
        kept = {partition: task for partition, task in self.tasks.items() if task in tasks}
        messages = [message for message in self.messages if message.partition() in kept]
        ticks = [tick for tick in self.ticks if tick.partition in kept]
        return StageRecords(self.stage, self.prefix, messages, kept, self.admission, ticks, self.again & kept.keys())

    def joined(self, ticks: Mapping[Task, Tick], again: Collection[Task]) -> StageRecords:
        """Give the same records with ticks, and with tasks that asked for another epoch."""
        tasks = {**self.tasks, **{task.partition: task for task in [*ticks, *again]}}
        asked = frozenset(task.partition for task in again)
        return StageRecords(self.stage, self.prefix, self.messages, tasks, self.admission, [*self.ticks, *ticks.values()], asked)

    def at_most(self, left: Mapping[int, int]) -> tuple[StageRecords, list[Task]]:
        """Give the records without those of a partition after its first ``left``, and the tasks of which some are left out."""
        taken: Counter[int] = Counter()
        messages = []
        for message in self.messages:
            partition = message.partition() or 0
            taken[partition] += 1
            if taken[partition] <= left.get(partition, len(self.messages)):
                messages.append(message)
        cut = [self.tasks[partition] for partition, count in left.items() if taken[partition] > count]
        return StageRecords(self.stage, self.prefix, messages, self.tasks, self.admission, self.ticks, self.again), cut


class EngineBatch:
    """Implements :class:`agents.ports.Batch` for one attempt at an epoch; the next attempt gets another one.

    Counts the records and buries what cannot be read. ``finished`` is done when the agent is done with the batch.

    Raises:
        PoisonedInternalTopicError: a record that cannot be read stands on a topic that has no dead letters.
    """

    def __init__(self, records: StageRecords, effects: Effects, now_ms: Callable[[], int]) -> None:
        self.stage = records.stage
        self.messages = records.messages
        self.tasks = records.tasks
        self.finished: asyncio.Future[None] | None = None
        self._records = records
        self._effects = effects
        self._now_ms = now_ms
        for partition, count in records.counts.items():
            self.count(partition, "consumed", count)
        for message, cause in records.arrived.dead:
            self._bury(message, cause)

    @property
    def rows(self) -> Sequence[Row]:
        """What could be decoded, in order of arrival per partition."""
        arrived = self._records.arrived
        return arrived.rows if arrived.columns is None else self._records.all_rows

    @property
    def columns(self) -> Columns | None:
        """The same in columns; None where rows are cheaper, or the extension is not built."""
        return self._records.arrived.columns

    def rows_at(self, places: Sequence[int]) -> Sequence[Row]:
        """Give some of the rows, by their places."""
        return self._records.rows_at(places)

    @property
    def ticks(self) -> Sequence[Tick]:
        """At most one per task, by partition."""
        return sorted(self._records.ticks, key=lambda tick: tick.partition)

    @property
    def partitions(self) -> Sequence[int]:
        """All tasks of the batch, sorted."""
        return sorted(self.tasks)

    @property
    def is_for_agents(self) -> bool:
        """Whether an agent is to see it: not if it has nothing but records that cannot be read."""
        arrived = self._records.arrived
        return bool(len(arrived.dead) < len(self.messages) or self._records.ticks or self._records.again)

    def epoch(self, partition: int) -> int:
        """Give the number that the task's marker of this epoch will have."""
        return self.tasks[partition].foreseen.epoch + 1

    def again(self, partition: int) -> None:
        """Ask for another epoch of the task once this one is committed."""
        self._effects.again.add(self.tasks[partition])

    def attempt(
        self, row: Row, decide: Callable[..., Decision[S] | Duplicate | Rejected], state: S | None, *facts: Any
    ) -> Decision[S] | None:
        """Run ``decide`` and count the outcome; None: a duplicate or a dead letter."""
        try:
            outcome = decide(state, row.event, *facts)
        except Exception as error:  # noqa: BLE001 - I8: the record is buried with the reason, its neighbours go on
            self._bury(row.message, Cause.raised(error))  # type: ignore[attr-defined]
            return None
        if type(outcome) is Decision:
            self._effects.count(self.tasks[row.partition], "applied", 1)
            return outcome
        if isinstance(outcome, Duplicate):
            self._effects.count(self.tasks[row.partition], "duplicates", 1)
            if outcome.other_content:
                self._effects.count(self.tasks[row.partition], "duplicates|other_content", 1)
        elif isinstance(outcome, Rejected):
            self._bury(row.message, Cause("rule", outcome.reason, outcome.detail))  # type: ignore[attr-defined]
        return None

    def tally(self, partition: int, *, applied: int = 0, duplicates: int = 0, other_content: int = 0) -> None:
        """Count the outcomes of records that were decided in columns."""
        counts = {"applied": applied, "duplicates": duplicates, "duplicates|other_content": other_content}
        for name, count in counts.items():
            if count:
                self._effects.count(self.tasks[partition], name, count)
        self._effects.in_columns[self.stage.name] += applied + duplicates

    def emit_columns(self, topic: Topic, record_type: type[Struct], keys: Sequence[bytes], frame: pl.DataFrame) -> None:
        """Write a record in this epoch's transaction for each row of a frame."""
        from schemas.columns import encoded  # noqa: PLC0415 - it brings Polars, 50 MB that not every worker has

        topic = topic.of(self.stage.version)
        prefix = self._records.wire.prefixes.get(topic.name, PREFIXES)[record_type]
        self._effects.write_many(topic, topic.named(self._records.prefix), keys, encoded(record_type, frame, prefix))

    def emit(self, topic: Topic, key: bytes, value: Record, partition: int | None = None) -> None:
        """Write a record in this epoch's transaction."""
        topic = topic.of(self.stage.version)
        data = encode(value, self._records.wire.prefixes.get(topic.name, PREFIXES))
        self._effects.write(topic, topic.named(self._records.prefix), key, data, -1 if partition is None else partition)

    def count(self, partition: int, name: str, amount: int) -> None:
        """Add to a running counter of the task."""
        self._effects.count(self.tasks[partition], name, amount)

    def counter(self, partition: int, name: str) -> int:
        """Give a running counter of the task as of the epoch before; 0 if it was never added to."""
        return self.tasks[partition].foreseen.counters.get(name, 0)

    def _bury(self, message: Message, cause: Cause) -> None:
        topic = self._records.topics[message.topic() or ""]
        if topic.dead_letters is None:
            raise PoisonedInternalTopicError(message, cause)
        partition, offset = message.partition() or 0, message.offset() or 0
        headers = dead_letter_headers(
            cause,
            topic=message.topic() or "",
            partition=partition,
            offset=offset,
            agent=self.stage.name,
            at_ms=self._now_ms(),
            original=list_headers(message),
        )
        dlq = BY_NAME[topic.dead_letters].of(self.stage.version)
        self._effects.bury(self.tasks[partition], dlq, dlq.named(self._records.prefix), message, headers)
        self._effects.count(self.tasks[partition], "dead", 1)
        self._effects.count(self.tasks[partition], f"dead|{cause.reason}", 1)


class PoisonedInternalTopicError(Exception):
    """A record of an internal topic cannot be processed: only a bug of ours can have written it, so the task stops."""

    def __init__(self, message: Message, cause: Cause) -> None:
        where = f"{message.topic()}/{message.partition()} at offset {message.offset()}"
        super().__init__(f"{where}: {cause.message}; {message.topic()} has no dead-letter topic")
