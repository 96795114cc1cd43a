from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.demo.kill import Kill
from streams.demo.state import RunState, TaskSample, WorkerSample
from streams.demo.view import Screen, draw, line, money_rows, screen_of


def busy(workers: int, *, keys: bool = True) -> Screen:
    state = RunState()
    for number in range(workers):
        state.started(f"w{number + 1}", 4_000 + number, 0.0, restarted=False)
        settlement = {
            "consumed": 1_000, "applied": 990, "duplicates": 8, "dead": 2, "dead|null_value": 1, "dead|amount_mismatch": 1,
        }  # fmt: skip
        revenue = {f"windowed|{code}|{name}": 123_456 for code in ("EUR", "JPY", "KWD", "USD") for name in ("orders_count",
                   "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor")}  # fmt: skip
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
        prefix="d.", notes=[f"  9.5 s  w{workers} (pid {last}) killed in epoch 88, 1,310 records to redo"], keys=keys,
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
    assert line(busy(2)) == " 10.0 s  burst: 31,204 of 61,204 events, 0/s, lag 30,000; w1 alive, w2 killed, w2 restarting"


def test_money_is_summed_per_currency_with_the_busiest_first() -> None:
    counters = RunState().counters("revenue")
    counters.update({"windowed|JPY|orders_count": 3, "windowed|EUR|orders_count": 9, "windowed|EUR|gross_minor": 5, "applied": 7})
    first, second = money_rows(counters)
    assert (first.currency, first.amounts["orders_count"], first.amounts["gross_minor"]) == ("EUR", 9, 5)
    assert (second.currency, second.amounts["captured_minor"]) == ("JPY", 0)
