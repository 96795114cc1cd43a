"""The engine's turns without records: ticks and epochs that were asked for are committed like any other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from agents.ports import Tick
from schemas.codec import decode
from schemas.events import TaskMarker
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS
from streams import marker
from streams.batch import EngineBatch
from streams.effects import AGAIN
from streams.group import Polled
from streams.tasks import TaskState
from streams.transaction import Aborted
from tests.unit.messages import PREFIX, message
from tests.unit.orders import placed
from tests.unit.test_engine import Group, World, delta, in_world

ORDERS, PAYMENTS = f"{PREFIX}orders", f"{PREFIX}payments"
BOTH = frozenset({"orders", "payments"})


def order(partition: int, offset: int) -> Message:
    """Give an order that is on the partition of its key, or it would be dead before any agent sees it."""
    order_id = next(name for number in range(1_000) if partition_of(name := f"o-{number}", PARTITIONS) == partition)
    event = placed(f"e-{offset}", order_id=order_id)
    return message("orders", offset, event, partition=partition, key=order_id.encode())


class Quiet(Group):
    """A consumer that gives what the test says, and then nothing; it is read to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.polled: list[list[Message]] = []
        self.ahead: dict[marker.TopicPartition, int] = {}
        self.waited_s: list[float] = []

    def poll(self, wait_s: float) -> Polled:
        self.waited_s.append(wait_s)
        return Polled(self.polled.pop(0) if self.polled else [])

    def positions(self, partitions: Iterable[marker.TopicPartition]) -> dict[marker.TopicPartition, int]:
        return {where: self.ahead[where] for where in partitions if where in self.ahead}

    def ends(self, partitions: Iterable[marker.TopicPartition]) -> dict[marker.TopicPartition, int]:
        return dict.fromkeys(partitions, 0)


