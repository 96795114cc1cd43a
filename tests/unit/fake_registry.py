"""A schema registry over HTTP as small as the questions that Tally asks; it answers wrongly as the test says."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import UUID

PATH = "/apis/ccompat/v7"


class FakeRegistry:
    """A context manager; :attr:`url` is its address. ``answers`` has what it says instead, by the path's begin."""

    def __init__(self, login: str = "") -> None:
        self.subjects: dict[str, list[int]] = {}
        self.schemas: dict[int, dict[str, Any]] = {}
        self.guids: dict[str, int] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: Counter[str] = Counter()
        self._login = login
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        login = f"{self._login}@" if self._login else ""
        return f"http://{login}127.0.0.1:{self._server.server_port}{PATH}"

    def add(self, text: str, *, guid: UUID | None = None, **more: Any) -> int:
        """Know a schema under the next id; equal ones share theirs."""
        schema = {"schema": text, **more}
        schema_id = next((known for known, there in self.schemas.items() if there == schema), 100 + len(self.schemas))
        self.schemas[schema_id] = schema
        if guid is not None:
            self.guids[str(guid)] = schema_id
        return schema_id

    def answer(self, method: str, path: str, body: dict[str, Any], login: str) -> tuple[int, bytes]:
        path = path.removeprefix(PATH).partition("?")[0]
        self.asked[f"{method} {path}"] += 1
        for begin, said in self.answers.items():
            if path.startswith(begin):
                return said
        if self._login and login != f"Basic {base64.b64encode(self._login.encode()).decode()}":
            return said_wrong(401, 40101)
        return self._known(path) if method == "GET" else self._posted(path, body["schema"])

    def _known(self, path: str) -> tuple[int, bytes]:
        if path == "/schemas/types":
            return 200, b'["AVRO"]'
        kind, _, name = path.removeprefix("/schemas/").partition("/")
        schema = self.schemas.get(int(name) if kind == "ids" else self.guids.get(name, 0))
        return (200, json.dumps(schema).encode()) if schema else said_wrong(404, 40403)

    def _posted(self, path: str, text: str) -> tuple[int, bytes]:
        subject, _, register = path.removeprefix("/subjects/").partition("/")
        there = [
            known for known in self.subjects.get(subject, ()) if json.loads(self.schemas[known]["schema"]) == json.loads(text)
        ]
        if not there and not register:
            return said_wrong(404, 40403 if subject in self.subjects else 40401)
        if not there:
            there = [self.add(text)]
            self.subjects.setdefault(subject, []).extend(there)
        return 200, json.dumps({"subject": subject, "id": there[0], "version": 1}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say("GET", {})

            def do_POST(self) -> None:
                self._say("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _say(self, method: str, body: dict[str, Any]) -> None:
                status, said = registry.answer(method, self.path, body, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        return Handler


def said_wrong(status: int, code: int) -> tuple[int, bytes]:
    return status, json.dumps({"error_code": code, "message": "no"}).encode()
