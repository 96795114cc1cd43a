"""Who is who in a group: what a client id says, whose status page answered, and who owns a task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from streams.fleet import Member, Worker, _read_status, member_of, own_status, owner_of, tasks_of
from streams.settings import Settings

GROUP = "p.tally"


def member(settings: Settings, host: str = "/10.0.0.7", member_id: str = "m-1") -> Member:
    return member_of(settings.group_id, settings.client_id, member_id, host, [("p.orders", 3)])


@pytest.mark.parametrize(
    ("web_host", "host", "page"),
    [
        ("127.0.0.1", "/10.0.0.7", "http://127.0.0.1:6067"),
        ("0.0.0.0", "/10.0.0.7", "http://10.0.0.7:6067"),  # noqa: S104
        ("", "/10.0.0.7", "http://10.0.0.7:6067"),
        ("::", "/fd00:0:0:0:0:0:0:7", "http://[fd00:0:0:0:0:0:0:7]:6067"),
        ("::1", "/10.0.0.7", "http://[::1]:6067"),
        ("worker-1.internal", "/10.0.0.7", "http://worker-1.internal:6067"),
    ],
)
def test_a_client_id_says_where_the_page_is(web_host: str, host: str, page: str) -> None:
    settings = Settings(prefix="p.", worker_id="w1", web_host=web_host)

    found = member(settings, host)

    assert (found.worker, found.page, found.member_id, found.partitions) == ("w1", page, "m-1", (("p.orders", 3),))


@pytest.mark.parametrize("client_id", ["rdkafka", "p.tally-w1", "p.tally-w1#", "p.tally-w1#x:y", "other#:6067", "", "#", "#:1"])
def test_a_stranger_in_the_group_is_named_by_its_client_id_and_has_no_page(client_id: str) -> None:
    found = member_of(GROUP, client_id, "m-1", "/10.0.0.7", [])

    assert (found.worker, found.page, found.place) == (client_id, "", "10.0.0.7")


def said(member_id: str, worker: str = "w1", group: str = GROUP) -> dict[str, Any]:
    return {"group": group, "worker": worker, "member_id": member_id, "tasks": []}


def test_a_page_speaks_only_for_the_member_that_it_belongs_to() -> None:
    settings = Settings(prefix="p.", worker_id="w1")
    dead, live = member(settings, member_id="dead"), member(settings, member_id="live")

    assert own_status(live, GROUP, said("live"))
    assert not own_status(dead, GROUP, said("live")), "its successor answers at its address"
    assert not own_status(live, GROUP, said("live", worker="w2")), "another worker of this host"
    assert not own_status(live, GROUP, said("live", group="other.tally")), "another deployment's w1"
    assert not own_status(live, GROUP, {})
    assert not own_status(dead, GROUP, said("")), "its successor, which has not joined yet"


def test_a_task_is_owned_by_who_has_all_of_its_inputs() -> None:
    owned = [("p.orders", 3), ("p.payments", 3), ("p.orders", 4), ("p.revenue-deltas", 4), ("orders", 5), ("payments", 5)]

    assert tasks_of(owned, "p.") == ["settlement/3", "revenue/4"]


def test_an_owner_is_found_by_its_page_first_and_without_a_page_by_the_cluster() -> None:
    settings = Settings(prefix="p.", worker_id="w1")
    both = (("p.orders", 3), ("p.payments", 3))
    silent = Worker(Member("w1", "m-1", "h", "", both))
    answers = Worker(member(settings, member_id="m-2"), {"worker": "w2", "tasks": [{"task": "settlement/3"}]})

    assert owner_of("settlement/3", [silent, answers], "p.") is answers
    assert owner_of("settlement/3", [silent], "p.") is silent
    assert owner_of("settlement/4", [silent, answers], "p.") is None
    assert owner_of("no-such-task", [silent, answers], "p.") is None


class Page(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff\xfe", b"3"])
def test_what_is_no_status_page_counts_as_no_answer(page: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "body", body)

    assert _read_status(page) == {}


def test_a_page_is_asked_directly_whatever_proxy_the_shell_has(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "body", json.dumps(said("m")).encode())
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert _read_status(page) == said("m")
