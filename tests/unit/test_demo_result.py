from __future__ import annotations

import json
from dataclasses import replace

from connectors.verdict import Outcomes, Problem, Rows, Verdict
from streams.demo.kill import Evidence, Kill
from streams.demo.result import Result

OUTCOMES = Outcomes(61_204, 60_540, 604, 60)
TOPICS = {"revenue-by-merchant-1m": Rows(812, 812), "order-status": Rows(20_000, 20_000), "alerts": Rows(7, 7)}
EXACT = Verdict(TOPICS, OUTCOMES, OUTCOMES, ())
PROBLEM = Problem("missing", "order-status", "o-1-000007", "a row", "none")
WRONG = replace(EXACT, topics={**TOPICS, "order-status": Rows(19_999, 20_000)}, problems=(PROBLEM,))
TAIL = ".venv/bin/tally tail revenue-by-merchant-1m --limit 5"


def result(*kills: Kill, verdict: Verdict | None = EXACT, kill_asked: bool = True) -> Result:
    return Result(20_000, 1, 2, kill_asked, tail_command=TAIL, verdict=verdict, kills=list(kills), kafka="4.1.0")


def kill(lag: int = 5) -> Kill:
    return Kill("w2", 4711, "kill point", 0.0, {}, 87, lag, Evidence(88, 1_310, 4711), takeover_s=6.1)


def test_an_exact_run_ends_with_one_line_that_says_it_all() -> None:
    run = result(kill())
    assert run.last_lines() == (
        "EXACT revenue-by-merchant-1m 812 of 812 rows, order-status 20,000 of 20,000, 1 more topics 7 of 7 | "
        "61,204 events = 60,540 applied + 604 duplicates + 60 dead letters, as sent | "
        "w2 (pid 4711) killed in epoch 88, 1,310 records redone, its tasks answered after 6.1 s | "
        "next: .venv/bin/tally tail revenue-by-merchant-1m --limit 5"
    )
    assert run.exit_code == 0


def test_without_a_kill_asked_for_the_line_has_no_kill() -> None:
    run = result(kill_asked=False)
    assert run.last_lines().endswith(f"60 dead letters, as sent | next: {TAIL}")
    assert run.exit_code == 0


def test_a_wrong_run_begins_with_wrong_and_shows_the_rows_whether_somebody_died_or_not() -> None:
    for run in (result(kill(), verdict=WRONG), result(verdict=WRONG)):
        first, second = run.last_lines().splitlines()
        assert first.startswith("WRONG revenue-by-merchant-1m 812 of 812 rows, order-status 19,999 of 20,000")
        assert second == PROBLEM.sentence()
        assert run.exit_code == 1


def test_a_run_whose_kill_did_not_happen_is_not_exact() -> None:
    by_hand = Kill("w1", 1, "key", 0.0, {}, 50, 10)
    for run in (result(), result(by_hand), result(kill(lag=0))):
        assert run.last_lines().startswith("NOT RUN: all rows are right, but ")
        assert run.exit_code == 3


def test_what_is_in_the_way_is_the_last_line() -> None:
    run = result(verdict=None)
    run.not_run = "install Java 17 or newer and Maven, or Docker"
    assert run.last_lines() == "NOT RUN: install Java 17 or newer and Maven, or Docker"
    assert run.exit_code == 3


def test_the_report_is_json_with_the_verdict_the_kill_and_the_versions() -> None:
    report = json.loads(json.dumps(result(kill()).as_json()))
    assert report["result"] == "EXACT"
    assert report["verdict"]["exact"] is True
    assert report["kills"][0]["takeover_s"] == 6.1
    assert report["versions"]["kafka"] == "4.1.0"
    assert json.loads(json.dumps(result(verdict=None).as_json()))["verdict"] is None
