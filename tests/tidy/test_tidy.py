"""The code lints itself: sizes and words that nobody wants to find later."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("schemas", "agents", "streams", "connectors")
MODULE_LINES_MAX = 350
AGENT_LINES_MAX = 45


def _committed() -> list[Path]:
    """Give every file that git keeps or would keep; without git, every file of the houses."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    if listed.returncode:
        return [path for house in (*HOUSES, "tests") for path in (ROOT / house).rglob("*.py")]
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


FILES = _committed()
MODULES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in HOUSES]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_short_enough_to_be_read_at_once(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    limit = AGENT_LINES_MAX if path.name == "agent.py" else MODULE_LINES_MAX
    assert lines <= limit, f"{_name(path)} has {lines} lines: look for the second noun hiding inside"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{_name(path)} has no docstring"


def _numbers_with_a_unit(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt | None]]:
    """Give each public constant of a module whose name is that of a limit, with what stands after it."""
    word = re.compile(r"(^|_)(MAX|MIN|S|MS|MB|BYTES|RECORDS|CHARS|CHARACTERS|LINES|ROWS)(_|$)")
    for statement, after in zip(body, [*body[1:], None], strict=True):
        target = statement.target if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [None])[0]
        if not (isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z_]*", target.id) and word.search(target.id)):
            continue
        if any(isinstance(node, ast.Constant) and isinstance(node.value, int | float) for node in ast.walk(statement)):
            yield target.id, after


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_i5_a_limit_says_where_its_number_comes_from(path: Path) -> None:
    silent = [
        name
        for name, after in _numbers_with_a_unit(ast.parse(path.read_text()).body)
        if name not in {"DAY_MS", "MINUTE_MS"}
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str))
    ]
    assert not silent, f"{_name(path)}: say below {silent} why that much, or make it a setting (streams/settings.py)"


def test_nothing_is_left_to_do_later() -> None:
    word = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME")) + r")\b")
    assert [
        _name(path) for path in FILES if path.suffix in {".py", ".md", ".sh", ".yaml", ".toml"} and word.search(_text(path))
    ] == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        (
            "a registry's address",
            r"(?i)(--index-url|index-url\s*=|extra-index-url|<repository>\s*<url|/simple/?$|artifactory|nexus\.)",
        ),
        ("a path of one machine", r"(?<![\w.])/(home|Users|root|work|scratch)/\w|/tmp/scratch"),
    ],
)
def test_no_file_carries(what: str, pattern: str) -> None:
    found = re.compile(pattern, re.MULTILINE)
    here = Path(__file__)
    hits = [f"{_name(path)}: {match.group()}" for path in FILES if path != here for match in found.finditer(_text(path))]
    assert hits == [], f"{what} belongs to a machine, not to the repository"


@pytest.mark.parametrize("path", [path for path in FILES if path.name.startswith("test_") and path.suffix == ".py"], ids=_name)
def test_tests_wait_for_a_condition_and_never_for_a_time(path: Path) -> None:
    """A sleep is a poll's pause inside a loop, or it is a guess."""
    tree = ast.parse(path.read_text())
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While | ast.For | ast.AsyncFor)]
    inside = {id(node) for loop in loops for node in ast.walk(loop)}
    sleeps = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "sleep", "asyncio.sleep"}
        and id(node) not in inside
    ]
    assert sleeps == [], f"{_name(path)} sleeps outside a loop in lines {sleeps}"
