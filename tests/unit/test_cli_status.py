"""`tally status`: its exit code tells a script whether a person must look."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

import pytest
from click.testing import CliRunner, Result

from streams.cli import status
from streams.fleet import Worker
from streams.overview import SILENT, UNOWNED, Overview
from streams.settings import Settings
from streams.tasks import TaskState
from tests.unit.test_overview import INPUTS, every, member, seen, worker

EXIT_CODES = {
    "running": 0, "restoring": 0, "held": 0, SILENT: 0,
    "paused": 1, "stopped": 1, UNOWNED: 1,
}  # fmt: skip
"""By the state of one task among running ones. What is held or restored goes on by itself; a silent owner still works."""


def one_of_36(state: str) -> Overview:
    """Give a deployment in which settlement/7 is in a state and every other task runs."""
    others = [task for task in every() if task["task"] != "settlement/7"]
    mine = [where for where in INPUTS if where in {("orders", 7), ("payments", 7)}]
    match state:
        case "unowned":
            return seen(worker("w1", *others))
        case "silent":
            return seen(worker("w1", *others), Worker(member("w2", mine)))
    pages = every()
    pages[7] |= {"state": state, "reason": "there is one"}
    return seen(worker("w1", *pages))


def run(monkeypatch: pytest.MonkeyPatch, found: Overview, *arguments: str) -> Result:
    class Looker:
        """Sees what the test says."""

        def __init__(self, settings: Settings) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

        def look(self) -> Overview:
            return found

    monkeypatch.setattr(status, "Looker", Looker)
    return CliRunner().invoke(status.command, ["--bootstrap-servers", "127.0.0.1:1", *arguments])


def test_every_state_has_its_exit_code() -> None:
    assert EXIT_CODES.keys() == {*TaskState, SILENT, UNOWNED}


@pytest.mark.parametrize(("state", "exit_code"), EXIT_CODES.items())
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_the_exit_code_is_1_while_one_task_needs_a_person(
    monkeypatch: pytest.MonkeyPatch, state: str, exit_code: int, arguments: tuple[str, ...]
) -> None:
    found = one_of_36(state)
    assert found.states == ({"running": 36} if state == "running" else {"running": 35, state: 1})

    result = run(monkeypatch, found, *arguments)

    assert result.exit_code == exit_code, result.output
    if arguments:
        assert {task["task"]: task["state"] for task in json.loads(result.output)["tasks"]}["settlement/7"] == state
        return
    listed = next(line for line in result.output.splitlines() if line.startswith("settlement/7 "))
    assert listed.split()[:3] == ["settlement/7", {UNOWNED: "-", SILENT: "w2"}.get(state, "w1"), state]
    assert ("problem: " in result.output) == bool(exit_code)
    assert ("next: mend what is wrong, then tally tasks resume settlement/7\n" in result.output) == (state == "paused")
