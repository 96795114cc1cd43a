from __future__ import annotations

from streams.demo.kill import OVERDUE_S, Evidence, Kill, evidence_in, signal_is_due

ORDERS_6, PAYMENTS_6, DELTAS_6, ORDERS_7 = ("d.orders", 6), ("d.payments", 6), ("d.revenue-deltas", 6), ("d.orders", 7)
TASKS = {"settlement/6": (ORDERS_6, PAYMENTS_6), "revenue/6": (DELTAS_6,), "settlement/7": (ORDERS_7,)}


def killed(**more: object) -> Kill:
    return Kill("w2", 4711, "kill point", 100.0, TASKS, 87, **more)  # type: ignore[arg-type]


def test_evidence_is_found_among_other_lines_and_by_its_own_pid() -> None:
    log = [
        "2026-11-24 00:00:00 INFO streams.worker worker w2 joins\n",
        '{"killed_at": "before_commit", "epoch": 12, "records": 5, "pid": 1}\n',
        '{"killed_at": "before_commit", "epoch": 88, "records": 1310, "pid": 4711}\n',
        '{"killed_at": "bef',
    ]
    assert evidence_in(log, 4711) == Evidence(88, 1_310, 4711)
    assert evidence_in(log, 7) is None
    assert evidence_in([], 1) is None


def test_the_takeover_ends_when_the_last_task_with_lag_has_answered_and_waits_for_no_other() -> None:
    kill = killed()
    kill.see_offsets({ORDERS_6: 999}, 100.1)  # before the lag is known nothing is decided
    assert not kill.settled
    kill.see_lag({ORDERS_6: 10, PAYMENTS_6: 20, DELTAS_6: 5}, {PAYMENTS_6: 30, DELTAS_6: 2, ("d.orders", 0): 400})
    assert kill.waiting == {"settlement/6", "revenue/6"}
    assert kill.lag_records == 32  # of its own partitions only
    kill.see_offsets({ORDERS_6: 10, PAYMENTS_6: 20, DELTAS_6: 5}, 103.0)
    kill.see_offsets({ORDERS_6: 10, PAYMENTS_6: 45, DELTAS_6: 5}, 106.1)
    assert kill.waiting == {"revenue/6"}
    kill.see_offsets({ORDERS_6: 10, PAYMENTS_6: 45, DELTAS_6: 7}, 106.4)
    kill.see_offsets({ORDERS_6: 10, PAYMENTS_6: 50, DELTAS_6: 9}, 109.0)
    assert kill.settled
    assert kill.takeover_s is not None
    assert round(kill.takeover_s, 3) == 6.4


def test_a_task_that_had_committed_nothing_yet_answers_with_its_first_commit() -> None:
    kill = killed()
    kill.see_lag({}, {ORDERS_7: 1})
    kill.see_offsets({ORDERS_7: 1}, 101.0)
    assert kill.takeover_s == 1.0


def test_a_death_without_lag_is_settled_at_once_and_does_not_count() -> None:
    kill = killed(evidence=Evidence(88, 1_310, 4711))
    kill.see_lag({ORDERS_6: 10}, {ORDERS_6: 0})
    assert (kill.settled, kill.takeover_s, kill.counts) == (True, None, False)
    assert kill.sentence() == "w2 (pid 4711) killed in epoch 88, 1,310 records redone, its tasks had no lag"


def test_a_kill_counts_after_ten_epochs_with_lag() -> None:
    for epoch, lag, counts in ((10, 1, True), (9, 1, False), (10, 0, False)):
        kill = killed(evidence=Evidence(epoch, 3, 4711))
        kill.see_lag({}, {ORDERS_6: lag})
        assert kill.counts is counts


def test_a_kill_says_what_it_was() -> None:
    kill = killed(evidence=Evidence(88, 1_310, 4711), takeover_s=6.13)
    assert kill.sentence() == "w2 (pid 4711) killed in epoch 88, 1,310 records redone, its tasks answered after 6.1 s"
    outside = Kill("w2", 4711, "signal", 100.0, TASKS, 87)
    assert outside.sentence() == (
        "w2 (pid 4711) killed by a signal from outside, since it did not reach its kill point after about 87 epochs, "
        "its tasks have not answered"
    )
    assert Kill("w1", 1, "key", 0.0, {}, 3).sentence().startswith("w1 (pid 1) killed by hand after about 3 epochs")
    assert kill.as_json()["records_redone"] == 1_310


def test_the_signal_is_due_some_time_after_arming_and_never_before_a_successor_had_that_time_too() -> None:
    assert not signal_is_due(1_000.0, armed_s=None, started_s=0.0)
    assert not signal_is_due(10.0 + OVERDUE_S, armed_s=10.0, started_s=0.0)
    assert signal_is_due(10.1 + OVERDUE_S, armed_s=10.0, started_s=0.0)
    assert not signal_is_due(10.1 + OVERDUE_S, armed_s=10.0, started_s=12.0)
