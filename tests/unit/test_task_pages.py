"""The pages on which a task is paused and resumed: what they take, and what they refuse before anybody is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.pauses import Answer, Request
from streams.task_pages import add_task_pages

TASK = "settlement/7"


class Web:
    """What Faust's app, its views and the engine's pauses are to a page."""

    def __init__(self, body: bytes, content_type: str = "application/json") -> None:
        self.body = body
        self.content_type = content_type
        self.pages: dict[str, Any] = {}
        self.asked: list[Request] = []

    def page(self, path: str) -> Any:
        return lambda view: self.pages.setdefault(path, view)

    async def ask(self, request: Request, within_s: float) -> Answer:
        self.asked.append(request)
        return Answer(200, "done")

    async def read_request_content(self, _: Any) -> bytes:
        return self.body

    def json(self, value: Any, *, status: int = 200, **_: Any) -> tuple[int, Any]:
        return status, value


def posted(web: Web, action: str) -> tuple[int, dict[str, str]]:
    async def run() -> tuple[int, dict[str, str]]:
        add_task_pages(web, web)  # type: ignore[arg-type]
        view = web.pages[f"/tasks/{{stage}}/{{partition}}/{action}"](web, web)
        answer: tuple[int, dict[str, str]] = await view.post(web, "settlement", "7")
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("action", "body", "status", "said"),
    [
        ("resume", b"", 200, "done"),
        ("resume", b'{"probe": 7}', 200, "done"),
        ("pause", b'{"because": "x"}', 200, "done"),
        ("pause", b"", 400, "missing required field `because`"),
        ("pause", b'{"because": ""}', 400, "length >= 1"),
        ("resume", b'{"probe": -1}', 400, ">= 0"),
        ("resume", b'{"prob": 1}', 400, "unknown field `prob`"),
        ("resume", b"probe=7", 400, "malformed"),
        ("resume", b"[]", 400, "Expected `object`"),
        ("pause", b'{"because": "\xff"}', 400, "cannot be read"),
    ],
)
def test_a_page_takes_what_it_says_and_nothing_else(action: str, body: bytes, status: int, said: str) -> None:
    web = Web(body)
    answered, answer = posted(web, action)
    assert (answered, answer["task"]) == (status, TASK)
    assert said in answer["said"]
    assert len(web.asked) == (status == 200)


def test_a_form_that_a_browser_would_send_without_asking_is_refused() -> None:
    web = Web(b"{}", content_type="text/plain")
    assert posted(web, "resume")[0] == 415
    assert web.asked == []
