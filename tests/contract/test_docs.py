"""What the documents say is held against what the code does."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import replace

import agents
from agents.envelope import ENVELOPE_RULES
from agents.ports import Runtime, Stream
from agents.revenue import windows
from agents.settlement.decide import RULE_BOOK
from agents.testing import MemoryRuntime
from agents.windows.declared import Window
from agents.windows.stage import Windows
from agents.windows.watermarks import watermarks_of
from schemas import codec, topics
from schemas.events import Cell, Deltas, FlowDeltas, OrderStatus, Source
from schemas.topics import TOPICS
from streams import topology
from streams.app import create_app
from streams.cli import command
from streams.dead_letters import Cause, cut_to_fit, dead_letter_headers
from streams.inbox.remedies import REMEDIES
from streams.settings import Settings, variable_of
from streams.topology import TOPOLOGY, Stage
from tests.unit.test_demo_view import busy, drawn

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")
HOUSES = ("schemas", "agents", "streams", "connectors", "docker", "tests", "bench", ".ci")
EXAMPLE = "agents/refunds_due"
"""The folder that the README's example would make; it is not in the repository."""
DAY_MS = 24 * 60 * 60 * 1000


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_picture_of_the_demo_has_the_words_of_the_screen() -> None:
    [picture] = [block for block in blocks("") if block.startswith("tally demo:")]
    screen = "\n".join(drawn(busy(2), 110, 40))
    for words in (
        r"worker +pid +state +epochs +aborts +consumed +tasks",
        r"in windows +orders +gross +captured +refunded +cancelled",
    ):
        assert re.search(words, picture)
        assert re.search(words, screen)
    for words in ("of its tasks wait", "records to redo", "k kills a worker (SIGKILL)   q ends the demo", "sent ", "lag "):
        assert words in picture
        assert words in screen


def prose(text: str) -> str:
    """Give the text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def table(*heads: str) -> list[list[str]]:
    """Give the rows of the one table with these heads, code marks taken away."""
    lines = README.splitlines()
    starts = [number for number, line in enumerate(lines) if line == f"| {' | '.join(heads)} |"]
    assert len(starts) == 1, f"README has {len(starts)} tables with the heads {heads}"
    rows = []
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == len(heads), line
        rows.append([cell.replace("\\|", "|").replace("`", "") for cell in cells])
    return rows


# Commands.


def commands() -> list[str]:
    """Give every tally command of the documents: lines of sh blocks, spans of prose, in a container, and the demo's last line."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for name in (*DOCUMENTS, "docs/topics.md"):
        lines += spans((ROOT / name).read_text(encoding="utf-8"))
    lines += re.findall(r"next: \.venv/bin/(tally .*)", README)
    lines += re.findall(r"docker/compose.yaml run --rm (tally .*)", README)
    lines += [f"tally demo {options}" for options in re.findall(r'make demo ARGS="([^"]+)"', README)]
    return sorted({line for line in lines if line.startswith("tally ")})


def parse(line: str) -> None:
    """Let click parse a command line down to its leaf, running nothing."""
    found: click.Command = command
    words = shlex.split(line)[1:]
    context: click.Context | None = None
    while True:
        try:
            context = found.make_context(found.name or "tally", words, parent=context)
        except click.exceptions.Exit:  # --help
            return
        if not isinstance(found, click.Group):
            return
        words = [*context._protected_args, *context.args]
        _, inner, words = found.resolve_command(context, words)
        assert inner is not None
        found = inner


def test_the_documents_show_commands_of_every_kind() -> None:
    shown = {line.split()[1] for line in commands()}
    assert {"broker", "topics", "worker", "generate", "tail", "dlq", "demo"} <= shown


@pytest.mark.parametrize("line", commands())
def test_a_command_in_the_documents_exists_with_these_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    parse(line)
    capsys.readouterr()


def test_an_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        parse("tally generate --order 5")


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        shown = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, flags=re.MULTILINE))
        assert shown <= targets, f"{name} shows make {sorted(shown - targets)}"


