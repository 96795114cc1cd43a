"""An engine on a backlog that it keeps, with a consumer and a cluster in memory: what was committed is what restores find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Message

from schemas.codec import decode
from schemas.events import InputPosition, TaskMarker
from schemas.topics import MARKER_KEY
from streams import marker
from streams.group import Polled
from streams.restore import Restored
from streams.room import Room
from streams.store import StandsFor, Store, StoreIdentity
from streams.tasks import Task
from streams.transaction import Aborted, Committed, Outcome, Transaction, Unknown
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX
from tests.unit.test_engine import Cluster, World

Where = marker.TopicPartition
Change = tuple[str, list[Where]]


class Consumer:
    """Reads logs of owned partitions; ``changes`` has what happens to the ownership in the poll of that number, from 1 on.

    Every poll gives ``records_max`` records at most, and says that there are more to come if it gave so many.
    """

    metadata = object()

    def __init__(self, records_max: int) -> None:
        self.room = Room(1 << 30, 8_000)
        self.logs: dict[Where, list[Message]] = {}
        self.at: dict[Where, int] = {}
        self.paused: set[Where] = set()
        self.changes: dict[int, Change] = {}
        self.polls_count = 0
        self.is_behind = True
        self._records_max = records_max

    def poll(self, _: float) -> Polled:
        self.polls_count += 1
        polled = Polled()
        change = self.changes.pop(self.polls_count, None)
        if change is not None:
            polled.changes.append(change)
            self.pause(change[1])
        waiting = [
            [message for message in self.logs[where] if (message.offset() or 0) >= self.at[where]]
            for where in sorted(self.logs.keys() - self.paused)
        ]
        in_turn = (message for messages in zip_longest(*waiting) for message in messages if message is not None)
        polled.messages += islice(in_turn, self._records_max)
        for message in polled.messages:
            self.at[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        polled.behind = self.is_behind and len(polled.messages) == self._records_max
        return polled

    def start(self, offsets: Mapping[Where, int]) -> bool:
        self.at.update(offsets)
        self.resume(offsets)
        return True

    def pause(self, partitions: Iterable[Where]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Iterable[Where]) -> None:
        self.paused.difference_update(partitions)

    def synchronise(self) -> Polled:
        return Polled()

    def positions(self, partitions: Collection[Where]) -> dict[Where, int]:
        return {where: self.at[where] for where in partitions if where in self.at}

    def ends(self, _: Collection[Where]) -> dict[Where, int]:
        return {}

    def partition_counts(self, topics: Iterable[str], _: Any) -> dict[str, int]:
        return dict.fromkeys(topics, 12)

    def close(self) -> None: ...


class Log(Cluster):
    """Takes transactions; ``said`` has answers by the number of the attempt, from 1 on, ``lost`` those that happened anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[int, Outcome] = {}
        self.lost: set[int] = set()
        self.before: Callable[[int], None] = lambda _: None

    def commit(self, transaction: Transaction, meanwhile: Callable[[], str] = lambda: "") -> Outcome:
        self.attempts_count += 1
        number = self.attempts_count
        self.before(number)
        if why_not := meanwhile():
            return self.said.get(number) or Aborted(why_not)  # nobody knows if the client does not return from the abort
        said = self.said.get(number)
        if said is None or number in self.lost:
            self.committed.append(transaction)
        return said or Committed({where: len(self.committed) for where in transaction.markers})

    def marks(self, task: Task) -> list[TaskMarker]:
        assert task.changelog is not None
        found = [transaction.markers.get(task.changelog) for transaction in self.committed]
        return [cast("TaskMarker", decode(output.value or b"")) for output in found if output is not None]

    def rows(self, task: Task) -> dict[bytes, bytes | None]:
        """Give what the changelog of a task has, key by key: deleted is None."""
        assert task.changelog is not None
        records = [record for transaction in self.committed for record in each_of(transaction.records)]
        mine = [record for record in records if (record.topic, record.partition) == task.changelog]
        return {record.key or b"": record.value for record in mine if record.key != MARKER_KEY}


