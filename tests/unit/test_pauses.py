"""The engine pauses tasks and lets them go on: what is committed for it, and what is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Message

from schemas.codec import decode
from schemas.events import TaskMarker
from streams import marker
from streams.epoch import Epoch
from streams.group import Polled
from streams.judgement import FRESH, Judgement, Probe
from streams.messages import runs_of
from streams.pauses import Answer, Request
from streams.restore import Restored
from streams.tasks import Task, TaskState
from streams.transaction import Aborted, Outcome, Transaction, Unknown
from tests.unit.messages import PREFIX, message
from tests.unit.orders import placed
from tests.unit.test_engine import World, in_world, order

ORDERS, PAYMENTS = f"{PREFIX}orders", f"{PREFIX}payments"
LINE = 500


def junk(partition: int, first: int, count: int) -> list[Message]:
    return [message("orders", first + number, b"junk", partition=partition) for number in range(count)]


def markers(world: World, partition: int) -> list[TaskMarker]:
    """Every marker of a settlement task that was committed."""
    where = (f"{PREFIX}settlement-changelog", partition)
    values = [each.markers[where].value for each in world.cluster.committed if where in each.markers]
    return [cast("TaskMarker", decode(value)) for value in values]


async def ask(world: World, request: Request) -> Answer:
    """Ask, and let the engine carry it out as it does between two epochs."""
    asked = asyncio.ensure_future(world.engine.pauses.ask(request, within_s=30))
    while not asked.done():
        await asyncio.sleep(0)
        await world.engine.pauses.serve()
        await world.engine.ownership.follow(Polled(), world.engine.announce)
    return asked.result()


def test_the_epoch_that_crosses_the_line_is_not_committed_and_its_neighbours_are(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(*junk(0, 100, LINE))
        assert (world.zero.state, world.zero.counters["dead"]) == (TaskState.RUNNING, LINE)
        buried = world.cluster.sent().count("orders.dlq")
        await world.process(*junk(0, 600, 3), order(0, 603), order(1, 7))
        assert (world.zero.state, world.one.state) == (TaskState.PAUSED, TaskState.RUNNING)
        assert world.zero.reason.startswith("more than 500 of its last 1,000 records are dead letters (lately no_magic_byte 3)")
        assert world.cluster.sent().count("orders.dlq") == buried == LINE
        assert world.zero.next_offsets[ORDERS, 0] == 600
        assert world.zero.counters == {"consumed": LINE, "dead": LINE, "dead|no_magic_byte": LINE}
        assert world.one.counters["applied"] == 1
        assert world.cluster.sent().count("order-status") == 1
        last = markers(world, 0)[-1]
        assert [(p.first_offset, p.next_offset) for p in last.positions] == [(600, 600), (50, 50)]
        assert (last.paused, last.epoch) == (world.zero.reason, 2)
        assert marker.judgement_of(last) == world.zero.judgement

    in_world(tmp_path, script)


def test_a_wrong_deployment_buries_nothing_in_an_epoch_that_is_large_enough_to_show_it(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(*junk(0, 100, LINE + 1), *junk(1, 7, LINE + 1))
        assert [world.zero.state, world.one.state] == [TaskState.PAUSED] * 2
        assert world.cluster.sent() == []
        (transaction,) = world.cluster.committed
        assert transaction.offsets == {
            (ORDERS, 0): 100,
            (PAYMENTS, 0): 50,
            (ORDERS, 1): 7,
            (PAYMENTS, 1): 8,
        }

    in_world(tmp_path, script)


def test_a_pause_is_aborted_redone_and_committed_once(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.outcomes = [Aborted("ILLEGAL_GENERATION: somebody joined")] * 2
        await world.process(*junk(0, 100, LINE + 1))
        assert world.zero.state is TaskState.PAUSED
        assert len(markers(world, 0)) == 1

    in_world(tmp_path, script)


def test_a_pause_of_which_nobody_knows_is_looked_up_in_the_changelog(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.outcomes = [Unknown("_TIMED_OUT: no answer")]
        await world.process(*junk(0, 100, LINE + 1))
        renewed = world.engine.tasks.by_input[ORDERS, 0]
        assert (renewed is world.zero, renewed.state) == (False, TaskState.RESTORING)

    in_world(tmp_path, script)


def test_a_pause_that_cannot_be_committed_stops_the_task(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        def refuses(transaction: Transaction) -> Outcome | None:
            return Aborted("TOPIC_AUTHORIZATION_FAILED: no", "TOPIC_AUTHORIZATION_FAILED: no") if transaction.markers else None

        world.cluster.judge = refuses
        await world.process(*junk(0, 100, LINE + 1))
        assert world.zero.state is TaskState.STOPPED
        assert world.zero.reason.startswith("more than 500 of its last 1,000 records are dead letters")
        assert "that cannot be committed: TOPIC_AUTHORIZATION_FAILED: no (tried 3 times)" in world.zero.reason

    in_world(tmp_path, script)


def test_an_operator_pauses_a_task_and_lets_it_go_on_where_it_stood(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        assert await ask(world, Request("settlement/0", because="the shop sends nonsense")) == (200, "settlement/0 is paused")
        assert (world.zero.state, world.zero.reason) == (TaskState.PAUSED, "by an operator: the shop sends nonsense")
        await world.process(order(0, 100))
        assert "consumed" not in world.zero.counters
        again = await ask(world, Request("settlement/0", because="again"))
        assert again == (200, "settlement/0 is paused already: by an operator: the shop sends nonsense")
        assert await ask(world, Request("settlement/0")) == (200, "settlement/0 goes on")
        await world.engine.ownership.follow(Polled(), world.engine.announce)
        assert (world.zero.state, world.zero.reason, world.zero.judgement) == (TaskState.RUNNING, "", FRESH)
        assert world.group.started[-1] == {(ORDERS, 0): 100, (PAYMENTS, 0): 50}
        assert [said.paused for said in markers(world, 0)] == ["by an operator: the shop sends nonsense", ""]
        await world.process(order(0, 100))
        assert world.zero.counters["applied"] == 1
        assert await ask(world, Request("settlement/0")) == (200, "settlement/0 runs")

    in_world(tmp_path, script)


def test_a_probe_that_is_longer_than_what_waits_is_ended_by_a_resume_without_one(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(*junk(0, 100, LINE + 1))
        await ask(world, Request("settlement/0", probe_records=5_000))
        await world.engine.ownership.follow(Polled(), world.engine.announce)
        await world.process(*junk(0, 100, LINE + 1))
        assert (world.zero.state, world.zero.judgement.probe) == (TaskState.RUNNING, Probe(5_000, 5_000 - LINE - 1, LINE + 1))
        assert await ask(world, Request("settlement/0", probe_records=10)) == (200, "settlement/0 runs")
        assert await ask(world, Request("settlement/0")) == (200, "settlement/0 goes on")
        await world.engine.ownership.follow(Polled(), world.engine.announce)
        assert (world.zero.state, world.zero.judgement) == (TaskState.RUNNING, FRESH)
        await world.process(*junk(0, 100 + LINE + 1, LINE + 1))
        assert world.zero.state is TaskState.PAUSED

    in_world(tmp_path, script)


@pytest.mark.parametrize(("dead", "state"), [(5, TaskState.RUNNING), (6, TaskState.PAUSED)])
def test_a_probe_processes_exactly_its_records_and_is_judged_by_them(tmp_path: Path, dead: int, state: TaskState) -> None:
    async def script(world: World) -> None:
        await world.process(*junk(0, 100, LINE + 1))
        said = await ask(world, Request("settlement/0", probe_records=10))
        assert said == (200, "settlement/0 goes on; after 10 records it is judged by these")
        assert world.zero.judgement == Judgement(probe=Probe(10, 10))
        polled = [*junk(0, 100, dead), *(order(0, 100 + number) for number in range(dead, 20))]
        epoch, cut = Epoch.collect(1, runs_of([*polled, order(1, 7)]), world.engine.tasks, PREFIX).up_to_probes()
        assert (epoch.records_count, cut) == (11, [world.zero])
        await world.engine.process(epoch)
        await world.engine.ownership.read_again(cut)
        await world.engine.ownership.follow(Polled(), world.engine.announce)
        assert world.zero.state is state
        assert (world.zero.counters["consumed"], world.zero.counters["dead"]) == (10, dead)
        assert world.zero.next_offsets[ORDERS, 0] == 110
        assert world.one.counters["applied"] == 1
        if state is TaskState.RUNNING:
            assert world.group.started[-1][ORDERS, 0] == 110, "what was left out is read again"
            assert world.zero.judgement == FRESH
        else:
            assert world.zero.reason == "6 of the 10 probed records are dead letters (lately no_magic_byte 6)"

    in_world(tmp_path, script)


def test_a_probe_that_needs_several_epochs_counts_over_them(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await ask(world, Request("settlement/0", because="try it"))
        await ask(world, Request("settlement/0", probe_records=3))
        await world.engine.ownership.follow(Polled(), world.engine.announce)
        await world.process(*junk(0, 100, 2))
        assert marker.judgement_of(markers(world, 0)[-1]) == Judgement(probe=Probe(3, 1, 2))
        await world.process(order(0, 102))
        assert world.zero.reason == "2 of the 3 probed records are dead letters"

    in_world(tmp_path, script)


def test_a_restored_task_stays_paused_until_somebody_resumes_it(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(*junk(0, 100, LINE + 1))
        reason, identity = world.zero.reason, world.zero.identity

        def as_the_marker_says(task: Task) -> Restored:
            assert task.changelog is not None
            task.judgement = marker.judgement_of(markers(world, task.changelog[1])[-1])
            task.store, task.identity = world.open_store(task), identity
            return Restored(task, marker.Resume(dict.fromkeys(task.inputs, 100)))

        world.restorer.verdict = as_the_marker_says
        await world.engine.ownership.doubt([world.zero])
        world.zero = world.engine.tasks.by_input[ORDERS, 0]
        assert world.zero.state is TaskState.RESTORING
        said = await ask(world, Request("settlement/0", probe_records=1))
        assert said.status == 200, "a request waits for the restore"
        assert markers(world, 0)[0].paused == reason
        assert world.zero.judgement == Judgement(probe=Probe(1, 1))
        assert world.zero.store is not None, "it is the one that was restored, and it could follow"

    in_world(tmp_path, script)


def test_i3_resuming_a_stopped_task_looks_again_and_says_what_is_still_wrong(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.engine.ownership.stop(world.zero, "the offsets were reset")
        assert await ask(world, Request("settlement/0", because="why not")) == (
            409,
            "settlement/0 is stopped: the offsets were reset",
        )
        world.restorer.verdict = lambda task: Restored(task, marker.Refuse("the offsets were reset, still"))
        assert await ask(world, Request("settlement/0")) == (409, "settlement/0 is stopped: the offsets were reset, still")
        world.restorer.verdict = lambda task: Restored(task, marker.Resume(dict.fromkeys(task.inputs, 7)))
        assert await ask(world, Request("settlement/0")) == (200, "settlement/0 runs")
        assert world.cluster.committed == []

    in_world(tmp_path, script)


def test_what_is_asked_of_a_task_that_is_not_here_or_has_no_marker_is_refused(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        assert await ask(world, Request("settlement/9")) == (404, "settlement/9 is not a task of this worker")
        (plain,) = world.engine.tasks.assign([(f"{PREFIX}reply", 0)])
        plain.state = TaskState.RUNNING
        said = await ask(world, Request(plain.name, because="no"))
        assert (said.status, "has no marker" in said.said) == (409, True)
        assert plain.state is TaskState.RUNNING

    in_world(tmp_path, script)


def test_a_request_that_nobody_waits_for_any_more_is_withdrawn(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        said = await world.engine.pauses.ask(Request("settlement/0", because="too slow"), within_s=0.001)
        assert said.status == 503
        await world.engine.pauses.serve()
        assert (world.zero.state, world.cluster.committed) == (TaskState.RUNNING, [])

    in_world(tmp_path, script)


def test_placed_orders_are_counted_as_alive_beside_dead_ones_of_the_same_epoch(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        good = message("orders", 101, placed("e", order_id="o-1"))
        await world.process(*junk(0, 100, 1), good, *junk(0, 102, 1), message("payments", 50, b"junk"))
        assert f"{world.zero.judgement.recent:b}" == "1011"

    in_world(tmp_path, script)
