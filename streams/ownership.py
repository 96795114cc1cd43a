"""Which tasks this worker owns, and their way from assigned over restored to running, stopped or revoked."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue

from schemas.topics import BY_NAME
from streams import marker
from streams.disk import Disk, no_room
from streams.errors import ClientStuckError, CoPartitionError
from streams.group import GroupConsumer, Polled
from streams.health import Readiness
from streams.put_offs import PutOffs
from streams.restore import Restored, Restorer, close_store
from streams.tasks import Task, Tasks, TaskState
from streams.threads import Threads
from streams.topology import Topology
from streams.waiting import Waiting

log = logging.getLogger(__name__)

LEAVE_S = 3.0
"""For the group to be left; with the time for the last epoch (``drain_timeout_ms``) a worker ends within 10 s, also when the
cluster is away. No setting: a group that is not left notices by its session."""
CLOSE_S = 3.0
"""For one store to be closed, which takes milliseconds where there is room."""

Announce = Callable[[set[marker.TopicPartition]], Awaitable[None]]


class Ownership:
    """Follows the group: restores what is assigned, starts what is restored, closes what is revoked.

    All methods run on the event loop, between two epochs. ``running`` has the running tasks by
    stage name and partition; tables read through it.
    """

    def __init__(self, topology: Topology, prefix: str, threads: Threads, disk: Disk | None = None) -> None:
        self.tasks = Tasks(topology, prefix)
        self.running: Mapping[str, dict[int, Task]] = {stage.name: {} for stage in topology}
        self.left = False
        self.lacking = ""
        self.readiness = Readiness()
        self.partition_counts: dict[str, int] = {}
        self.topology = topology
        self._prefix = prefix
        self._threads = threads
        self.disk = disk or Disk(Path(), 0)
        self._done: SimpleQueue[Restored | BaseException] = SimpleQueue()  # from the stores' thread
        self._not_ready: list[Restored] = []
        self._put_offs = PutOffs()
        self._group: GroupConsumer
        self._restorer: Restorer
        self._waiting: Waiting

    def connect(self, group: GroupConsumer, restorer: Restorer, waiting: Waiting) -> None:
        """Take what it works with; on Kafka's thread, once.

        Raises:
            CoPartitionError: topics that belong together do not.
        """
        self._group, self._restorer, self._waiting = group, restorer, waiting
        self._check_partitions()

    @property
    def member_id(self) -> str:
        """How the cluster calls this worker's membership in the group; empty before it has joined."""
        group: GroupConsumer | None = getattr(self, "_group", None)
        return group.member_id if group else ""

    async def follow(self, polled: Polled, announce: Announce) -> None:
        """Act on changes of ownership, on positions that are gone, and on restores that are done."""
        for what, partitions in polled.changes:
            if what == "revoked":
                for task in self.tasks.revoke(partitions):
                    self._drop(task)
                    self._close_later(task)
            else:
                await self._threads.on_kafka(self._check_partitions)
                self._restore(self.tasks.assign(partitions))
        for where, error in polled.lost_positions.items():
            owner = self.tasks.by_input.get(where)
            if owner is not None and owner.state is not TaskState.STOPPED:
                await self.stop(owner, f"the position on {where[0]}/{where[1]} is gone: {error}")
        if polled.changes:
            await announce(set(self.tasks.owned))
        await self._start_restored()
        self._restore_what_is_due()
        self.readiness.look(list(self.tasks), time.monotonic())

    async def stop(self, task: Task, reason: str) -> None:
        """Stop one task; it stays owned and keeps its state, the others go on."""
        await self._rest(task, TaskState.STOPPED, reason)
        log.error("task %s stops, the others go on: %s", task.name, reason, extra={"task": task.name})

    async def heed(self, tasks: Iterable[Task]) -> None:
        """Pause and resume tasks as their newest committed markers say."""
        for task in [task for task in tasks if self.tasks.is_current(task)]:
            if task.judgement.paused and task.state in {TaskState.RUNNING, TaskState.HELD}:
                await self._pause(task)
            elif not task.judgement.paused and task.state is TaskState.PAUSED:
                log.warning("task %s is resumed", task.name, extra={"task": task.name})
                await self._start_again(task)

    async def read_again(self, tasks: Iterable[Task]) -> None:
        """Read on from where tasks stand, and not from where the client is: some of what it gave was left out."""
        for task in [task for task in tasks if self.tasks.is_current(task)]:
            if task.state is TaskState.RUNNING:
                await self._start_again(task)

    async def hold(self, task: Task, reason: str) -> None:
        """Keep one task from processing for a while; it stays owned and keeps its store, the others go on."""
        await self._rest(task, TaskState.HELD, reason)

    async def let_go_on(self, task: Task) -> None:
        """Let a held task go on behind its last epoch: what was read since is read again."""
        await self._start_again(task)

    async def doubt(self, tasks: Iterable[Task]) -> None:
        """Restore tasks whose last transaction nobody knows of: the changelog and the committed offsets do."""
        self._restore(await self._renew(tasks))

    async def recover(self, failed: Mapping[Task, Exception]) -> None:
        """Restore tasks whose stores could not take what was committed; where the disk is full, after a while."""
        full = {task: reason for task, error in failed.items() if (reason := no_room(error))}
        others = [task for task in failed if task not in full]
        for task in others:
            said = "the store of %s could not follow its changelog and is restored: %s"
            log.warning(said, task.name, failed[task], extra={"task": task.name})
        await self.doubt(others)
        for task, reason in full.items():
            await self._put_off(task, reason)

    async def look_at_disk(self) -> None:
        """Fetch nothing for as long as the disk of the stores lacks room; ``lacking`` says so, empty while there is enough."""
        before, self.lacking = self.lacking, self.disk.lack()
        if self.lacking and not before:
            log.error("waiting for %s", self.lacking)
            partitions = [where for task in self.tasks.running() for where in task.inputs]
            await self._threads.on_kafka(lambda: self._group.pause(partitions))
        elif before and not self.lacking:
            log.warning("there is room on the disk again")
            await self.resume_running()

    async def resume_running(self) -> None:
        """Go on fetching for running tasks after all were paused."""
        if self.lacking:
            return
        partitions = [where for task in self.tasks.running() for where in task.inputs]
        await self._threads.on_kafka(lambda: self._group.resume(partitions))

    async def release(self) -> None:
        """Leave the group and close every store."""
        for task in list(self.tasks):
            task.revoked.set()
        try:
            await self._threads.on_kafka(self._group.close, within_s=LEAVE_S)
            self.left = True
        except ClientStuckError:
            log.warning("the group is not left, its cluster does not answer: it will notice by the session's time-out")
        for task in list(self.tasks):
            if not await self._threads.on_stores(lambda: close_store(task), within_s=CLOSE_S):  # noqa: B023 - awaited at once
                # RocksDB takes a second for each store that it cannot flush, at the interpreter's end too.
                log.warning("the stores are left as they are: what they lack is restored by their next owner")
                self._threads.stuck = True
                break

    async def _pause(self, task: Task) -> None:
        await self._rest(task, TaskState.PAUSED, task.judgement.paused)
        said = "task %s is paused, the others go on: %s. `tally tasks resume %s` lets it"
        log.error(said, task.name, task.reason, task.name, extra={"task": task.name})

    async def _rest(self, task: Task, state: TaskState, reason: str) -> None:
        task.state, task.reason, task.retry_at_ms = state, reason, None
        self._drop(task)
        await self._threads.on_kafka(lambda: self._group.pause(task.inputs))

    async def _start_again(self, task: Task) -> None:
        await self._rest(task, TaskState.RESTORING, "")
        self._not_ready.append(Restored(task, marker.Resume(task.next_offsets)))

    async def _start_restored(self) -> None:
        """Start the tasks whose restore is done and whose marker agrees; one that is paused rests where it stands."""
        restored, self._not_ready = self._not_ready, []
        while not self._done.empty():
            done = self._done.get_nowait()
            if isinstance(done, BaseException):
                raise done
            restored.append(done)
        for done in restored:
            if not self.tasks.is_current(done.task):
                self._close_later(done.task)
            elif done.task.state is TaskState.STOPPED:
                continue  # it was stopped while it was restored
            elif isinstance(done.verdict, marker.Refuse):
                await self.stop(done.task, done.verdict.reason)
            elif isinstance(done.verdict, marker.Later):
                await self._put_off(done.task, done.verdict.reason)
            elif done.task.judgement.paused:
                done.task.next_offsets = done.verdict.offsets
                await self._pause(done.task)
            elif not self.lacking and await self._threads.on_kafka(lambda: self._group.start(done.verdict.offsets)):  # type: ignore[union-attr]  # noqa: B023
                self._run(done.task, done.verdict.offsets)
            else:
                self._not_ready.append(done)

    async def _put_off(self, task: Task, reason: str) -> None:
        """Restore a task after a while; somebody has to make room meanwhile."""
        for renewed in await self._renew([task]):
            wait_s = self._put_offs.put_off(renewed, time.monotonic(), random.random())
            renewed.reason, renewed.retry_at_ms = reason, time.time_ns() // 1_000_000 + round(wait_s * 1000)
            said = "task %s waits, the others go on; tried again in %.1f s: %s"
            log.warning(said, task.name, wait_s, reason, extra={"task": task.name})

    def _restore_what_is_due(self) -> None:
        due = self._put_offs.due(time.monotonic())
        due = [task for task in due if self.tasks.is_current(task) and task.state is TaskState.RESTORING]
        for task in due:
            task.retry_at_ms = None
        self._restore(due)

    def _run(self, task: Task, offsets: dict[marker.TopicPartition, int]) -> None:
        if task.state is not TaskState.RESTORING:
            raise RuntimeError(f"task {task.name} is {task.state} and was to be started: its position would go back")
        task.next_offsets = offsets
        task.state, task.reason, task.retry_at_ms = TaskState.RUNNING, "", None
        if task.stage is not None:
            self.running[task.stage.name][task.partition] = task
        known = {"task": task.name, "offset": {f"{topic}/{partition}": at for (topic, partition), at in offsets.items()}}
        log.info("task %s runs from %s", task.name, ", ".join(f"{t}={at}" for (t, _), at in sorted(offsets.items())), extra=known)

    def _restore(self, tasks: list[Task]) -> None:
        def work() -> None:
            try:
                for done in self._restorer.restore(tasks):
                    self._done.put(done)
            except BaseException as error:  # noqa: BLE001 - raised on the loop by _start_restored
                self._done.put(error)

        if tasks:
            self._threads.submit_to_stores(work)

    def _close_later(self, task: Task) -> None:
        """Close a store outside of the poll: a revoke does bounded work only."""
        self._threads.submit_to_stores(lambda: close_store(task))

    async def _renew(self, tasks: Iterable[Task]) -> list[Task]:
        """Give fresh tasks, to be restored, in the place of those that are still owned."""
        renewed = []
        for task in [task for task in tasks if self.tasks.is_current(task)]:
            renewed.append(self.tasks.renew(task))
            self._drop(task)
            self._close_later(task)
        inputs = [where for task in renewed for where in task.inputs]
        await self._threads.on_kafka(lambda: self._group.pause(inputs))
        return renewed

    def _drop(self, task: Task) -> None:
        if task.stage is not None and self.running[task.stage.name].get(task.partition) is task:
            del self.running[task.stage.name][task.partition]

    def _check_partitions(self) -> None:
        """Note the counts; refuse stages whose topics have others than declared: a key would be away from its state."""
        for stage in self.topology:
            together = {topic.named(self._prefix): topic.partitions for topic in (*stage.reads, stage.changelog)}
            dead_letters = [topic.dead_letters for topic in stage.reads if topic.dead_letters]
            others = [
                topic.named(self._prefix) for topic in (*stage.writes, *(BY_NAME[n].of(stage.version) for n in dead_letters))
            ]
            counts = self._group.partition_counts([*together, *others], self._waiting)
            self.partition_counts |= counts
            missing = [name for name in [*together, *others] if name not in counts]
            if missing:
                raise CoPartitionError(f"topic {', '.join(missing)} does not exist: run `tally topics apply` first")
            if any(counts[name] != declared for name, declared in together.items()):
                said = ", ".join(f"{name} has {counts[name]}" for name in together)
                raise CoPartitionError(
                    f"stage {stage.name} needs {stage.changelog.partitions} partitions in each of its topics, but {said}. A key "
                    "would live in two tasks, or away from its state. Create the topics anew with `tally topics apply` and send "
                    "the events again; keys never move by themselves"
                )