class Backlog:
    """A world that reads these messages, and restores from what it committed."""

    def __init__(self, world: World, messages: Iterable[Message], records_max: int) -> None:
        self.world, self.engine = world, world.engine
        self.consumer, self.cluster = Consumer(records_max), Log()
        self.stores: list[Store] = []
        for task in self.engine.tasks:
            for where, at in task.next_offsets.items():
                self.consumer.logs[where], self.consumer.at[where] = [], at
        for message in messages:
            self.consumer.logs[message.topic() or "", message.partition() or 0].append(message)
        self._first = dict(self.consumer.at)
        self.engine.connect(cast("Any", self.consumer), cast("Any", self.cluster))
        self.engine.ownership.connect(cast("Any", self.consumer), cast("Any", world.restorer), self.engine.waits[0])
        world.restorer.verdict = self._restore

    @property
    def committed(self) -> dict[Where, int]:
        """Where the group's offsets are."""
        found = dict(self._first)
        for transaction in self.cluster.committed:
            found |= transaction.offsets
        return found

    def _is_quiet(self) -> bool:
        """Tell whether everything is committed, and everybody is where that is."""
        owned = list(self.engine.tasks)
        return self._is_all_committed() and not self.consumer.changes and len(self.engine.tasks.running()) == len(owned)

    def _is_all_committed(self) -> bool:
        return all(not log or self.committed[where] == (log[-1].offset() or 0) + 1 for where, log in self.consumer.logs.items())

    async def read_all(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + 60
        while not self._is_quiet():
            assert asyncio.get_running_loop().time() < deadline_s, f"it stands at {self.committed}: {list(self.engine.tasks)}"
            await self.engine._turn()

    def task(self, name: str) -> Task:
        task = self.engine.tasks.named(name)
        assert task is not None
        return task

    def assert_unbroken(self) -> None:
        """Fail where an epoch of a task was committed twice or left out, or does not begin where the one before ended."""
        for task in self.engine.tasks:
            ended = {where: self._first[where] for where in task.inputs}
            for number, said in enumerate(self.cluster.marks(task), 1):
                assert said.epoch == number
                assert _by_place(said, lambda position: position.first_offset) == ended
                ended = _by_place(said, lambda position: position.next_offset)

    def close(self) -> None:
        for task in self.engine.tasks:
            if task.store in self.stores:
                task.store.close()

    def _restore(self, task: Task) -> Restored:
        """Do what a restore does: what was committed, and nothing else."""
        assert task.stage is not None
        marks, offsets = self.cluster.marks(task), {where: self.committed[where] for where in task.inputs}
        folder = Path(f"{self.world._folder}/restored-{len(self.stores)}")
        task.store = Store(folder, [spec.name for spec in task.stage.keeps], self.world._resources)
        self.stores.append(task.store)
        task.identity = StoreIdentity("cluster", "group", task.stage.changelog.name, "topic-id")
        tables: dict[str, dict[bytes, bytes | None]] = {}
        for key, value in self.cluster.rows(task).items():
            table, _, row_key = key.partition(b"/")
            tables.setdefault(table.decode(), {})[row_key] = value
        task.store.apply(tables, StandsFor(task.identity, 1, 0, None))
        if marks:
            task.epoch, task.counters, task.judgement = marks[-1].epoch, dict(marks[-1].counters), marker.judgement_of(marks[-1])
        return Restored(task, marker.Resume(offsets))


def _by_place(said: TaskMarker, offset_of: Callable[[InputPosition], int]) -> dict[Where, int]:
    return {(position.topic, position.partition): offset_of(position) for position in said.positions}


def nobody_knows() -> Unknown:
    return Unknown("_TIMED_OUT: no answer")


def inputs_of(partition: int) -> list[Where]:
    return [(f"{PREFIX}orders", partition), (f"{PREFIX}payments", partition)]
