"""When an input is idle, and when a task is told: positions, ends, arrivals and the time in; ticks out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest

from streams.idleness import Idleness, is_ticked, said_idle
from streams.marker import TopicPartition
from streams.tasks import Task, Tasks
from streams.topology import TOPOLOGY
from tests.unit.messages import PREFIX, REVENUE, SETTLEMENT, running_task

BOTH = frozenset({"orders", "payments"})
NONE: frozenset[str] = frozenset()
ORDERS, PAYMENTS = frozenset({"orders"}), frozenset({"payments"})


class World:
    """Tasks of settlement that stand at the ends of their inputs, and a clock that a look moves by half a second."""

    def __init__(self, *partitions: int, idle_after_s: float = 30, tick_s: float = 10) -> None:
        tasks = Tasks(TOPOLOGY, PREFIX)
        self.tasks = [running_task(tasks, SETTLEMENT, partition, (10, 20)) for partition in partitions or (0,)]
        self.ends: dict[TopicPartition, int] = {where: at for task in self.tasks for where, at in task.next_offsets.items()}
        self.positions: dict[TopicPartition, int] = {}
        self.idleness = Idleness(idle_after_s, tick_s)
        self.now_s = 1_000.0
        self.heeds = True

    @property
    def task(self) -> Task:
        return self.tasks[0]

    def look(
        self, came: Collection[TopicPartition] = (), after_s: float = 0.5, tasks: Iterable[Task] | None = None
    ) -> dict[int, frozenset[str]]:
        self.now_s += after_s
        running = self.tasks if tasks is None else tasks
        due = self.idleness.look(running, came, self.positions, self.ends, self.now_s)
        if self.heeds:
            for task, idle in due.items():
                say(task, idle)
        return {task.partition: idle for task, idle in due.items()}

    def told_within(self, seconds: float) -> list[tuple[float, dict[int, frozenset[str]]]]:
        """Look for so long; give what was told, and how long after the beginning."""
        began_s, told = self.now_s, []
        while self.now_s < began_s + seconds:
            if due := self.look():
                told.append((self.now_s - began_s, due))
        return told


def say(task: Task, idle: frozenset[str]) -> None:
    task.counters = {f"idle|{name}": int(name in idle) for name in BOTH}


def at(name: str, partition: int = 0) -> TopicPartition:
    return PREFIX + name, partition


def test_f27_an_input_that_is_read_to_its_end_and_brings_nothing_is_idle_after_the_set_time_and_the_task_is_told_once() -> None:
    world = World()
    for _ in range(70):
        assert world.look(came=[at("payments")]) in ({}, {0: ORDERS})
    assert said_idle(world.task) == ORDERS
    assert world.told_within(29) == []


def test_f27_while_all_inputs_are_idle_the_time_is_told_again_and_again() -> None:
    told = World().told_within(61)
    assert [(round(after_s), due) for after_s, due in told] == [
        (30, {0: BOTH}),
        (40, {0: BOTH}),
        (50, {0: BOTH}),
        (60, {0: BOTH}),
    ]


@pytest.mark.parametrize("lagging", ["orders", "payments"])
def test_f27_an_input_that_lags_is_not_idle_however_long_nothing_of_it_is_read(lagging: str) -> None:
    world = World()
    world.ends[at(lagging)] += 1
    assert world.told_within(120) == [(30.5, {0: BOTH - {lagging}})]
    assert said_idle(world.task) == BOTH - {lagging}
    world.positions[at(lagging)] = world.ends[at(lagging)]  # it was read, or it was a transaction's marker
    told = world.told_within(31)
    assert [due for _, due in told] == [{0: BOTH}]
    assert told[0][0] >= 29.5, "the quiet counts from the end on"


def test_records_make_an_input_active_without_a_tick() -> None:
    world = World()
    world.told_within(31)
    assert said_idle(world.task) == BOTH
    assert world.look(came=[at("orders")]) == {}
    say(world.task, PAYMENTS)  # what the agent does with the rows
    assert world.told_within(29) == []
    assert [due for _, due in world.told_within(2)] == [{0: BOTH}]


def test_records_that_the_agent_never_sees_leave_the_telling_to_the_next_look() -> None:
    world = World()
    world.told_within(31)
    assert world.look(came=[at("orders")]) == {}
    assert world.look() == {0: PAYMENTS}


def test_the_tick_beside_records_does_not_call_their_input_idle() -> None:
    world = World()
    world.told_within(31)
    say(world.task, ORDERS)
    assert world.look(came=[at("orders")]) == {0: PAYMENTS}


def test_f27_a_task_whose_marker_says_idle_and_that_lags_is_told_at_once_that_it_is_active() -> None:
    world = World()
    say(world.task, BOTH)
    world.ends[at("orders")] += 5
    assert world.look() == {0: PAYMENTS}


def test_f27_a_takeover_wakes_no_idle_input_up() -> None:
    world = World()
    say(world.task, BOTH)
    told = world.told_within(30)
    assert told[0] == (10.5, {0: BOTH}), "and the time is told after the set time only, when ends are known well"
    assert all(due == {0: BOTH} for _, due in told)


def test_nothing_is_told_before_every_end_is_known() -> None:
    world = World()
    say(world.task, BOTH)
    end = world.ends.pop(at("payments"))
    world.ends[at("orders")] += 1
    assert world.told_within(60) == []
    world.ends[at("payments")] = end
    assert world.look() == {0: PAYMENTS}


def test_f27_a_task_that_is_not_running_is_never_told_and_begins_anew() -> None:
    world = World()
    for _ in range(59):
        assert world.look() == {}
    assert world.look(tasks=[]) == {}
    assert world.told_within(29.5) == []
    assert [due for _, due in world.told_within(1.5)] == [{0: BOTH}]


def test_quiet_counts_only_as_far_as_it_was_watched() -> None:
    world = World()
    world.look()
    assert world.look(after_s=3_600) == {}, "it was frozen, and has not seen that nothing came"
    assert [due for _, due in world.told_within(29)] == [{0: BOTH}]


def test_what_is_not_heeded_is_told_at_the_set_pace_and_what_is_otherwise_at_once() -> None:
    world = World()
    world.heeds = False
    told = []
    for _ in range(160):  # 80 s, of which orders has been quiet for the last 50
        came = [at("payments")] + ([at("orders")] if world.now_s < 1_030 else [])
        if due := world.look(came):
            told.append((world.now_s - 1_000, due))
    assert told == [(60.0, {0: ORDERS}), (70.0, {0: ORDERS}), (80.0, {0: ORDERS})]
    assert [(round(after_s, 1), due) for after_s, due in world.told_within(40)] == [
        (10.0, {0: ORDERS}),
        (20.0, {0: ORDERS}),
        (30.0, {0: BOTH}),
        (40.0, {0: BOTH}),
    ]


def test_what_was_heeded_is_news_when_it_is_so_again() -> None:
    world = World(idle_after_s=5, tick_s=60)
    assert [after_s for after_s, _ in world.told_within(10)] == [5.5]
    for _ in range(3):
        assert world.look(came=[at("orders"), at("payments")]) == {}
        say(world.task, NONE)
    assert [after_s for after_s, _ in world.told_within(10)] == [5.0]


def test_the_tasks_of_a_worker_are_told_in_one_epoch_though_they_became_idle_one_by_one() -> None:
    world = World(0, 1, 2)
    came_until_s = {0: 0, 1: 3, 2: 8}
    told: list[dict[int, frozenset[str]]] = []
    for look in range(200):
        came = [at(name, number) for number, until in came_until_s.items() if look / 2 < until for name in BOTH]
        if due := world.look(came):
            told.append(due)
    assert all(due == dict.fromkeys(range(3), BOTH) for due in told[-3:]), told


def test_only_tasks_that_read_nothing_but_inputs_are_told() -> None:
    tasks = Tasks(TOPOLOGY, PREFIX)
    (plain,) = tasks.assign([(f"{PREFIX}reply", 0)])
    settlement, revenue = running_task(tasks, SETTLEMENT, 0, (0, 0)), running_task(tasks, REVENUE, 0, (0,))
    assert [is_ticked(task) for task in (settlement, revenue, plain)] == [True, False, False]
    ends = dict.fromkeys([*settlement.inputs, *revenue.inputs, *plain.inputs], 0)
    idleness = Idleness(idle_after_s=1, tick_s=1)
    told: set[Task] = set()
    for now_s in range(5):
        told |= idleness.look([settlement, revenue, plain], (), {}, ends, now_s).keys()
    assert told == {settlement}
