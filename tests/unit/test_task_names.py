"""Tasks in a few words."""

from __future__ import annotations

from streams.task_names import tasks_in, tasks_text
from streams.topology import TOPOLOGY


def test_tasks_are_written_in_spans_with_settlement_first_and_what_does_not_run_last() -> None:
    revenue = [(f"revenue/{number}", "running") for number in (5, 0, 1, 2)]
    settlement = [(f"settlement/{number}", "running") for number in range(11)]

    assert tasks_text(revenue + settlement) == "settlement 0-10 revenue 0-2,5"
    assert tasks_text([*revenue[:1], ("revenue/7", "restoring")]) == "revenue 5 restoring revenue 7"
    assert tasks_text([]) == ""


def test_the_tasks_of_a_topology_come_stage_by_stage() -> None:
    found = tasks_in(TOPOLOGY)
    assert [task.name for task in found] == [
        f"{stage}/{number}" for stage in ("settlement", "revenue", "customers") for number in range(12)
    ]
    assert [(task.stage.name, task.partition) for task in found[11:13]] == [("settlement", 11), ("revenue", 0)]
