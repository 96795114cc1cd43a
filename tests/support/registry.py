"""A real schema registry, Apicurio from Maven: a process of its own on a port of its own, ended by its pid with this process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.kafka_runtime import cache_folder, fetch, find_java
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, free_port

POM = ROOT / "docker" / "registry" / "pom.xml"
PATH = "/apis/ccompat/v7"
START_DEADLINE_S = 120.0
"""4 s on a quiet machine."""
HEAP_MB = 192


class LocalRegistry:
    """One registry; what it was told survives :meth:`kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        found = re.search(r"<version>(\d+\.\d+\.\d+)</version>", POM.read_text(encoding="utf-8"))
        assert found
        self.version = found[1]
        self._supervisor: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(signal.SIGTERM)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def launch(self) -> None:
        """Start it, downloading it the first time; :meth:`wait_until_ready` waits."""
        home = cache_folder(f"apicurio-registry-{self.version}")
        fetch(home, f"Apicurio Registry {self.version}", POM, "dependency:unpack")
        java = find_java()
        assert java, "the broker runs on the same Java"
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": str(self.port),
            "apicurio.storage.sql.kind": "h2",
            # Without a delay each schema is on disk before it is answered, so that a kill loses none.
            "apicurio.datasource.url": f"jdbc:h2:file:{self.folder / 'schemas'};WRITE_DELAY=0",
        }
        command = [
            java,
            f"-Xmx{HEAP_MB}m",
            "-XX:TieredStopAtLevel=1",
            *(f"-D{name}={value}" for name, value in properties.items()),
        ]
        command += ["-jar", str(next(home.glob("*-runner.jar")))]
        options = ["--folder", str(self.folder), "--port", str(self.port), "--"]
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "streams.broker_supervisor", *options, *command],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        wait_for("the schema registry answers", self._answers, START_DEADLINE_S)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGUSR1)

    def _answers(self) -> bool:
        assert self._supervisor is not None
        assert self._supervisor.poll() is None, (self.folder / "broker.out").read_text(errors="replace")[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:  # noqa: S310 - of this machine
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _end(self, number: int) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        supervisor.send_signal(number)
        supervisor.wait(30)
        for pipe in (supervisor.stdin, supervisor.stdout):
            if pipe:
                pipe.close()
