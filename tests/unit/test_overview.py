"""What `tally status` says, from what pages and cluster tell of the same moment."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.console import Console

from schemas.events import TaskMarker
from streams.cli.status import show
from streams.fleet import Member, Worker
from streams.lag import Lag
from streams.marker import TopicPartition, make_marker
from streams.overview import SILENT, UNOWNED, Overview, TaskRow, as_plain, overview, without_page
from streams.topology import TOPOLOGY

NOW_MS = 1_795_000_100_000
INPUTS = [(topic.name, partition) for stage in TOPOLOGY for topic in stage.reads for partition in range(12)]


def member(worker: str, partitions: list[TopicPartition] | None = None) -> Member:
    return Member(worker, f"m-{worker}", "10.0.0.7", "http://127.0.0.1:6067", tuple(partitions or ()))


def page(**task: Any) -> dict[str, Any]:
    return {"state": "running", "reason": "", "retry_at_ms": None, "counters": {}, **task}


def worker(name: str, *pages: dict[str, Any], **status: Any) -> Worker:
    whole = {"epochs_count": 17, "aborts": {"ILLEGAL_GENERATION": 2, "STUCK": 1}, "started_at_ms": NOW_MS - 90_000, "ready": True}
    return Worker(member(name), {**whole, "waiting_for": [], "tasks": list(pages), **status})


def every(state: str = "running") -> list[dict[str, Any]]:
    return [page(task=f"{stage.name}/{partition}", state=state) for stage in TOPOLOGY for partition in range(12)]


def seen(
    *workers: Worker, lags: dict[TopicPartition, Lag] | None = None, markers: dict[TopicPartition, TaskMarker] | None = None
) -> Overview:
    every_lag = dict.fromkeys(INPUTS, Lag(0)) | (lags or {})
    return overview(TOPOLOGY, "", "tally", workers, every_lag, markers or {}, NOW_MS)


def row(of: Overview, name: str) -> TaskRow:
    return next(task for task in of.tasks if task.task == name)


def marked(paused: str = "", counters: dict[str, int] | None = None) -> TaskMarker:
    found = make_marker(9, "w1", {("orders", 3): (0, 7)}, counters or {})
    return TaskMarker(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "paused": paused})


def test_nothing_is_wrong_while_every_task_runs() -> None:
    found = seen(worker("w1", *every()))

    assert (found.problems, found.notes, found.states) == ([], [], {"running": 36})
    [said] = found.workers
    assert (said.epochs_count, said.aborts_count, said.state, len(said.tasks)) == (17, 3, "ready", 36)


@pytest.mark.parametrize("state", ["held", "restoring"])
def test_what_passes_by_itself_is_no_problem(state: str) -> None:
    assert seen(worker("w1", *every(state))).problems == []


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_a_task_that_waits_for_a_person_is_a_problem_with_its_reason(state: str) -> None:
    pages = every()
    pages[7] |= {"state": state, "reason": "too many dead letters"}

    assert seen(worker("w1", *pages)).problems == [f"task settlement/7 is {state}: too many dead letters"]


def test_without_a_worker_the_cluster_tells_what_it_can() -> None:
    markers = {
        ("settlement-changelog", 3): marked("", {"consumed": 7, "newest_ms|orders": 5_000, "newest_ms|payments": 9_000}),
        ("settlement-changelog", 4): marked("too many dead letters"),
    }
    found = seen(lags={("orders", 3): Lag(2, NOW_MS - 3_000), ("payments", 3): Lag(1, NOW_MS - 1_000)}, markers=markers)

    three = row(found, "settlement/3")
    assert (three.owner, three.state, three.lag_records, three.lag_seconds, three.newest_event_ms) == (
        None,
        UNOWNED,
        3,
        3.0,
        9_000,
    )
    assert found.counters["consumed"] == 7
    assert (found.lag_records, found.lag_seconds) == (3, 3.0)
    assert found.problems == [
        "task settlement/4 has no owner, and is paused: too many dead letters",
        "36 tasks have no owner: settlement 0-11 customers 0-11 revenue 0-11",
    ]


def test_the_tasks_of_a_worker_that_does_not_answer_are_known_from_the_cluster() -> None:
    silent = Worker(member("w1", INPUTS))
    found = seen(silent, markers={("settlement-changelog", 4): marked("too many dead letters")})

    assert {task.owner for task in found.tasks} == {"w1"}
    assert (row(found, "settlement/3").state, row(found, "settlement/4").state) == (SILENT, "paused")
    assert found.notes == [
        "the page of w1 at 127.0.0.1:6067 does not answer; if it died, others take over when the group gives it up"
    ]
    assert found.problems == ["task settlement/4 is paused: too many dead letters"]
    assert len(without_page(TOPOLOGY, "", [silent])) == 36
    assert without_page(TOPOLOGY, "", [worker("w2", *every())]) == []


def test_a_task_that_its_owner_has_just_been_given_is_not_lost() -> None:
    fresh = Worker(member("w1", INPUTS), {"ready": True, "tasks": [], "aborts": {}})

    assert seen(fresh).states == {"restoring": 36}


def test_workers_beyond_the_partitions_are_said_to_idle() -> None:
    twelve = [worker(f"w{number}", *every()[number::12]) for number in range(12)]
    assert seen(*twelve).notes == []

    assert seen(*twelve, worker("w12")).notes == [
        "13 workers for 12 partitions: more than 12 workers would idle, as w12 does",
    ]


def test_what_a_worker_waits_for_is_noted() -> None:
    assert seen(worker("w1", *every(), waiting_for=["the cluster"])).notes == ["w1 waits for the cluster"]


def test_a_lag_that_is_unknown_makes_the_sum_unknown_and_not_smaller() -> None:
    lags = dict.fromkeys(INPUTS, Lag(5, NOW_MS - 1_000))
    del lags["orders", 3]
    found = overview(TOPOLOGY, "", "tally", [], lags, {}, NOW_MS)

    assert (row(found, "settlement/3").lag_records, found.lag_records) == (None, None)
    assert row(found, "settlement/4").lag_records == 10


def test_the_json_has_everything_by_names_with_units() -> None:
    plain = json.loads(json.dumps(as_plain(seen(worker("w1", *every())))))

    assert plain["totals"]["tasks_by_state"] == {"running": 36}
    assert plain["tasks"][7]["task"] == "settlement/7"
    assert {"owner", "state", "reason", "lag_records", "lag_seconds", "newest_event_ms"} <= plain["tasks"][7].keys()
    assert plain["workers"][0]["worker"] == "w1"


def test_people_see_it_as_tables_and_nothing_from_outside_steers_their_terminal() -> None:
    pages = every()
    pages[7] |= {"state": "paused", "reason": "bad \x1b[31m[bold]record"}
    pages[8] |= {"state": "restoring", "restored_records": 120_000, "restore_left_records": 220_000}
    pages[9] |= {"state": "held", "reason": "the registry is asked", "retry_at_ms": NOW_MS + 4_000}
    pages[10] |= {"probe_left": 4_200}
    lags = {("orders", 0): Lag(1_234, NOW_MS - 7_200_000), ("payments", 0): Lag(0)}
    out = io.StringIO()

    show(seen(worker("w1", *pages), lags=lags), Console(file=out, width=180))

    text = out.getvalue()
    assert "settlement 0-6,10-11 customers 0-11 revenue 0-11 restoring settlement 8 paused settlement 7 held settlement 9" in text
    assert re.search(r"settlement/0 +w1 +running +1,234 +2.0 h", text)
    assert "restored 120,000 records, 220,000 left" in text
    assert "the registry is asked (tried again in 4.0 s)" in text
    assert "\\x1b[31m[bold]record" in text
    assert re.search(r"settlement/10 .* on probe: whatever dies, it goes on for 4,200 records", text)
    assert "\x1b" not in text
    assert "1 worker   36 tasks: 33 running" in text


def test_f14_a_restore_that_waits_for_room_says_so_in_place_of_its_progress() -> None:
    pages = every()
    full = "the disk has no room for its store: No space left on device"
    pages[8] |= {"state": "restoring", "reason": full, "retry_at_ms": NOW_MS + 2_000, "restored_records": 0}
    out = io.StringIO()

    found = seen(worker("w1", *pages))
    show(found, Console(file=out, width=160))

    assert f"{full} (tried again in 2.0 s)" in out.getvalue()
    assert found.problems == [], "it passes by itself"
