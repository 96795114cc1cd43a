"""Epochs that overlap: what was decided on top of one that does not happen leaves nothing behind, and nothing is left out."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from schemas.partitioning import partition_of
from streams.batch import EngineBatch
from streams.effects import Output
from streams.engine import AT_ONCE_S
from streams.errors import ClientStuckError
from streams.group import Polled
from streams.pauses import Request
from streams.tasks import TaskState
from streams.transaction import Aborted, Outcome, Transaction
from tests.support.outputs import each_of
from tests.unit.backlog import Backlog, Log, inputs_of, nobody_knows
from tests.unit.messages import message
from tests.unit.orders import captured, placed
from tests.unit.test_engine import Cluster, World, in_world

EPOCH = 4
ABORTED = Aborted("ILLEGAL_GENERATION: somebody joined")
ORDERS_COUNT = 12
"""Of each of two tasks: an order and its payment each, so the backlog is twelve epochs."""


def ids_on(partition: int) -> Iterator[str]:
    return (name for name in (f"o-{number}" for number in count()) if partition_of(name, 12) == partition)


def history(orders_count: int = ORDERS_COUNT) -> Iterator[Message]:
    """Give orders and payments; each order comes twice, and is paid twice, in two epochs one behind the other."""
    for partition, orders_at, payments_at in ((0, 100, 50), (1, 7, 8)):
        ids = list(islice(ids_on(partition), orders_count // 2))
        for number, name in enumerate(name for name in ids for _ in range(2)):
            event, key = placed(f"e-{name}", order_id=name), name.encode()
            yield message("orders", orders_at + number, event, partition=partition, key=key)
            paid = captured(f"p-{number}-{name}", payment_id=f"pay-{number}", order_id=name, amount_minor=50)
            yield message("payments", payments_at + number, paid, partition=partition, key=key)


def on_backlog(folder: Path, script: Callable[[Backlog], Awaitable[None]], records_max: int = EPOCH) -> None:
    async def run(world: World) -> None:
        backlog = Backlog(world, history(), records_max)
        try:
            await script(backlog)
        finally:
            backlog.close()

    in_world(folder, run)


Books = dict[str, tuple[dict[bytes, bytes], dict[str, int]]]
"""Of each task: every row of its changelog that is not deleted, and its running counters."""


def books(backlog: Backlog) -> Books:
    found: Books = {}
    for name in ("settlement/0", "settlement/1"):
        task = backlog.task(name)
        rows = {key: value for key, value in backlog.cluster.rows(task).items() if value is not None}
        found[name] = rows, backlog.cluster.marks(task)[-1].counters
    return found


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Give what one epoch that has everything comes to."""
    found: Books = {}

    async def script(backlog: Backlog) -> None:
        await backlog.read_all()
        assert len(backlog.cluster.committed) == 1
        found.update(books(backlog))

    on_backlog(tmp_path_factory.mktemp("right"), script, records_max=1_000)
    assert [found[name][1]["consumed"] for name in found] == [2 * ORDERS_COUNT] * 2
    assert [found[name][1]["duplicates"] for name in found] == [ORDERS_COUNT // 2] * 2
    return found


def assert_right(backlog: Backlog, right: Books) -> None:
    """Fail unless every record was booked once, in order, whatever happened on the way, and stores and memory are there too."""
    backlog.assert_unbroken()
    assert books(backlog) == right
    for name, (rows, counters) in right.items():
        task = backlog.task(name)
        assert (task.ahead, task.counters, task.epoch) == (None, counters, len(backlog.cluster.marks(task)))
        assert task.store is not None
        stored = {key: task.store.get_many(key.partition(b"/")[0].decode(), [key.partition(b"/")[2]])[0] for key in rows}
        assert stored == rows


class Overlap:
    """Holds commits back until the epoch on top of them is decided."""

    def __init__(self, backlog: Backlog, *numbers: int) -> None:
        self.decided: list[EngineBatch] = []
        self.seen: list[int] = []
        self._numbers, self._more = numbers, threading.Condition()
        self._deliver = backlog.engine.barrier.deliver_batch
        backlog.engine.barrier.deliver_batch = self._delivered
        backlog.cluster.before = self._hold

    async def _delivered(self, batch: EngineBatch) -> None:
        assert batch.finished is not None
        batch.finished.add_done_callback(lambda _: self._note(batch))
        await self._deliver(batch)

    def _note(self, batch: EngineBatch) -> None:
        with self._more:
            self.decided.append(batch)
            self._more.notify_all()

    def _hold(self, number: int) -> None:
        with self._more:
            if number in self._numbers:
                assert self._more.wait_for(lambda: len(self.decided) > number, 20), "nothing was decided meanwhile"
                self.seen.append(number)


def test_an_epoch_is_decided_while_the_one_before_commits_and_sees_what_that_one_wrote(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        overlap = Overlap(backlog, *range(1, 12))
        await backlog.read_all()
        assert overlap.seen == [*range(1, 12)]
        assert len(backlog.cluster.committed) == 12
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_without_a_backlog_epochs_go_one_after_the_other(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        overlap = Overlap(backlog)
        decided_before: list[int] = []
        backlog.cluster.before = lambda _: decided_before.append(len(overlap.decided))
        backlog.consumer.is_behind = False
        await backlog.read_all()
        assert decided_before == [*range(1, 13)]
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


@pytest.mark.parametrize("number", [1, 2, 5, 11, 12])
@pytest.mark.parametrize(
    ("said", "happened"), [(ABORTED, False), (nobody_knows(), False), (nobody_knows(), True)], ids=["aborted", "lost", "unheard"]
)
def test_i1_what_was_decided_on_top_of_an_epoch_that_failed_is_booked_once(
    said: Any, number: int, tmp_path: Path, right: Books, *, happened: bool
) -> None:
    async def script(backlog: Backlog) -> None:
        overlap = Overlap(backlog, *({number} & {*range(1, 12)}))
        backlog.cluster.said[number] = said
        backlog.cluster.lost |= {number} if happened else set()
        await backlog.read_all()
        assert overlap.seen == [*({number} & {*range(1, 12)})]
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_i1_many_aborts_in_a_row_leave_nothing_behind(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        backlog.cluster.said = dict.fromkeys((2, 3, 4, 6, 9, 11, 12, 14), ABORTED)
        await backlog.read_all()
        assert len(backlog.cluster.committed) == 12
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


@pytest.mark.parametrize("poll", [2, 3, 4, 6, 8, 13])
def test_i1_nothing_of_a_task_is_committed_that_was_lost_when_its_epoch_was_decided(
    poll: int, tmp_path: Path, right: Books
) -> None:
    async def script(backlog: Backlog) -> None:
        backlog.consumer.changes = {poll: ("revoked", inputs_of(0))}
        lost = backlog.task("settlement/0")
        while backlog.consumer.changes:
            await backlog.engine._turn()
        committed_count = len(backlog.cluster.marks(lost))
        backlog.consumer.changes = {backlog.consumer.polls_count + 3: ("assigned", inputs_of(0))}
        assert committed_count == max(poll - 3, 0), "neither what was decided nor what was being sent"
        while backlog.consumer.changes:
            assert len(backlog.cluster.marks(lost)) == committed_count
            await backlog.engine._turn()
        await backlog.read_all()
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


@pytest.mark.parametrize("number", [1, 2, 5, 8])
@pytest.mark.parametrize("said", [ABORTED, nobody_knows()], ids=["aborted", "lost"])
def test_i9_a_task_that_is_lost_while_an_epoch_is_sent_is_given_up_whatever_becomes_of_the_epoch(
    said: Outcome, number: int, tmp_path: Path, right: Books
) -> None:
    async def script(backlog: Backlog) -> None:
        backlog.cluster.said[number] = said
        backlog.consumer.changes = {number + 2: ("revoked", inputs_of(0))}
        lost = backlog.task("settlement/0")
        while backlog.consumer.changes:
            await backlog.engine._turn()
        committed_count = len(backlog.cluster.marks(lost))
        assert committed_count == number - 1, "what was on its way did not happen, and is not done again"
        backlog.consumer.changes = {backlog.consumer.polls_count + 2: ("assigned", inputs_of(0))}
        await backlog.read_all()
        assert backlog.task("settlement/0") is not lost
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_i1_what_a_poll_raises_while_an_epoch_is_sent_ends_the_worker_when_that_is_committed_and_applied(tmp_path: Path) -> None:
    async def script(backlog: Backlog) -> None:
        poll = backlog.consumer.poll

        def fails(wait_s: float) -> Polled:
            if backlog.consumer.polls_count == 3:
                raise ValueError("the client is broken")
            return poll(wait_s)

        backlog.consumer.poll = fails  # type: ignore[method-assign, assignment]
        with pytest.raises(ValueError, match="the client is broken"):
            await backlog.engine.run()
        assert (len(backlog.cluster.committed), backlog.engine.epochs_count) == (2, 2)
        rows = backlog.cluster.rows(task := backlog.task("settlement/0"))
        assert task.store is not None
        names = [key.removeprefix(b"order_state/") for key in rows if key.startswith(b"order_state/")]
        assert task.store.get_many("order_state", names) == [rows[b"order_state/" + name] for name in names] != []

    on_backlog(tmp_path, script)


def test_a_poll_that_does_not_return_ends_the_worker_though_an_epoch_is_on_its_way(tmp_path: Path) -> None:
    async def script(backlog: Backlog) -> None:
        poll, lets_go = backlog.consumer.poll, threading.Event()

        def hangs(wait_s: float) -> Polled:
            if backlog.consumer.polls_count == 3:
                lets_go.wait(20)
            return poll(wait_s)

        backlog.consumer.poll = hangs  # type: ignore[method-assign, assignment]
        backlog.engine.threads.call_timeout_s = 0.2
        thread = backlog.engine.threads._kafka
        with pytest.raises(ClientStuckError):
            await backlog.engine.run()
        assert backlog.engine.threads._kafka is thread, "nobody else may call the client that is in a call"
        lets_go.set()
        await asyncio.to_thread(thread.shutdown)

    on_backlog(tmp_path, script)


def test_i8_an_agent_that_fails_on_top_of_an_epoch_is_asked_again_after_it(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        deliver, asked = backlog.engine.barrier.deliver_batch, count(1)

        async def fails_twice(batch: EngineBatch) -> None:
            if next(asked) in {3, 4}:
                raise ValueError("no")
            await deliver(batch)

        backlog.engine.barrier.deliver_batch = fails_twice
        await backlog.read_all()
        assert backlog.cluster.attempts_count == 12
        assert all(task.state is TaskState.RUNNING for task in backlog.engine.tasks), "two attempts failed, and three may"
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_i2_a_store_that_cannot_follow_takes_its_task_out_of_what_was_decided_on_top(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        overlap = Overlap(backlog, 2)

        def breaks(number: int) -> None:
            overlap._hold(number)
            store = backlog.task("settlement/0").store
            if number == 2 and store is not None:
                store._handles.clear()  # it can be read, and takes nothing

        backlog.cluster.before = breaks
        before = backlog.task("settlement/0")
        await backlog.read_all()
        assert backlog.task("settlement/0") is not before
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


@pytest.mark.parametrize(("took_s", "waits"), [(0, True), (60, False), (600, False)])
def test_an_epoch_that_took_as_long_as_a_poll_may_wait_is_followed_at_once(took_s: int, tmp_path: Path, *, waits: bool) -> None:
    async def script(backlog: Backlog) -> None:
        engine, waited_s = backlog.engine, list[float]()
        engine.settings = engine.settings.model_copy(update={"epoch_wait_ms": 60_000})
        poll, deliver = backlog.consumer.poll, engine.barrier.deliver_batch
        backlog.consumer.is_behind = False

        def polls(wait_s: float) -> Polled:
            waited_s.append(wait_s)
            return poll(wait_s)

        async def slowly(batch: EngineBatch) -> None:
            engine._polled_at_s -= took_s
            await deliver(batch)

        backlog.consumer.poll = polls  # type: ignore[method-assign, assignment]
        engine.barrier.deliver_batch = slowly
        await backlog.read_all()
        assert [AT_ONCE_S < each <= 60 for each in waited_s] == [False, *[waits] * 11], waited_s

    on_backlog(tmp_path, script)


class Hanging(Log):
    """Its third commit happens, and says so only when nobody listens any more."""

    def __init__(self) -> None:
        super().__init__()
        self.lets_go, self.let_go = threading.Event(), threading.Event()
        self.next = Log()
        self.next.committed = self.committed

    def abandon(self) -> Cluster:
        return self.next

    def commit(self, transaction: Transaction, meanwhile: Callable[[], str] = lambda: "") -> Outcome:
        outcome = super().commit(transaction, meanwhile)
        if self.attempts_count == 3:
            self.lets_go.wait(20)
            self.let_go.set()
        return outcome


def test_f06_a_commit_that_does_not_return_takes_what_was_decided_on_top_with_it(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        engine, hanging = backlog.engine, Hanging()
        engine.connect(cast("Any", backlog.consumer), cast("Any", hanging))
        backlog.cluster = hanging.next
        engine.threads.call_timeout_s = 0.2
        old_thread = engine.threads._kafka
        while hanging.attempts_count < 3 or engine.threads._kafka is old_thread:
            await engine._turn()
        engine.threads.call_timeout_s = 20
        assert engine.meter.aborts == {"STUCK": 1}
        polls_count, applied = backlog.consumer.polls_count, engine.epochs_count
        hanging.lets_go.set()
        await asyncio.to_thread(old_thread.shutdown)
        assert hanging.let_go.is_set()
        assert (backlog.consumer.polls_count, engine.epochs_count) == (polls_count, applied), "it touches nothing more"
        await backlog.read_all()
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_a_worker_that_is_told_to_end_commits_what_is_decided_and_takes_nothing_more(tmp_path: Path) -> None:
    async def script(backlog: Backlog) -> None:
        backlog.cluster.before = lambda number: backlog.engine.stopping.set() if number == 2 else None
        await backlog.engine.run()
        assert len(backlog.cluster.committed) == 3, "the second one, and the one that was decided meanwhile"
        backlog.assert_unbroken()

    on_backlog(tmp_path, script)


def test_what_timers_and_pages_send_goes_along_and_is_answered_once(tmp_path: Path, right: Books) -> None:
    async def script(backlog: Backlog) -> None:
        overlap, sends = Overlap(backlog, 2, 3), backlog.engine.sends
        sent: list[asyncio.Future[None]] = []
        deliver = backlog.engine.barrier.deliver_batch

        async def sends_too(batch: EngineBatch) -> None:
            sent.append(sends.put(Output("t.reply", b"k", f"{len(sent)}".encode()), by_agent=False))
            await deliver(batch)

        backlog.engine.barrier.deliver_batch = sends_too
        backlog.cluster.said[2] = ABORTED
        await backlog.read_all()
        assert overlap.seen[:1] == [2]
        assert all(each.done() and each.exception() is None for each in sent)
        records = [record for transaction in backlog.cluster.committed for record in each_of(transaction.records)]
        values = [record.value or b"" for record in records if record.topic == "t.reply"]
        assert sorted(values) == sorted(f"{number}".encode() for number in range(len(sent)))
        assert_right(backlog, right)

    on_backlog(tmp_path, script)


def test_a_request_of_an_operator_is_served_between_two_epochs_of_a_backlog(tmp_path: Path) -> None:
    async def script(backlog: Backlog) -> None:
        overlap = Overlap(backlog, 1, 2)
        asking: list[asyncio.Task[Any]] = []
        deliver = backlog.engine.barrier.deliver_batch

        async def asks(batch: EngineBatch) -> None:
            if len(overlap.decided) == 2:
                request = Request("settlement/0", because="to look at it")
                asking.append(asyncio.ensure_future(backlog.engine.pauses.ask(request, 20)))
            await deliver(batch)

        backlog.engine.barrier.deliver_batch = asks
        while not asking or not asking[0].done():
            await backlog.engine._turn()
        assert asking[0].result().status == 200
        assert backlog.task("settlement/0").state is TaskState.PAUSED
        assert len(backlog.cluster.committed) < 12
        backlog.assert_unbroken()

    on_backlog(tmp_path, script)


@pytest.mark.parametrize("seed", range(20))
def test_i1_whatever_happens_on_the_way_every_record_is_booked_once(seed: int, tmp_path: Path, right: Books) -> None:
    chance = random.Random(seed)

    async def script(backlog: Backlog) -> None:
        deliver = backlog.engine.barrier.deliver_batch
        for number in range(1, 40):
            said: Outcome | None = chance.choice([*[None] * 6, ABORTED, nobody_knows()])
            if said is not None:
                backlog.cluster.said[number] = said
                backlog.cluster.lost |= {number} if said is not ABORTED and chance.random() < 0.5 else set()
        moves = [(kind, inputs_of(partition)) for partition in chance.sample([0, 1, 0, 1], 2) for kind in ("revoked", "assigned")]
        backlog.consumer.changes = dict(zip(sorted(chance.sample(range(2, 16), 4)), moves, strict=True))
        failing = set(chance.sample(range(1, 30), 3))

        async def fails(batch: EngineBatch) -> None:
            if next(asked) in failing:
                raise ValueError("no")
            await deliver(batch)

        asked = count(1)
        backlog.engine.barrier.deliver_batch = fails
        await backlog.read_all()
        assert_right(backlog, right)

    on_backlog(tmp_path, script, records_max=chance.choice([1, 2, 3, 4, 7]))
