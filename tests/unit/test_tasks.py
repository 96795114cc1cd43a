"""Ownership: a task starts when all its partitions are owned and ends when any is revoked."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.marker import TopicPartition
from streams.tasks import Tasks, TaskState
from streams.topology import TOPOLOGY
from tests.unit.messages import PREFIX, REVENUE, SETTLEMENT

ORDERS, PAYMENTS, DELTAS = f"{PREFIX}orders", f"{PREFIX}payments", f"{PREFIX}revenue-deltas"


def tasks() -> Tasks:
    return Tasks(TOPOLOGY, PREFIX)


def names(found: object) -> list[str]:
    return [task.name for task in found]  # type: ignore[attr-defined]


def test_a_co_partitioned_task_starts_only_when_all_its_partitions_are_owned() -> None:
    owner = tasks()
    assert owner.assign([(ORDERS, 0), (ORDERS, 1), (PAYMENTS, 2)]) == []
    (first,) = owner.assign([(PAYMENTS, 0)])
    assert (first.name, first.stage, first.state) == ("settlement/0", SETTLEMENT, TaskState.RESTORING)
    assert first.inputs == ((ORDERS, 0), (PAYMENTS, 0))
    assert first.changelog == (f"{PREFIX}settlement-changelog", 0)
    assert names(owner.assign([(PAYMENTS, 1), (ORDERS, 2)])) == ["settlement/1", "settlement/2"]
    assert names(owner) == ["settlement/0", "settlement/1", "settlement/2"]


def test_a_task_of_one_topic_starts_with_it() -> None:
    (task,) = tasks().assign([(DELTAS, 11)])
    assert (task.name, task.stage, task.inputs) == ("revenue/11", REVENUE, ((DELTAS, 11),))


def test_a_topic_that_no_stage_reads_is_a_task_without_a_stage() -> None:
    (task,) = tasks().assign([("f-reply", 0)])
    assert (task.name, task.stage, task.changelog) == ("f-reply/0", None, None)


def test_partitions_of_another_deployment_are_not_ours() -> None:
    (task,) = tasks().assign([("other.orders", 0)])
    assert task.stage is None


def test_a_task_ends_when_any_of_its_partitions_is_revoked_and_starts_anew_when_it_comes_back() -> None:
    owner = tasks()
    zero, one = owner.assign([(ORDERS, 0), (PAYMENTS, 0), (ORDERS, 1), (PAYMENTS, 1)])
    assert owner.revoke([(PAYMENTS, 0)]) == [zero]
    assert zero.revoked.is_set()
    assert not one.revoked.is_set()
    assert not owner.is_current(zero)
    assert owner.is_current(one)
    (again,) = owner.assign([(PAYMENTS, 0)])
    assert again is not zero
    assert (again.name, again.revoked.is_set(), again.next_offsets, again.epoch) == ("settlement/0", False, {}, 0)


def test_revoking_both_partitions_ends_the_task_once_and_strangers_end_nothing() -> None:
    owner = tasks()
    (task,) = owner.assign([(ORDERS, 0), (PAYMENTS, 0), (ORDERS, 1)])
    assert owner.revoke([(ORDERS, 0), (PAYMENTS, 0), (ORDERS, 1), (ORDERS, 9)]) == [task]
    assert owner.owned == set()
    assert list(owner) == []


def test_being_assigned_again_what_is_owned_starts_nothing() -> None:
    owner = tasks()
    owner.assign([(ORDERS, 0), (PAYMENTS, 0)])
    assert owner.assign([(ORDERS, 0), (PAYMENTS, 0)]) == []


def test_a_renewed_task_takes_the_place_of_one_whose_state_is_in_doubt() -> None:
    owner = tasks()
    (old,) = owner.assign([(ORDERS, 0), (PAYMENTS, 0)])
    old.state = TaskState.RUNNING
    fresh = owner.renew(old)
    assert old.revoked.is_set()
    assert (owner.is_current(old), owner.is_current(fresh)) == (False, True)
    assert fresh.inputs == old.inputs
    assert owner.running() == []


def test_only_running_tasks_process_records() -> None:
    owner = tasks()
    zero, one, revenue = owner.assign([(ORDERS, 0), (PAYMENTS, 0), (ORDERS, 1), (PAYMENTS, 1), (DELTAS, 0)])
    zero.state = revenue.state = TaskState.RUNNING
    one.state = TaskState.STOPPED
    assert set(owner.running()) == {zero, revenue}
    assert owner.running(SETTLEMENT) == [zero]


PARTITIONS = st.sets(st.sampled_from(list(itertools.product([ORDERS, PAYMENTS, DELTAS], range(3)))))


@given(st.lists(st.tuples(st.booleans(), PARTITIONS)))
def test_whatever_the_rebalances_a_task_is_there_exactly_when_all_its_partitions_are_owned(
    steps: list[tuple[bool, set[TopicPartition]]],
) -> None:
    owner, owned, alive = tasks(), set[TopicPartition](), {}
    for given_to_us, partitions in steps:
        if given_to_us:
            owned |= partitions
            alive.update({task.name: task for task in owner.assign(partitions)})
        else:
            owned -= partitions
            for task in owner.revoke(partitions):
                assert alive.pop(task.name) is task
        whole = {f"revenue/{n}" for n in range(3) if (DELTAS, n) in owned}
        whole |= {f"settlement/{n}" for n in range(3) if {(ORDERS, n), (PAYMENTS, n)} <= owned}
        assert set(names(owner)) == whole == set(alive)
        assert all(owner.is_current(task) and not task.revoked.is_set() for task in alive.values())
