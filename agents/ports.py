"""What an agent needs of the runtime, and nothing more. ``streams`` provides it; tests provide it from memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from agents.outcomes import Decision, Duplicate, Rejected
from schemas.events import Record
from schemas.topics import Topic

if TYPE_CHECKING:
    import polars as pl

S = TypeVar("S")

Slot: TypeAlias = tuple[int, bytes]
"""A place in a table: the task's partition and the key."""

Keys: TypeAlias = Mapping[int, Sequence[bytes]]
"""Many places: keys by partition. Columns of their rows are in this order."""


@dataclass(frozen=True)
class TableSpec(Generic[S]):
    """One sharded table: its name (also its column family and changelog prefix) and the type of its rows.

    Raise ``version`` when rows of the old layout can no longer be read; appended fields with
    defaults can be.
    """

    name: str
    row: type[S]
    version: int = 1


DAY_MS = 24 * 60 * 60 * 1_000


@dataclass(frozen=True)
class Limits:
    """What a deployment sets of the rules. Times are event time."""

    dedup_horizon_ms: int = 7 * DAY_MS
    waiting_max_ms: int = DAY_MS
    grace_ms: int = 10 * 60_000
    idle_delay_ms: int = 10 * 60_000
    unpaid_after_ms: int = 30 * 60_000
    keep_closed_ms: int = 180 * DAY_MS
    alert_orders_max: int = 10
    alert_gross_minor_max: int = 1_000_000


class Row(Protocol):
    """One decoded record of a batch."""

    @property
    def partition(self) -> int:
        """Partition of the input, and so number of the task."""

    @property
    def event(self) -> Any:
        """The decoded event."""


@dataclass(frozen=True)
class Tick:
    """The time, as it comes to one task: told when the inputs that are idle are others than the task said, and while all are.

    Attributes:
        partition: number of the task.
        now_ms: the worker's wall clock, milliseconds since 1970.
        idle: declared names of the task's inputs that are read to their end and have brought nothing for a while;
            all others are active. An input with records in the same batch is never among them.
    """

    partition: int
    now_ms: int
    idle: frozenset[str]


@dataclass(frozen=True)
class Columns:
    """The records of a batch in columns.

    Attributes:
        frames: by record type, for every type that the stage reads: the fields of the type, times as integers, and ``at`` (its
            place among all records of the batch, in order of arrival) and ``partition``.
        others: by place, the rows that stand in no frame: columns are stricter than records (``schemas/columns.py``).
    """

    frames: Mapping[type, pl.DataFrame]
    others: Mapping[int, Row]


@dataclass(frozen=True)
class Found:
    """Rows of a table in columns.

    Attributes:
        frame: the fields of each row that was found.
        places: of these rows among the keys that were asked for.
        others: places of rows that are there and have no columns, such as those of an older layout.
    """

    frame: pl.DataFrame
    places: Sequence[int]
    others: Sequence[int]


class Batch(Protocol):
    """The records of one epoch for one agent, over all its tasks, in order of arrival per partition.

    There may be none: a batch may have ticks alone, or only follow a call of :meth:`again`.
    """

    @property
    def rows(self) -> Sequence[Row]:
        """What could be decoded; what could not is a dead letter already."""

    @property
    def columns(self) -> Columns | None:
        """The same in columns; None where it is not worth it (few records), or the extension is not built."""

    def rows_at(self, places: Sequence[int]) -> Sequence[Row]:
        """Give some of the rows, by their places."""

    @property
    def ticks(self) -> Sequence[Tick]:
        """At most one per task, by partition."""

    @property
    def partitions(self) -> Sequence[int]:
        """All tasks of the batch, sorted: with records, with a tick, or that asked for it. Each gets a marker in this epoch."""

    def epoch(self, partition: int) -> int:
        """Give the number that the marker of a task of this batch will have; each commit of the task has the next one."""

    def again(self, partition: int) -> None:
        """Ask for another epoch of this task at once after this one is committed.

        Its batch has the partition in :attr:`partitions`, and rows and a tick of it only if there happen to be any. An epoch
        that is not committed asks for nothing.
        """

    def attempt(
        self, row: Row, decide: Callable[..., Decision[S] | Duplicate | Rejected], state: S | None, *facts: Any
    ) -> Decision[S] | None:
        """Run ``decide(state, row.event, *facts)`` and count the outcome; None: a duplicate or a dead letter, nothing to keep."""

    def tally(self, partition: int, *, applied: int = 0, duplicates: int = 0, other_content: int = 0) -> None:
        """Count the outcomes of records that were decided in columns; ``other_content`` are among the duplicates."""

    def emit(self, topic: Topic, key: bytes, value: Record, partition: int | None = None) -> None:
        """Write a record in this epoch's transaction; without ``partition`` murmur2 of the key decides."""

    def emit_columns(self, topic: Topic, record_type: type[Struct], keys: Sequence[bytes], frame: pl.DataFrame) -> None:
        """Write a record for each row of a frame that has the fields of the type; murmur2 of the key decides where."""

    def count(self, partition: int, name: str, amount: int) -> None:
        """Add to a running counter of the task; it is committed with the epoch."""

    def counter(self, partition: int, name: str) -> int:
        """Give a running counter of the task as of the last commit; 0 if it was never added to."""


class Table(Protocol[S]):
    """Sharded state with many keys read and written at once."""

    def get_many(self, slots: Sequence[Slot]) -> dict[Slot, S | None]:
        """Give the rows as of the last commit and what this epoch wrote; None where there is none."""

    def put_many(self, rows: Mapping[Slot, S | None]) -> None:
        """Write rows in this epoch; None deletes."""

    def put_same(self, keys: Keys, row: S | None) -> None:
        """Write one and the same row for each key in this epoch; None deletes."""

    def get_columns(self, keys: Keys) -> Found:
        """Give the rows as of the last commit and what this epoch wrote, in columns."""

    def put_columns(self, keys: Keys, frame: pl.DataFrame) -> None:
        """Write a row for each key, from a frame that has the fields of the table's rows."""

    def keys_below(self, partition: int, bound: bytes, keys_max: int) -> list[bytes]:
        """Give up to ``keys_max`` keys of one task that sort below ``bound``, smallest first, as :meth:`get_many` sees them."""


Stream: TypeAlias = AsyncIterator[Batch]
AgentFunction: TypeAlias = Callable[[Stream], Coroutine[Any, Any, None]]


class Runtime(Protocol):
    """Where an agent is declared."""

    @property
    def limits(self) -> Limits:
        """What the deployment sets of the rules."""

    def table(self, spec: TableSpec[S]) -> Table[S]:
        """Give the table; the stage in ``streams/topology.py`` must declare it."""

    def agent(self, name: str) -> Callable[[AgentFunction], AgentFunction]:
        """Run an async function over the batches of the stage called ``name``."""