# Files, and the names in them.


def places(name: str) -> Iterator[tuple[str, str]]:
    """Give each path that a document names in prose, with the name in it after the colon."""
    for span in spans((ROOT / name).read_text(encoding="utf-8")):
        match = re.fullmatch(r"((?:[\w.-]+/)*[\w.-]*\w/?)(?::([A-Za-z_][\w.]*))?", span)
        if match is None or match[1].startswith(EXAMPLE):
            continue
        path, inner = match[1], match[2] or ""
        in_house = "/" in path and path.split("/")[0] in HOUSES
        if in_house or re.search(r"\.(py|md|toml|txt|avsc|properties|xml)$", path):
            yield path, inner


def found(path: str) -> Path | None:
    """Find a path in the repository; one without a folder may stand in any house."""
    if (ROOT / path).exists():
        return ROOT / path
    return next((file for house in HOUSES for file in (ROOT / house).rglob(path)), None) if "/" not in path else None


def names_in(file: Path) -> set[str]:
    """Give the names of functions, classes, methods and constants of a module, methods also as Class.method."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
            names |= {node.name, *inner, *(f"{node.name}.{each}" for each in inner)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_a_document_names_exists_and_has_the_name_it_tells(name: str) -> None:
    wrong = []
    for path, inner in places(name):
        file = found(path)
        if file is None:
            wrong.append(path)
        elif inner and inner not in names_in(file):
            wrong.append(f"{path}:{inner}")
    assert not wrong, f"{name} names what is not there: {wrong}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), f"{name} links to {target}"


# Tables.


def test_the_settings_table_is_the_settings() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        variable = variable_of(name)
        if field.default_factory is not None:
            expected[variable] = "the host's name"
        else:
            expected[variable] = f"{field.default:,}" if isinstance(field.default, int) else str(field.default) or "none"
    assert {row[0]: row[1] for row in table("variable", "default", "meaning")} == expected


def test_the_rule_table_is_the_rule_book_in_its_order() -> None:
    rows = table("reason", "rule", "example", "what the producer should do")
    envelope = [(rule.reason, rule.meaning) for rule in ENVELOPE_RULES]
    assert [(row[0], row[1]) for row in rows] == envelope + [(rule.reason, rule.meaning) for rule in RULE_BOOK]
    assert all(all(row) for row in rows)


def test_the_table_of_unreadable_values_is_the_codecs() -> None:
    rows = table("reason", "meaning", "what the producer should do")
    assert [(row[0], row[1]) for row in rows] == list(codec.REASONS.items())


def test_the_inbox_says_to_producers_what_the_tables_say() -> None:
    rows = [
        *table("reason", "rule", "example", "what the producer should do"),
        *table("reason", "meaning", "what the producer should do"),
    ]
    assert {row[0]: row[-1] for row in rows} == REMEDIES


def test_the_topics_table_is_the_topics() -> None:
    expected = [
        [
            topic.name,
            topic.kind.value,
            topic.key,
            ", ".join(value.__name__ for value in topic.values),
            "last per key" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days",
        ]
        for topic in TOPICS
    ]
    assert table("topic", "kind", "key", "values", "kept") == expected


def test_the_header_table_is_a_dead_letters_headers() -> None:
    cause = Cause("rule", "bad_id", "an id is empty")
    whole = dead_letter_headers(cause, topic="orders", partition=0, offset=0, agent="settlement", at_ms=0, original=None)
    _, _, headers = cut_to_fit(b"o-1", b"?" * 5_000, whole, 4_000)
    assert [row[0] for row in table("header", "what")] == [name for name, _ in headers]


# The example of an agent.


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make the README's example importable, with its topics declared, and give its blocks by their first line."""
    found_blocks = {}
    for block in blocks("python"):
        head, _, body = block.partition("\n")
        found_blocks[head.removeprefix("# ")] = body
    files = [name for name in found_blocks if name.startswith(f"{EXAMPLE}/")]
    assert files == [f"{EXAMPLE}/{module}.py" for module in ("state", "decide", "agent")]
    folder = tmp_path / EXAMPLE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name in files:
        (tmp_path / name).write_text(found_blocks[name], encoding="utf-8")
    declared: dict[str, Any] = {}
    exec(found_blocks["schemas/topics.py"], dict(vars(topics)), declared)  # noqa: S102 - the README's own code is what is tested
    for name, topic in declared.items():
        monkeypatch.setattr(topics, name, topic, raising=False)
    monkeypatch.setattr(agents, "__path__", [*agents.__path__, str(tmp_path / "agents")])
    return found_blocks


