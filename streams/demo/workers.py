"""The worker processes of a demo: started, killed, started again, and all of them ended by their own pids."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.demo.kill import EPOCHS_BEFORE_KILL
from streams.errors import ClusterError
from streams.settings import Settings

PORTS = range(12_000, 20_000)
"""Below every system's ephemeral range, and beside the local broker's: nobody's outgoing connection takes them."""
STOP_TIMEOUT_S = 20.0
"""A worker promises 10 s; on a busy machine it may take longer, and says so by its exit code."""
GIVE_UP_TIMEOUT_S = 5.0
"""The same when the demo itself has failed and nobody waits for the workers' last epoch."""
DAY = {"TALLY_IDLE_AFTER_MS": "600000"}
"""While there are events to come: what comes after a quiet night is late, and a demo on a slow machine has pauses."""
NIGHT = {"TALLY_IDLE_AFTER_MS": "1000", "TALLY_IDLE_TICK_MS": "1000", "TALLY_IDLE_DELAY_MS": "1000"}
"""Afterwards: what takes minutes in a real night takes seconds."""
COMMAND = (sys.executable, "-c", "from streams.cli import main; main()", "worker")
"""``tally worker`` with this interpreter, wherever the script of that name is."""


@dataclass(frozen=True)
class Running:
    """One live worker process, and where its status page is."""

    worker: str
    process: subprocess.Popen[bytes]
    web_port: int

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid


class Fleet:
    """The workers of one demo; a context manager that leaves none behind, also after an error or Ctrl-C."""

    def __init__(self, settings: Settings, workers: Iterable[str], *, kill_when: Path) -> None:
        self.workers = tuple(workers)
        self.running: dict[str, Running] = {}
        self._settings = settings
        self._kill_when = kill_when
        self._logs = logs_folder(settings)
        self._logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_all(GIVE_UP_TIMEOUT_S)

    def start(self, worker: str, *, armed: bool = False, night: bool = False) -> Running:
        """Start a worker; ``armed`` lets it die in an epoch once the file ``kill_when`` is there, ``night`` lets time go on."""
        port = free_port(taken={each.web_port for each in self.running.values()})
        command = [*COMMAND, "--id", worker, "--web-port", str(port)]
        with self.log(worker).open("ab") as log, interrupts_later():
            process = subprocess.Popen(  # noqa: S603
                command,
                env=self._environment(armed=armed) | (NIGHT if night else DAY),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self.running[worker] = Running(worker, process, port)
        return self.running[worker]

    def kill(self, worker: str) -> None:
        """End a worker with SIGKILL; :meth:`take_ended` gives it."""
        self.running[worker].process.kill()

    def take_ended(self) -> Iterator[tuple[Running, int]]:
        """Give each worker that has ended since the last call, with its exit code (negative: the signal)."""
        for worker, running in list(self.running.items()):
            code = running.process.poll()
            if code is not None:
                del self.running[worker]
                yield running, code

    def log(self, worker: str) -> Path:
        """Give the file with what a worker says."""
        return self._logs / f"{self._settings.prefix}{worker}.log"

    def last_words(self, worker: str) -> str:
        """Give the last line of a worker's log."""
        lines = self.log(worker).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> dict[str, int]:
        """Ask every worker to end (SIGTERM) and give the exit codes; one that does not within 20 s is killed."""
        return self._end_all(STOP_TIMEOUT_S)

    def _end_all(self, timeout_s: float) -> dict[str, int]:
        ending, self.running = self.running, {}
        for running in ending.values():
            running.process.terminate()
        deadline = time.monotonic() + timeout_s
        codes = {}
        for worker, running in ending.items():
            try:
                codes[worker] = running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
                codes[worker] = running.process.wait()
        return codes

    def _environment(self, *, armed: bool) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_KILL_")}
        env |= {
            "KAFKA_BOOTSTRAP_SERVERS": self._settings.bootstrap_servers,
            "SCHEMA_REGISTRY_URL": "",  # the demo sends and judges by the catalogue
            "TALLY_HOME": str(self._settings.home.resolve()),
            "TALLY_PREFIX": self._settings.prefix,
            "TALLY_VERSION": "",
            "TALLY_LOG_FORMAT": "text",  # people read the logs of a demo
        }
        if armed:
            env |= {
                "TALLY_KILL_AT": "before_commit",
                "TALLY_KILL_AFTER_EPOCHS": str(EPOCHS_BEFORE_KILL),
                "TALLY_KILL_WHEN": str(self._kill_when),
            }
        return env


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Keep a Ctrl-C or SIGTERM until the block is done: a process that is started and not yet noted would outlive the demo."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda which, _: came.append(which)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def logs_folder(settings: Settings) -> Path:
    """Give the folder of the workers' logs."""
    return settings.home.resolve() / "logs"


def said_by(code: int) -> str:
    """Give an exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def free_port(taken: Iterable[int] = ()) -> int:
    """Find a port of 127.0.0.1 that nobody has.

    Raises:
        ClusterError: there is none.
    """
    mine = set(taken)
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in mine:
            return port
    raise ClusterError(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1: stop what holds them")
