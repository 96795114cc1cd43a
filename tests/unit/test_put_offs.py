"""Tasks that are put off: for how long, how often, and once each."""

from __future__ import annotations

from streams.back_off import BackOff
from streams.put_offs import PutOffs
from streams.tasks import Task

BACK_OFF = BackOff(1.0, 8.0)


def task(partition: int = 0) -> Task:
    return Task(None, partition, (("topic", partition),), None)


def test_each_wait_in_a_row_is_longer_up_to_the_limit_and_cut_by_luck() -> None:
    put_offs, now_s, waits = PutOffs(BACK_OFF), 100.0, []
    for _ in range(6):
        waits.append(put_offs.put_off(task(), now_s, 1.0))  # renewed each time, under the same name
        now_s += waits[-1]
    assert waits == [1, 2, 4, 8, 8, 8]
    assert put_offs.put_off(task(), now_s, 0.0) == 4, "never all at the same moment"


def test_only_a_long_peace_begins_anew() -> None:
    put_offs = PutOffs(BACK_OFF)
    put_offs.put_off(task(), 0.0, 1.0)
    assert put_offs.put_off(task(), 1.0 + 16.0, 1.0) == 2, "it ran for a while, from memory"
    assert put_offs.put_off(task(), 19.0 + 16.1, 1.0) == 1


def test_tasks_wait_for_themselves_and_are_given_once() -> None:
    put_offs, zero, one = PutOffs(BACK_OFF), task(0), task(1)
    put_offs.put_off(zero, 0.0, 1.0)
    put_offs.put_off(one, 0.5, 1.0)
    assert put_offs.due(0.9) == []
    assert put_offs.due(1.0) == [zero]
    assert put_offs.due(9.0) == [one]
    assert put_offs.due(9.0) == []
