"""The services of docker/compose.yaml without an engine: what the image holds, each service's very command and health check."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from streams.admin import admin_client, delete_topics
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.image import build_by_hand, can_contain, command_of, contained, environment_of, health_command, ours
from tests.support.waiting import wait_for
from tests.support.workers import free_port

WORKERS = ("w1", "w2", "w3")


class Container:
    """One service's command, as a process that has a container's restrictions where this machine allows them."""

    def __init__(self, name: str, installed: Path, folder: Path, **instead: str) -> None:
        self.installed, self.service = installed, ours()[name]
        self.state = folder / name
        self.state.mkdir()
        self.environment = environment_of(self.service, installed, self.state, **instead)
        self.log = folder / f"{name}.log"
        command = contained(command_of(self.service), installed, self.state)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=self.state, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def healthy(self) -> bool:
        """Ask as Docker does: by the image's own command, in the container's environment."""
        program, *arguments = health_command()
        command = [str(self.installed / "bin" / program), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=30, check=False).returncode == 0

    def tasks(self) -> list[str]:
        """Give the tasks that the worker shows on its status page."""
        url = f"http://127.0.0.1:{self.environment['TALLY_WEB_PORT']}/status"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return [task["task"] for task in json.loads(answer.read())["tasks"]]

    def stop(self, deadline_s: float = 30) -> int:
        """Send SIGTERM to the container's first process, as `docker stop` does, and give its exit code."""
        self._first().terminate()
        return self.process.wait(deadline_s)

    def has_begun(self) -> bool:
        """Tell whether the program, and no longer what puts the restrictions around it, has its handler for SIGTERM."""
        return bool(self._children()) and caught_signals(self._first().pid) >> (signal.SIGTERM - 1) & 1 == 1

    def _first(self) -> psutil.Process:
        return self._children()[0] if can_contain() else psutil.Process(self.process.pid)

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(30)


def caught_signals(pid: int) -> int:
    """Give the signals that a process has handlers for, as the kernel's bits."""
    [bits] = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return int(bits, 16)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What the image's first stage would install."""
    return build_by_hand(tmp_path)


def test_the_image_holds_all_that_the_command_needs_and_nothing_of_this_checkout(installed: Path, tmp_path: Path) -> None:
    asked = "import schemas.codec, agents, connectors, streams.worker; print(streams.__file__)"
    done = subprocess.run([installed / "bin" / "python", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(installed)
    assert not list(installed.glob("bin/pip*")), "nothing is installed into a running container"


@pytest.mark.skipif(not can_contain(), reason="no namespaces here: the services run as ordinary processes instead")
def test_a_container_can_write_its_state_only(installed: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    tries = f"""
import os, signal
open({str(state / "x")!r}, "w").close()
for path in ({str(tmp_path / "x")!r}, "/tmp/x"):
    try: open(path, "w")
    except OSError as error: assert error.errno == 30, error
    else: raise SystemExit(path)
print(os.getpid(), [line for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd"))])
"""
    done = subprocess.run(contained(["python", "-c", tries], installed, state), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1 ['CapEff:\\t0000000000000000"), done.stderr
    assert "CapBnd:\\t0000000000000000" in done.stdout


@pytest.mark.skipif(not can_contain(), reason="no namespaces here: nothing can be process 1")
def test_process_1_ends_on_sigterm_before_it_is_a_worker(installed: Path, tmp_path: Path) -> None:
    # Nobody listens there: it would wait for long. Without a handler the kernel would ignore the signal.
    waiting = Container("topics", installed, tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    wait_for("the command has begun", waiting.has_begun)
    assert waiting.stop() == 128 + signal.SIGTERM


@pytest.fixture
def started(broker: LocalBroker, prefix: str, installed: Path, tmp_path: Path) -> Iterator[list[Container]]:
    """Topics, and then the workers, in the order that compose keeps."""
    here = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "TALLY_PREFIX": prefix}
    containers: list[Container] = []
    try:
        topics = Container("topics", installed, tmp_path, **here)
        containers.append(topics)
        assert topics.process.wait(60) == 0, topics.log.read_text()
        assert f"{prefix}orders" in topics.log.read_text()
        for name in WORKERS:
            port = str(free_port())
            containers.append(Container(name, installed, tmp_path, **here, TALLY_WEB_PORT=port))
        yield containers[1:]
    finally:
        for container in containers:
            container.kill()
        delete_topics(admin_client(Settings(bootstrap_servers=broker.bootstrap_servers)), prefix)


def test_the_workers_of_compose_come_up_healthy_share_the_tasks_and_end_well(started: list[Container]) -> None:
    wait_for("all are healthy", lambda: all(worker.healthy() for worker in started))
    ports = [worker.environment["TALLY_WEB_PORT"] for worker in started]
    assert len(set(ports)) == len(started)
    wait_for("each has its share of the tasks", lambda: [len(worker.tasks()) for worker in started] == [TASKS // 3] * 3)
    assert len({task for worker in started for task in worker.tasks()}) == TASKS
    assert [worker.stop() for worker in started] == [0, 0, 0], [w.log.read_text()[-2000:] for w in started]
    assert not any(worker.healthy() for worker in started), "the health check does not look at the worker"
    assert all("has left the group" in worker.log.read_text() for worker in started)