def example_module(name: str) -> Any:
    return importlib.import_module(f"{EXAMPLE.replace('/', '.')}.{name}")


@pytest.fixture(autouse=True)
def _forget_the_example() -> Iterator[None]:
    """Take the example's modules away again, so that each test imports its own copy."""
    yield
    for name in [name for name in sys.modules if name.startswith(EXAMPLE.replace("/", "."))]:
        del sys.modules[name]


def test_the_example_agent_does_in_memory_what_the_readme_asserts(example: dict[str, str]) -> None:
    names = {
        "MemoryRuntime": MemoryRuntime,
        "OrderStatus": OrderStatus,
        "replace": replace,
        "declare": example_module("agent").declare,
    }
    assert example["a test"].count("assert ") == 2
    exec(example["a test"], names)  # noqa: S102 - as above


def test_the_example_stage_fits_into_the_topology_of_a_worker(example: dict[str, str], tmp_path: Path) -> None:
    names = vars(topology) | {"REFUND_DUE": example_module("state").REFUND_DUE, "refunds_due": example_module("agent")}
    (stage,) = eval(f"({textwrap.dedent(example['streams/topology.py'])})", names)  # noqa: S307 - as above
    assert isinstance(stage, Stage)
    read_already = {topic for other in TOPOLOGY for topic in other.reads}
    assert not read_already & set(stage.reads), "a topic is read by one stage"
    app = create_app(Settings(bootstrap_servers="127.0.0.1:1", home=tmp_path, worker_id="w1"), (*TOPOLOGY, stage))
    assert stage.name in app.agents


def test_the_example_aggregate_is_added_up_and_becomes_final(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {head.removeprefix("# "): body for head, _, body in (block.partition("\n") for block in blocks("python"))}
    topic_lines, window_lines = (
        said[name] for name in ("schemas/topics.py, and its name into TOPICS", "agents/revenue/windows.py, into REVENUE")
    )
    assert len((topic_lines + window_lines).splitlines()) <= 15
    declared: dict[str, Any] = {}
    exec(topic_lines, dict(vars(topics)), declared)  # noqa: S102 - the README's own code is what is tested
    monkeypatch.setattr(topics, "PAYMENTS_BY_METHOD_1D", declared["PAYMENTS_BY_METHOD_1D"], raising=False)
    added: Window = eval(window_lines, dict(vars(windows)))  # noqa: S307 - as above
    heard = watermarks_of("example")

    def declare(runtime: Runtime) -> None:
        stage = Windows(runtime, (added,), heard, sources_count=1)

        @runtime.agent("example")
        async def example(stream: Stream) -> None:
            async for batch in stream:
                stage.take(batch)

    attempts = FlowDeltas("attempts", (Cell(("m-1", "card"), DAY_MS, (3, 1)), Cell(("m-1", "card"), DAY_MS + 60_000, (5, 0))))
    over = Source(0, 2, 3 * DAY_MS, idle=False)
    world = MemoryRuntime().run(declare, [[(0, Deltas((), (attempts,)))], [(0, Deltas((over,), ()))]])
    rows = [row.value for row in world.rows["payments-by-method-1d"]]
    assert [(row.status, row.attempts_count, row.failures_count, row.failure_rate) for row in rows] == [
        ("provisional", 9, 1, 1 / 9), ("final", 9, 1, 1 / 9),
    ]  # fmt: skip
