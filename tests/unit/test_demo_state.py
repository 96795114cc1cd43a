from __future__ import annotations

from typing import Any

from streams.demo.state import SILENT_AFTER_S, Rate, RunState, TaskSample, WorkerSample, sample_of

INPUTS = ("d.orders", "d.payments")


def task(name: str, epoch: int = 1, state: str = "running", reason: str = "", **counters: int) -> TaskSample:
    return TaskSample(name, state, reason, epoch, counters)


def counting(name: str, counters: dict[str, int]) -> TaskSample:
    return TaskSample(name, "running", "", 1, counters)


def worker(*tasks: TaskSample, epochs: int = 1) -> WorkerSample:
    return WorkerSample(epochs, 0, tasks)


def test_a_status_page_becomes_a_sample() -> None:
    page: dict[str, Any] = {
        "worker": "w1",
        "epochs_count": 7,
        "aborts": {"ILLEGAL_GENERATION": 2, "REBALANCE_IN_PROGRESS": 1},
        "tasks": [
            {"task": "revenue/3", "state": "running", "reason": "", "epoch": 5, "restored_records": 0, "next_offsets": {},
             "counters": {"consumed": 9}},
        ],
    }  # fmt: skip
    assert sample_of(page) == WorkerSample(7, 3, (TaskSample("revenue/3", "running", "", 5, {"consumed": 9}),))


def test_a_rate_is_of_the_last_seconds_only() -> None:
    rate = Rate(window_s=3.0)
    assert rate.per_s == 0.0
    for second, total in enumerate([0, 1_000, 2_000, 2_000, 2_000, 2_000]):
        rate.add(float(second), total)
    assert rate.per_s == 0.0
    rate.add(6.0, 3_500)
    assert rate.per_s == 500.0


def test_totals_never_fall_while_nobody_owns_a_task_and_a_late_page_does_not_bring_them_back() -> None:
    state = RunState()
    state.started("w1", 1, 0.0, restarted=False)
    state.started("w2", 2, 0.0, restarted=False)
    state.see_status(1, worker(task("settlement/0", epoch=5, consumed=50, applied=50)), 1.0)
    state.see_status(2, worker(task("settlement/1", epoch=3, consumed=30, applied=29, duplicates=1)), 1.0)
    state.ended(2, "killed")
    assert state.counters("settlement") == {"consumed": 80, "applied": 79, "duplicates": 1}
    state.see_status(1, worker(task("settlement/0", epoch=5, consumed=50), task("settlement/1", epoch=4, consumed=45)), 2.0)
    state.see_status(2, worker(task("settlement/1", epoch=3, consumed=30)), 2.1)
    assert state.counters("settlement")["consumed"] == 95
    assert state.consumed_by == {"w1": 65, "w2": 30}  # each record is its consumer's


def test_events_are_the_inputs_offsets_and_deltas_are_none() -> None:
    state = RunState()
    state.see_offsets({("d.orders", 0): 10, ("d.payments", 0): 5, ("d.revenue-deltas", 0): 99}, INPUTS, 1.0)
    assert state.consumed(INPUTS) == 15


def test_deltas_are_in_flight_until_both_stages_have_the_same_in_their_accounts() -> None:
    state = RunState()
    state.started("w1", 1, 0.0, restarted=False)
    booked = {"booked|EUR|gross_minor": 100, "booked|JPY|gross_minor": 7, "booked|USD|refunded_minor": 0}
    state.see_status(1, worker(counting("settlement/0", booked), counting("revenue/4", {"windowed|EUR|gross_minor": 100})), 1.0)
    assert state.in_flight()
    state.see_status(1, worker(counting("revenue/5", {"windowed|JPY|gross_minor": 7})), 2.0)
    assert not state.in_flight()


def test_a_member_is_alive_silent_or_joining_by_what_its_page_says() -> None:
    state = RunState()
    state.started("w1", 1, 0.0, restarted=False)
    state.started("w2", 2, 0.0, restarted=True)
    first, second = state.members[1], state.members[2]
    assert (first.state(1.0), second.state(1.0)) == ("starting", "restarting")
    state.see_status(1, worker(task("settlement/0")), 1.0)
    state.see_status(2, worker(), 1.0)
    assert (first.state(1.5), second.state(1.5)) == ("alive", "joining")
    assert first.state(1.1 + SILENT_AFTER_S) == "silent"
    state.ended(1, "killed")
    assert first.state(9.0) == "killed"
    assert [member.pid for member in state.alive()] == [2]


def test_a_stopped_task_is_said_with_its_reason_and_does_not_run() -> None:
    state = RunState()
    state.started("w1", 1, 0.0, restarted=False)
    state.see_status(1, worker(task("settlement/0"), task("settlement/1", state="stopped", reason="offsets are gone")), 1.0)
    assert state.trouble() == ["w1: settlement/1 stopped: offsets are gone"]
    assert state.tasks_running() == {"settlement/0"}
