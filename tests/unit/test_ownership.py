"""Ownership with the group and the restore replaced by small doubles: what starts, when, and only once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from streams import marker
from streams.disk import Disk, free_bytes
from streams.group import Polled
from streams.ownership import Ownership
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

    def resume(self, partitions: Any) -> None:
        self.resumed += partitions

    def partition_counts(self, topics: Any, _: Any) -> dict[str, int]:
        return dict.fromkeys(topics, 12)


class HeldRestorer:
    """Restores a task only when it is allowed to, as a long changelog would."""

    def __init__(self) -> None:
        self.allowed = {partition: threading.Event() for partition in range(3)}
        self.refuse: set[int] = set()

    def restore(self, tasks: list[Task]) -> list[Restored]:
        for task in tasks:
            assert self.allowed[task.partition].wait(10)
        return [Restored(task, self._verdict(task)) for task in tasks]

    def _verdict(self, task: Task) -> marker.Resume | marker.Refuse:
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
    threads = Threads()
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


def test_f14_room_is_that_of_the_disk_on_which_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
    assert Disk(tmp_path, 0).lack() == ""
    assert (
        Disk(Path("relative/folder"), 2**63).lack() == "room on the disk of relative/folder: 8,796,093,022,208 MiB must be free"
    )
