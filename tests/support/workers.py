"""Workers as real processes: started, killed, stopped, watched, and always ended by their own pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connectors.ground_truth import Truth
from connectors.judge import judge
from connectors.reader import end_offsets, read_group_offsets, read_topic
from connectors.verdict import Verdict
from tests.support.chains import assert_unbroken

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0


def wait_for(what: str, condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Give the first true value of ``condition``; fail with ``what`` when the deadline has passed."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"after {deadline_s:.0f} s still not: {what}")


class Worker:
    """One worker process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, web_port: int, worker_id: str) -> None:
        self.process = process
        self.log = log
        self.web_port = web_port
        self.worker_id = worker_id

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def text(self) -> str:
        return self.log.read_text()

    def status(self) -> dict[str, Any]:
        """Give its status page, empty when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/status", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, urllib.error.URLError, json.JSONDecodeError):
            return {}

    def tasks(self, state: str = "running") -> list[str]:
        return [task["task"] for task in self.status().get("tasks", []) if task["state"] == state]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM; give the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def died(self, deadline_s: float = 60.0) -> dict[str, Any]:
        """Wait until a kill point took it; give the evidence that it left."""
        wait_for(f"{self.worker_id} dies at its kill point", lambda: not self.alive, deadline_s)
        assert self.process.returncode == -signal.SIGKILL, self.text[-3000:]
        lines = [line for line in self.text.splitlines() if line.startswith('{"killed_at"')]
        assert lines, "no evidence that the kill point was reached"
        evidence: dict[str, Any] = json.loads(lines[-1])
        return evidence


class Deployment:
    """Workers of one prefix on one broker, and the questions that tests ask of them."""

    def __init__(self, folder: Path, bootstrap_servers: str, prefix: str, **settings: object) -> None:
        self.folder = folder
        self.bootstrap_servers = bootstrap_servers
        self.prefix = prefix
        self.settings = {f"TALLY_{name.upper()}": str(value) for name, value in settings.items()}
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.signal(signal.SIGCONT)
                worker.kill()

    @property
    def group_id(self) -> str:
        return f"{self.prefix}tally"

    def start(
        self,
        worker_id: str,
        environment: Mapping[str, str] | None = None,
        home: str = "home",
        arguments: Sequence[str] = ("-m", "tests.support.entry"),
    ) -> Worker:
        """Start a worker process."""
        log = self.folder / f"{worker_id}-{len(self.workers)}.log"
        port = free_port()
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TALLY_")},
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "TALLY_HOME": str(self.folder / home),
            "TALLY_PREFIX": self.prefix,
            "TALLY_WORKER_ID": worker_id,
            "TALLY_WEB_PORT": str(port),
            **self.settings,
            **(environment or {}),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
            )
        worker = Worker(process, log, port, worker_id)
        self.workers.append(worker)
        return worker

    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    def committed(self, topic: str) -> int:
        """Give the sum of the group's committed offsets on a topic."""
        offsets = read_group_offsets(self.bootstrap_servers, self.group_id)
        return sum(at for (name, _), at in offsets.items() if name == self.prefix + topic)

    def wait_consumed(self, *topics: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the group has committed behind the last record of every partition of the topics."""
        wanted: dict[tuple[str, int], int] = {}
        for topic in topics:
            # A commit is answered before its markers stand everywhere: until then its records cannot be read.
            wait_for(f"no transaction is open on {topic}", lambda: self._settled(topic))  # noqa: B023 - waited for at once
            for record in read_topic(self.bootstrap_servers, self.prefix + topic):
                wanted[record.topic, record.partition] = record.offset + 1

        def done() -> bool:
            offsets = read_group_offsets(self.bootstrap_servers, self.group_id)
            return all(offsets.get(where, 0) >= at for where, at in wanted.items())

        wait_for(f"everything of {', '.join(topics)} is committed", done, deadline_s)

    def _settled(self, topic: str) -> bool:
        name = self.prefix + topic
        return end_offsets(self.bootstrap_servers, name) == end_offsets(self.bootstrap_servers, name, committed_only=False)

    def finish(self, truth: Truth) -> Verdict:
        """Wait until all is consumed, stop every worker well, and judge."""
        self.wait_consumed("orders", "payments")
        self.wait_consumed("revenue-deltas")
        for worker in self.alive():
            assert worker.stop() == 0, worker.text[-3000:]
        assert_unbroken(self.bootstrap_servers, self.prefix)
        return judge(self.bootstrap_servers, self.prefix, self.group_id, truth)


def free_port() -> int:
    """Give a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
