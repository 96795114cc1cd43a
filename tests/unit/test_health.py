"""A worker is live while its poll loop turns or waits, and ready once it has restored what it was first given."""

from __future__ import annotations

from streams.health import UNASSIGNED_S, Readiness, is_live
from streams.tasks import Task, TaskState
from streams.threads import Threads
from tests.unit.messages import SETTLEMENT


def task(state: TaskState) -> Task:
    return Task(SETTLEMENT, 0, (("orders", 0), ("payments", 0)), ("settlement-changelog", 0), state)


def test_a_worker_is_ready_after_its_first_restore_and_stays_so() -> None:
    readiness = Readiness()
    first, second = task(TaskState.RESTORING), task(TaskState.RUNNING)
    readiness.look([first, second], 0.0)
    readiness.look([first, second], 1_000.0)
    assert not readiness.ready, "a restore may take any time"
    for state in (TaskState.RUNNING, TaskState.RESTORING):
        first.state = state
        readiness.look([first, second], 1_001.0)
        assert readiness.ready
    readiness.look([], 2_000.0)
    assert readiness.ready


def test_tasks_that_cannot_run_were_restored_all_the_same() -> None:
    for state in (TaskState.PAUSED, TaskState.STOPPED, TaskState.HELD):
        readiness = Readiness()
        readiness.look([task(state)], 0.0)
        assert readiness.ready


def test_a_worker_that_is_given_nothing_is_ready_when_it_would_have_been() -> None:
    readiness = Readiness()
    readiness.look([], 5.0)
    readiness.look([], 5.0 + UNASSIGNED_S / 2)
    assert not readiness.ready
    readiness.look([], 5.0 + UNASSIGNED_S)
    assert readiness.ready


def test_a_worker_lives_for_as_long_after_the_last_turn_as_is_set() -> None:
    assert is_live(0.0, 60_000)
    assert is_live(60.0, 60_000)
    assert not is_live(60.1, 60_000)
    assert is_live(60.1, 90_000)


def test_a_sign_of_life_from_work_that_waits_counts_as_a_turn() -> None:
    threads = Threads(30.0)
    threads._alive_s -= 100
    assert not is_live(threads.silent_s, 60_000)
    threads.is_alive()
    assert is_live(threads.silent_s, 60_000)
    threads.shutdown()
