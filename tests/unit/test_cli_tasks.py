"""`tally tasks`: whom it asks, and what it says when nobody answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import tasks
from streams.errors import AnswerError
from streams.fleet import Member, Worker, ask_page
from streams.topology import TOPOLOGY

PREFIX = "t."
SERVERS = ("--bootstrap-servers", "127.0.0.1:1", "--prefix", PREFIX)


class Page(BaseHTTPRequestHandler):
    """A worker's page that answers as the test says, and notes what it was asked."""

    asked: list[tuple[str, Any]]
    answer: tuple[int, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked.append((self.path, json.loads(body)))
        status, text = type(self).answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def page() -> Iterator[tuple[str, type[Page]]]:
    class Own(Page):
        asked: list[tuple[str, Any]] = []  # noqa: RUF012 - one for each test
        answer = (200, b'{"task": "settlement/7", "said": "settlement/7 goes on"}')

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Own
    server.shutdown()
    thread.join()
    server.server_close()


def worker(name: str, address: str, partitions: range, *, answers: bool = True) -> Worker:
    owned = tuple((topic.named(PREFIX), number) for stage in TOPOLOGY for topic in stage.reads for number in partitions)
    told = [{"task": f"{stage.name}/{number}", "state": "running"} for stage in TOPOLOGY for number in partitions]
    return Worker(Member(name, f"id-{name}", "127.0.0.1", address, owned), {"tasks": told} if answers else {})


def run(monkeypatch: pytest.MonkeyPatch, workers: list[Worker], *arguments: str) -> Result:
    monkeypatch.setattr(tasks, "admin_client", lambda _: None)
    monkeypatch.setattr(tasks, "find_workers", lambda _admin, _settings: workers)
    return CliRunner().invoke(tasks.command, [*arguments, *SERVERS])


def test_a_task_is_resumed_by_its_owners_page(monkeypatch: pytest.MonkeyPatch, page: tuple[str, type[Page]]) -> None:
    address, asked = page
    workers = [worker("w1", "http://127.0.0.1:9", range(6)), worker("w2", address, range(6, 12))]
    result = run(monkeypatch, workers, "resume", "settlement/7", "--probe", "20")
    assert (result.exit_code, result.output) == (0, "settlement/7 goes on (w2)\n")
    assert asked.asked == [("/tasks/settlement/7/resume", {"probe": 20})]
    assert run(monkeypatch, workers, "pause", "settlement/7", "--because", " no reason ", "--json").exit_code == 0
    assert asked.asked[1] == ("/tasks/settlement/7/pause", {"because": "no reason"})


def test_what_the_owner_refuses_is_said_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, page: tuple[str, type[Page]]) -> None:
    address, asked = page
    asked.answer = (409, b'{"said": "settlement/7 is stopped: the offsets were reset"}')
    result = run(monkeypatch, [worker("w1", address, range(12))], "resume", "settlement/7")
    assert isinstance(result.exception, AnswerError)
    assert str(result.exception) == "settlement/7 is stopped: the offsets were reset"
    asked.answer = (500, b"<html>")
    result = run(monkeypatch, [worker("w1", address, range(12))], "resume", "settlement/7")
    assert str(result.exception) == "HTTP status 500"


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([], "nobody owns settlement/7 just now, and no worker runs"),
        ([worker("w1", "http://127.0.0.1:9", range(6))], "nobody owns settlement/7 just now, and the workers are w1"),
        ([worker("w1", "http://127.0.0.1:9", range(12))], "w1 owns settlement/7 and its page at 127.0.0.1:9 does not answer"),
        ([worker("a stranger", "", range(12), answers=False)], "which has no page to ask"),
    ],
)
def test_when_nobody_can_be_asked_the_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, workers: list[Worker], said: str
) -> None:
    result = run(monkeypatch, workers, "resume", "settlement/7")
    assert isinstance(result.exception, AnswerError)
    assert said in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", "settlement/12"),
        ("resume", "orders/7"),
        ("resume", "settlement"),
        ("resume", "settlement/7", "--probe", "0"),
        ("pause", "settlement/7"),
        ("pause", "settlement/7", "--because", "  "),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_2(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    result = run(monkeypatch, [worker("w1", "http://127.0.0.1:9", range(12))], *arguments)
    assert result.exit_code == 2, result.output


def test_a_page_that_is_not_there_gives_no_answer() -> None:
    assert ask_page("http://127.0.0.1:9/tasks/settlement/7/resume", {}) == (0, None)
