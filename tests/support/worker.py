"""One worker as a real process: watched by its status page and its log, and ended by its own pid."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_for

PAGE_TIMEOUT_S = 10.0
"""A worker on a busy machine answers between two batches, and a batch in columns takes seconds there."""


class Worker:
    """One worker process and its log. Its end must be accounted for: see :meth:`unexpected_end`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, web_port: int, worker_id: str) -> None:
        self.process = process
        self.log = log
        self.web_port = web_port
        self.worker_id = worker_id
        self._expected_code: int | None = None

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def text(self) -> str:
        return self.log.read_text()

    def status(self) -> dict[str, Any]:
        """Give its status page, empty when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/status", timeout=PAGE_TIMEOUT_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, urllib.error.URLError, json.JSONDecodeError):
            return {}

    def post(self, path: str, **body: object) -> tuple[int, str]:
        """Ask something of one of its pages; give the HTTP status, and what it said."""
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.web_port}/{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - its own page
                return answer.status, json.load(answer)["said"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["said"]

    def task_pages(self) -> dict[str, dict[str, Any]]:
        """Give what the status page says of each owned task, by its name."""
        return {task["task"]: task for task in self.status().get("tasks", [])}

    def tasks(self, state: str = "running") -> list[str]:
        return [name for name, task in self.task_pages().items() if task["state"] == state]

    def epochs_count(self) -> int:
        return int(self.status().get("epochs_count", 0))

    def restored(self) -> dict[str, int]:
        """Give how many changelog records each owned task has read since it was assigned."""
        return {name: task["restored_records"] for name, task in self.task_pages().items()}

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; it must still be alive."""
        assert self.alive, self.unexpected_end()
        self._expected_code = -signal.SIGKILL
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; give the exit code, of which anything but 0 also fails the run."""
        self._expected_code = 0
        self.process.terminate()
        return self.process.wait(timeout_s)

    def died(self, deadline_s: float = 60.0) -> dict[str, Any]:
        """Wait until a kill point took it; give the evidence that it left."""
        self._ends_with(-signal.SIGKILL, "dies at its kill point", deadline_s)
        lines = [line for line in self.text.splitlines() if line.startswith('{"killed_at"')]
        assert lines, "no evidence that the kill point was reached"
        evidence: dict[str, Any] = json.loads(lines[-1])
        return evidence

    def gives_up(self, exit_code: int, sentence: str, deadline_s: float = 60.0) -> None:
        """Wait until it ends by itself with this exit code, and with this in its log."""
        self._ends_with(exit_code, "gives up", deadline_s)
        assert sentence in self.text, self.text[-3000:]

    def _ends_with(self, code: int, what: str, deadline_s: float) -> None:
        wait_for(f"{self.worker_id} {what}", lambda: not self.alive, deadline_s)
        assert self.process.returncode == code, self.text[-3000:]
        self._expected_code = code

    def unexpected_end(self) -> str:
        """Say how it ended if nothing that the test did explains it; empty while it lives."""
        code = self.process.poll()
        if code is None or code == self._expected_code:
            return ""
        return f"{self.worker_id} (pid {self.process.pid}) ended by itself with {code}:\n{self.text[-3000:]}"