class Turned:
    """A world whose engine takes turns with a quiet consumer; a look is due in each turn once the clock is turned on."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.group = world, Quiet()
        self.batches: list[EngineBatch] = []
        self.asks: dict[str, int] = {}
        self.now_s = 1_000.0
        world.engine.connect(cast("Any", self.group), cast("Any", world.cluster))
        world.engine.barrier.deliver_batch = self._deliver
        monkeypatch.setattr("streams.ticker.time.monotonic", lambda: self.now_s)
        self.ticker._looked_s = self.ticker._looked_at_passed_s = self.now_s

    @property
    def ticker(self) -> Any:
        return self.world.engine._ticker

    async def _deliver(self, batch: EngineBatch) -> None:
        self.batches.append(batch)
        for partition in batch.partitions:
            task = batch.tasks[partition]
            if self.asks.get(task.name, 0) > task.counters.get("asked", 0):
                batch.count(partition, "asked", 1)
                batch.again(partition)
        assert batch.finished is not None
        batch.finished.set_result(None)

    async def turn(self, times: int = 1, *, each_s: float = 0.0) -> None:
        for _ in range(times):
            self.now_s += each_s
            await self.world.engine._turn()

    def marked(self) -> list[list[str]]:
        """Give the tasks that each transaction has markers of."""
        return [sorted(f"{topic}/{at}" for topic, at in transaction.markers) for transaction in self.world.cluster.committed]


def test_i9_a_tick_epoch_commits_the_unmoved_positions_of_its_tasks_with_their_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        await turned.turn(70, each_s=0.5)
        (batch,) = turned.batches
        assert [(tick.partition, tick.idle) for tick in batch.ticks] == [(0, BOTH), (1, BOTH)]
        assert all(isinstance(tick, Tick) and tick.now_ms > 1_700_000_000_000 for tick in batch.ticks)
        assert batch.rows == []
        (transaction,) = world.cluster.committed
        assert transaction.offsets == {(ORDERS, 0): 100, (PAYMENTS, 0): 50, (ORDERS, 1): 7, (PAYMENTS, 1): 8}
        markers = [cast("TaskMarker", decode(output.value or b"")) for output in transaction.markers.values()]
        assert [(said.epoch, said.counters) for said in markers] == [(1, {}), (1, {})]
        assert transaction.records == []
        assert (world.zero.epoch, world.five.epoch) == (1, 0)

    in_world(tmp_path, script)


def test_a_tick_that_is_due_goes_with_the_rows_of_its_task_and_survives_an_abort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        for look in range(70):
            turned.group.polled = [[order(1, 7 + look)]]
            world.cluster.outcomes = [Aborted("ILLEGAL_GENERATION: somebody joined")] if look == 60 else []
            await turned.turn(each_s=0.5)
        ticked = [batch for batch in turned.batches if batch.ticks]
        told = [(0, BOTH), (1, frozenset({"payments"}))]
        assert [(tick.partition, tick.idle) for batch in ticked for tick in batch.ticks] == told * 2
        assert [len(batch.rows) for batch in ticked] == [1, 1]
        assert ticked[0].ticks == ticked[1].ticks, "the same time, however often it is redone"
        assert len(world.cluster.committed) == 70, "no epoch was made for it"

    in_world(tmp_path, script)


def test_a_task_that_asks_again_gets_its_epochs_one_per_turn_and_the_polls_between_do_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        turned.asks = {"revenue/5": 3}
        turned.group.polled = [[order(0, 100), delta()], [], [order(0, 101)]]
        await turned.turn(6)
        revenue, settlement = f"{PREFIX}revenue-changelog/5", f"{PREFIX}settlement-changelog/0"
        assert turned.marked() == [[revenue, settlement], [revenue], [revenue, settlement], [revenue]]
        assert [(batch.stage.name, len(batch.rows)) for batch in turned.batches if batch.stage.name == "revenue"] == [
            ("revenue", 1), ("revenue", 0), ("revenue", 0), ("revenue", 0),
        ]  # fmt: skip
        assert turned.group.waited_s == [0.001, 0.001, 0.001, 0.001, 0.1, 0.1]
        assert world.five.next_offsets == {(f"{PREFIX}revenue-deltas", 5): 4}

    in_world(tmp_path, script)


def test_a_stop_between_two_epochs_keeps_that_a_task_asked_for_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        turned.asks = {"revenue/5": 1}
        turned.group.polled = [[delta()]]
        await turned.turn()
        [changelog] = [cast("TaskMarker", decode(output.value or b"")) for output in world.cluster.committed[-1].markers.values()]
        world.five.counters = dict(changelog.counters)  # as whoever restores it has them
        await turned.turn(3)
        assert [len(batch.rows) for batch in turned.batches] == [1, 0]
        assert AGAIN not in world.five.counters

    in_world(tmp_path, script)


def test_what_was_asked_for_waits_while_the_task_rests_and_goes_with_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        world.zero.counters = world.one.counters = {AGAIN: 1}
        world.zero.state = TaskState.PAUSED
        world.engine.tasks.revoke(world.one.inputs)
        await turned.turn(2)
        assert turned.batches == []
        world.zero.state = TaskState.RUNNING
        await turned.turn(2)
        assert [batch.partitions for batch in turned.batches] == [[0]]

    in_world(tmp_path, script)


def test_f14_nothing_is_ticked_and_no_epoch_asked_for_is_made_while_the_disk_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        lack = "room"
        monkeypatch.setattr(world.engine.ownership.disk, "lack", lambda: lack)
        world.zero.counters = {AGAIN: 1}
        await turned.turn(70, each_s=0.5)
        assert turned.batches == []
        lack = ""
        await turned.turn(59, each_s=0.5)
        assert [list(batch.ticks) for batch in turned.batches] == [[]], "it was not watched meanwhile"
        await turned.turn(5, each_s=0.5)
        assert [tick.partition for tick in turned.batches[-1].ticks] == [0, 1]

    in_world(tmp_path, script)


def test_positions_that_passed_only_markers_are_still_committed_and_a_tick_may_go_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        turned.group.ahead = {(ORDERS, 0): 104}
        turned.ticker._looked_at_passed_s -= 601
        world.zero.counters = {AGAIN: 1}
        await turned.turn(2)
        assert [transaction.offsets for transaction in world.cluster.committed] == [{(ORDERS, 0): 104, (PAYMENTS, 0): 50}]
        assert [batch.partitions for batch in turned.batches] == [[0]]

    in_world(tmp_path, script)


def test_an_agent_that_fails_on_a_tick_pauses_its_task_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(world: World) -> None:
        turned = Turned(world, monkeypatch)
        well = world.engine.barrier.deliver_batch

        async def deliver(batch: EngineBatch) -> None:
            if any(tick.partition == 1 for tick in batch.ticks):
                raise ZeroDivisionError("by a tick")
            await well(batch)

        world.engine.barrier.deliver_batch = deliver
        await turned.turn(62, each_s=0.5)
        assert (world.zero.state, world.one.state) == (TaskState.RUNNING, TaskState.PAUSED)
        assert "by a tick" in world.one.reason
        assert [tick.partition for batch in turned.batches for tick in batch.ticks] == [0]

    in_world(tmp_path, script)
