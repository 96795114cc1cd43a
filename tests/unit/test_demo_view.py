from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.demo.kill import Kill
from streams.demo.main import last_minute_ms
from streams.demo.state import RunState, TaskSample, WorkerSample
from streams.demo.view import Screen, draw, line, money_rows, screen_of, time_text


def busy(workers: int, *, keys: bool = True) -> Screen:
    state = RunState()
    for number in range(workers):
        state.started(f"w{number + 1}", 4_000 + number, 0.0, restarted=False)
        settlement = {
            "consumed": 1_000, "applied": 990, "duplicates": 8, "dead": 2, "dead|null_value": 1, "dead|amount_mismatch": 1,
        }  # fmt: skip
        settlement |= {"newest_ms|orders": 86_340_000, "newest_ms|payments": 86_000_000}
        revenue = {f"windowed|{code}|{name}": 123_456 for code in ("EUR", "JPY", "KWD", "USD") for name in ("orders_count",
                   "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor")}  # fmt: skip
        revenue["watermark_ms"] = 86_267_000 + number
        tasks = (
            TaskSample(f"settlement/{number}", "running", "", 3, settlement),
            TaskSample(f"revenue/{number}", "running", "", 3, revenue),
        )
        state.see_status(4_000 + number, WorkerSample(88, 1, tasks), 9.0)
    last = 4_000 + workers - 1
    state.ended(last, "killed")
    state.started(f"w{workers}", 5_000, 9.5, restarted=True)
    kill = Kill(f"w{workers}", last, "kill point", 9.5, {"settlement/1": (("d.orders", 1),)})
    state.see_offsets({("d.orders", 0): 30_000, ("d.payments", 3): 1_204}, ("d.orders", "d.payments"), 10.0)
    return screen_of(
        state, [kill], title="tally demo", phase="burst", began_s=0.0, now_s=10.0, sent=61_204, total=61_204,
        prefix="d.", grace_ms=600_000, keys=keys,
        notes=[f"  9.5 s  w{workers} (pid {last}) killed in epoch 88, 1,310 records to redo"],
    )  # fmt: skip


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(draw(screen, width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [row.rstrip() for row in text.splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
@pytest.mark.parametrize("workers", [1, 2, 12])
def test_a_screen_fits_and_has_the_numbers_and_every_worker(width: int, height: int, workers: int) -> None:
    rows = drawn(busy(workers), width, height)
    assert len(rows) <= height
    assert max(map(len, rows)) <= width
    text = "\n".join(rows)
    assert "31,204 of 61,204 events   sent 61,204" in text
    assert "lag 30,000" in text
    assert "watermark 23:57:47, 73 s behind the newest event; minutes final up to 23:47" in text
    assert f"duplicates {8 * workers:,}" in text
    assert "k kills a worker" in text
    assert "killed in epoch 88" in text
    for number in range(1, workers + 1):
        assert any(row.startswith(f"w{number} ") for row in rows)


def test_a_killed_worker_stands_there_until_its_tasks_have_answered_and_its_successor_beside_it() -> None:
    rows = drawn(busy(2), 100, 30)
    [dead] = [row for row in rows if "4001" in row and "killed" in row and row.startswith("w2")]
    assert "1 of its tasks wait, 0.5 s" in dead
    assert any(row.startswith("w2") and "5000" in row and "restarting" in row for row in rows)


def test_without_keys_nobody_is_told_to_press_them() -> None:
    assert "k kills" not in "\n".join(drawn(busy(2, keys=False), 80, 24))


def test_the_plain_line_says_the_same_for_a_log() -> None:
    assert line(busy(2)) == (
        " 10.0 s  burst: 31,204 of 61,204 events, 0/s, lag 30,000; "
        "watermark 23:57:47, 73 s behind the newest event; minutes final up to 23:47; w1 alive, w2 killed, w2 restarting"
    )


def test_money_is_summed_per_currency_with_the_busiest_first() -> None:
    counters = RunState().counters("revenue")
    counters.update({"windowed|JPY|orders_count": 3, "windowed|EUR|orders_count": 9, "windowed|EUR|gross_minor": 5, "applied": 7})
    first, second = money_rows(counters)
    assert (first.currency, first.amounts["orders_count"], first.amounts["gross_minor"]) == ("EUR", 9, 5)
    assert (second.currency, second.amounts["captured_minor"]) == ("JPY", 0)


def test_what_is_open_is_said_when_it_was_looked_at_and_nothing_is_made_up_before() -> None:
    state = RunState()
    assert time_text(state, 600_000) == "no watermark yet"
    assert not state.all_final
    state.started("w1", 1, 0.0, restarted=False)
    tasks = (
        TaskSample("settlement/0", "running", "", 1, {"newest_ms|orders": 86_340_000}),
        TaskSample("revenue/0", "running", "", 1, {"watermark_ms": 90_000_000}),
    )
    state.see_status(1, WorkerSample(1, 0, tasks), 1.0)
    state.see_windows(0, 7)
    assert state.all_final
    assert time_text(state, 600_000) == "0 windows open, 7 final; watermark 01:00:00, past the newest event"
    ahead = TaskSample("settlement/0", "running", "", 2, {"newest_ms|orders": 90_060_000})
    state.see_status(1, WorkerSample(2, 0, (ahead, tasks[1])), 1.5)
    assert time_text(state, 600_000) == (
        "0 windows open, 7 final; watermark 01:00:00, 60 s behind the newest event; minutes final up to 00:50"
    )


def test_the_demo_ends_in_the_last_minute_of_a_day_of_which_every_window_can_be_final() -> None:
    day_ms, grace_ms = 86_400_000, 600_000
    for now_ms in range(20_000 * day_ms, 20_002 * day_ms, 1_234_567):
        end_ms = last_minute_ms(now_ms, grace_ms)
        assert end_ms % day_ms == day_ms - 60_000
        assert end_ms + 3_600_000 + 60_000 + grace_ms <= now_ms, "an hour of alerts that begins in that minute is over"
        assert now_ms - end_ms < 3 * day_ms


def test_nothing_is_made_up_before_every_source_was_heard() -> None:
    state = RunState()
    state.started("w1", 1, 0.0, restarted=False)
    unheard = WorkerSample(1, 0, (TaskSample("customers/3", "running", "", 1, {}),))
    state.see_status(1, unheard, 2.0)
    assert time_text(state, 600_000) == "no watermark yet"
