"""However a cluster fails, every command says it in the same words and ends with the same exit code."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from connectors.cluster import Cluster
from connectors.reader import ReadError
from connectors.sources.publish import PublishError
from streams.cli import generate, main

SAID = "127.0.0.1:1 does not answer"
SERVERS = ("--bootstrap-servers", "127.0.0.1:1")
EVENT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "order.json"


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["tally", *arguments, *SERVERS])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("tail", ("tail", "orders")),
        ("generate", ("generate", "--orders", "1")),
        ("send", ("send", "orders", str(EVENT))),
        ("dlq_options", ("dlq", "list")),
    ],
)
def test_a_cluster_that_does_not_answer_ends_a_command_with_one_sentence_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, arguments: tuple[str, ...]
) -> None:
    def away(_: Cluster) -> NoReturn:
        raise ReadError(SAID)

    monkeypatch.setattr(importlib.import_module(f"streams.cli.{module}"), "list_topics", away)

    assert ended(monkeypatch, *arguments) == 1
    assert capsys.readouterr() == ("", f"tally: {SAID}\n")


def test_records_that_are_not_delivered_end_generate_the_same_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def undelivered(*_: object) -> NoReturn:
        raise PublishError("7 records were not delivered")

    monkeypatch.setattr(generate, "_check_topics", lambda _: None)
    monkeypatch.setattr(generate, "_send", undelivered)

    assert ended(monkeypatch, "generate", "--orders", "1") == 1
    assert capsys.readouterr() == ("", "tally: 7 records were not delivered\n")
