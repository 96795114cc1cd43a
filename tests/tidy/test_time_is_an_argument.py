"""I6: no decision reads a clock; besides the import contract, nothing in the agents calls one by another way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

AGENTS = Path(__file__).parents[2] / "agents"
CLOCKS = {"time", "datetime", "asyncio", "random", "uuid", "os", "secrets"}


@pytest.mark.parametrize("file", sorted(AGENTS.rglob("*.py")), ids=lambda file: str(file.relative_to(AGENTS)))
def test_i6_no_agent_reads_a_clock_or_throws_dice(file: Path) -> None:
    if file.name == "testing.py":
        return  # the double runs agents on an event loop; it decides nothing
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name not in {"now", "utcnow", "monotonic", "perf_counter", "time_ns", "__import__"}, f"{file}: {name}"
    assert not imported & CLOCKS, f"{file} imports {imported & CLOCKS}"
