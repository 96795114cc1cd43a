"""Ownership with the group and the restore replaced by small doubles: what starts, when, and only once."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from streams import marker
from streams.back_off import BackOff
from streams.disk import Disk, free_bytes
from streams.group import Polled
from streams.ownership import Ownership
from streams.put_offs import PutOffs
from streams.restore import Restored
from streams.tasks import Task, TaskState
from streams.threads import Threads
from streams.topology import TOPOLOGY
from streams.waiting import Waiting


class Group:
    """Notes what was started and paused."""

    def __init__(self) -> None:
        self.started: list[dict[marker.TopicPartition, int]] = []
        self.paused: list[marker.TopicPartition] = []
        self.resumed: list[marker.TopicPartition] = []

    def start(self, offsets: dict[marker.TopicPartition, int]) -> bool:
        self.started.append(offsets)
        return True

    def pause(self, partitions: Any) -> None:
        self.paused += partitions

    def close(self) -> None: ...

    def resume(self, partitions: Any) -> None:
        self.resumed += partitions

    def partition_counts(self, topics: Any, _: Any) -> dict[str, int]:
        return dict.fromkeys(topics, 12)


class HeldRestorer:
    """Restores a task only when it is allowed to, as a long changelog would."""

    def __init__(self) -> None:
        self.allowed = {partition: threading.Event() for partition in range(3)}
        self.refuse: set[int] = set()
        self.full: dict[int, int] = {}
        self.asked: list[str] = []

    def restore(self, tasks: list[Task]) -> list[Restored]:
        self.asked += [task.name for task in tasks]
        for task in tasks:
            assert self.allowed[task.partition].wait(10)
        return [Restored(task, self._verdict(task)) for task in tasks]

    def _verdict(self, task: Task) -> marker.Resume | marker.Refuse | marker.Later:
        if self.full.get(task.partition, 0) > 0:
            self.full[task.partition] -= 1
            return marker.Later("the disk has no room")
        if task.partition in self.refuse:
            return marker.Refuse("the marker disagrees")
        return marker.Resume(dict.fromkeys(task.inputs, 7))


async def announce(_: set[marker.TopicPartition]) -> None:
    """Nobody listens."""


def assigned(*partitions: int) -> Polled:
    return Polled(changes=[("assigned", [("revenue-deltas", partition) for partition in partitions])])


async def until_running(ownership: Ownership, count: int) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while len(ownership.tasks.running()) < count:
        assert asyncio.get_running_loop().time() < deadline
        await ownership.follow(Polled(), announce)
        await asyncio.sleep(0.001)


def made(disk: Disk | None = None) -> tuple[Ownership, Group, HeldRestorer, Threads]:
    threads = Threads(30.0)
    ownership = Ownership(TOPOLOGY, "", threads, disk)
    group, restorer = Group(), HeldRestorer()
    ownership.connect(group, restorer, Waiting(lambda: None))  # type: ignore[arg-type]
    return ownership, group, restorer, threads


def test_a_task_starts_once_though_another_restore_runs_while_it_starts() -> None:
    async def run() -> None:
        ownership, group, restorer, threads = made()
        await ownership.follow(assigned(0), announce)
        await ownership.follow(assigned(1), announce)
        restorer.allowed[0].set()
        await until_running(ownership, 1)
        restorer.allowed[1].set()
        await until_running(ownership, 2)
        await ownership.follow(Polled(), announce)
        assert group.started == [{("revenue-deltas", 0): 7}, {("revenue-deltas", 1): 7}]
        threads.shutdown()

    asyncio.run(run())


def test_a_task_that_was_revoked_while_it_was_restored_never_starts() -> None:
    async def run() -> None:
        ownership, group, restorer, threads = made()
        await ownership.follow(assigned(0, 1), announce)
        await ownership.follow(Polled(changes=[("revoked", [("revenue-deltas", 0)])]), announce)
        restorer.allowed[0].set()
        restorer.allowed[1].set()
        await until_running(ownership, 1)
        assert group.started == [{("revenue-deltas", 1): 7}]
        threads.shutdown()

    asyncio.run(run())


def test_i3_a_refused_task_stops_and_the_others_go_on() -> None:
    async def run() -> None:
        ownership, group, restorer, threads = made()
        restorer.refuse = {0}
        restorer.allowed[0].set()
        restorer.allowed[1].set()
        await ownership.follow(assigned(0, 1), announce)
        await until_running(ownership, 1)
        stopped = [task for task in ownership.tasks if task.state is TaskState.STOPPED]
        assert [(task.name, task.reason) for task in stopped] == [("revenue/0", "the marker disagrees")]
        assert group.paused == [("revenue-deltas", 0)]
        threads.shutdown()

    asyncio.run(run())


def test_f14_nothing_is_fetched_and_nothing_starts_while_the_disk_is_full() -> None:
    free = [100]

    async def run() -> None:
        ownership, group, restorer, threads = made(Disk(Path("stores"), 100, lambda _: free[0]))
        for event in restorer.allowed.values():
            event.set()
        await ownership.follow(assigned(0), announce)
        await until_running(ownership, 1)
        await ownership.look_at_disk()
        assert (ownership.lacking, group.paused) == ("", [])
        free[0] = 99
        await ownership.look_at_disk()
        await ownership.look_at_disk()
        assert ownership.lacking.startswith("room on the disk of stores")
        assert group.paused == [("revenue-deltas", 0)], "it is paused once"
        await ownership.resume_running()
        assert group.resumed == [], "an abort resumes what runs, and not on a full disk"
        await ownership.follow(assigned(1), announce)
        await asyncio.wrap_future(threads._stores.submit(lambda: None))
        await ownership.follow(Polled(), announce)
        assert group.started == [{("revenue-deltas", 0): 7}], "what is restored meanwhile does not start"
        free[0] = 100
        await ownership.look_at_disk()
        assert (ownership.lacking, group.resumed) == ("", [("revenue-deltas", 0)])
        await until_running(ownership, 2)
        threads.shutdown()

    asyncio.run(run())


def named(ownership: Ownership, name: str) -> Task:
    return next(task for task in ownership.tasks if task.name == name)


async def until_put_off(ownership: Ownership, restorer: HeldRestorer) -> Task:
    """Give ``revenue/0``, which waits for room."""
    restorer.allowed[0].set()
    await ownership.follow(assigned(0), announce)
    deadline = asyncio.get_running_loop().time() + 10
    while named(ownership, "revenue/0").retry_at_ms is None:
        assert asyncio.get_running_loop().time() < deadline
        await ownership.follow(Polled(), announce)
        await asyncio.sleep(0.001)
    return named(ownership, "revenue/0")


def test_f14_a_task_without_room_waits_and_says_so_and_starts_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        ownership, group, restorer, threads = made()
        ownership._put_offs = PutOffs(BackOff(0.01, 0.04))
        restorer.full[0] = 3
        for allowed in restorer.allowed.values():
            allowed.set()
        await ownership.follow(assigned(0, 1), announce)
        await until_running(ownership, 2)
        assert [list(offsets) for offsets in group.started] == [[("revenue-deltas", 1)], [("revenue-deltas", 0)]]
        assert (named(ownership, "revenue/0").reason, named(ownership, "revenue/0").retry_at_ms) == ("", None)
        threads.shutdown()

    asyncio.run(run())
    assert caplog.text.count("task revenue/0 waits, the others go on; tried again in ") == 3
    assert "stops" not in caplog.text


def test_f14_a_task_that_waits_for_room_says_why_and_until_when() -> None:
    async def run() -> None:
        ownership, _, restorer, threads = made()
        ownership._put_offs = PutOffs(BackOff(3600.0, 3600.0))
        restorer.full[0] = 1
        before_ms = time.time_ns() // 1_000_000
        task = await until_put_off(ownership, restorer)
        assert (task.state, task.reason) == (TaskState.RESTORING, "the disk has no room")
        assert task.retry_at_ms is not None
        assert task.retry_at_ms >= before_ms + 1_800_000
        threads.shutdown()

    asyncio.run(run())


@pytest.mark.parametrize("what", ["revoked", "stopped"])
def test_f14_a_task_that_was_revoked_or_stopped_while_it_waited_for_room_is_left_alone(what: str) -> None:
    async def run() -> None:
        ownership, group, restorer, threads = made()
        ownership._put_offs = PutOffs(BackOff(3600.0, 3600.0))
        restorer.full[0] = 1
        task = await until_put_off(ownership, restorer)
        if what == "revoked":
            await ownership.follow(Polled(changes=[("revoked", [("revenue-deltas", 0)])]), announce)
        else:
            await ownership.stop(task, "its position is gone")
        ownership._put_offs._due[task] = 0.0
        await ownership.follow(Polled(), announce)
        await asyncio.wrap_future(threads._stores.submit(lambda: None))
        await ownership.follow(Polled(), announce)
        assert (group.started, restorer.asked) == ([], ["revenue/0"])
        assert [task.state for task in ownership.tasks] == ([] if what == "revoked" else [TaskState.STOPPED])
        threads.shutdown()

    asyncio.run(run())


class FullStore:
    """A store that cannot write what it has in memory."""

    def __init__(self) -> None:
        self.closed_count = 0

    def close(self) -> None:
        self.closed_count += 1
        raise OSError("No space left on device")


def test_f14_a_worker_that_ends_on_a_full_disk_does_not_wait_for_every_store(caplog: pytest.LogCaptureFixture) -> None:
    stores = [FullStore(), FullStore()]

    async def run() -> None:
        ownership, _, _, threads = made()
        ownership.tasks.assign([("revenue-deltas", 0), ("revenue-deltas", 1)])
        for task, store in zip(ownership.tasks, stores, strict=True):
            task.store = store  # type: ignore[assignment]
        await ownership.release()
        assert ownership.left
        assert threads.stuck, "the interpreter would wait for the others"
        threads.shutdown()

    asyncio.run(run())
    assert [store.closed_count for store in stores] == [1, 0]
    assert "the stores are left as they are" in caplog.text


def test_f14_room_is_that_of_the_disk_on_which_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
    assert Disk(tmp_path, 0).lack() == ""
    assert (
        Disk(Path("relative/folder"), 2**63).lack() == "room on the disk of relative/folder: 8,796,093,022,208 MiB must be free"
    )
