"""The local broker of ``tally broker up``: one per home folder, kept running between commands.

Its address and pids stand in the home folder's ``context.json``. A pid alone proves nothing (it may
be another process's by now): it counts together with the time that process was created.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from connectors.cluster import Cluster
from streams.broker_supervisor import BROKER_KEYS, STOP_GRACE_S, count_clients
from streams.context import read_context, update_context
from streams.errors import BrokerFailed
from streams.kafka_runtime import KAFKA_VERSION
from streams.local_broker import READY_TIMEOUT_S, Detached, LocalBroker, answers
from streams.settings import Settings

IDLE_S = 30 * 60.0
"""After half an hour without a client the broker stops by itself."""
CREATED_TOLERANCE_S = 2.0
"""The creation time is reckoned from the boot time, which moves with the clock's corrections."""


@dataclass(frozen=True)
class BrokerStatus:
    """What there is to know of the home folder's broker; sizes as the disk sees them."""

    running: bool
    bootstrap_servers: str
    supervisor_pid: int
    kafka_pid: int
    kafka_version: str
    folder: Path
    folder_bytes: int
    clients_count: int


def broker_up(settings: Settings) -> tuple[BrokerStatus, bool]:
    """Start the broker unless it runs, wait until it answers, and say whether it was started just now.

    Raises:
        NotRunnable: this machine has nothing to run Kafka with.
        BrokerFailed: it died or did not answer within 60 s.

    """
    with _only_one(settings):
        context = read_context(settings.context_file)
        if _process(context, "pid"):
            _wait_until_answering(context["bootstrap_servers"])
            return broker_status(settings), False
        _end(_process(context, "kafka_pid"))  # its supervisor was killed: it would hold the data folder
        broker = LocalBroker(_folder(settings))
        broker.launch(Detached(IDLE_S, settings.context_file))
        try:
            update_context(
                settings.context_file,
                {
                    "bootstrap_servers": broker.bootstrap_servers,
                    "pid": broker.supervisor_pid,
                    "pid_created_s": psutil.Process(broker.supervisor_pid).create_time(),
                    "kafka_pid": broker.pid,
                    "kafka_pid_created_s": psutil.Process(broker.pid).create_time(),
                    "kafka_container": broker.container,
                },
            )
            broker.wait_until_ready()
        except psutil.NoSuchProcess as died:
            broker.stop()
            raise BrokerFailed(f"the local broker died while starting; the last it said:\n{broker.log_tail()}") from died
        except BaseException:
            broker.stop()
            raise
        return broker_status(settings), True


def broker_down(settings: Settings) -> bool:
    """Stop the broker, keep its data, and say whether there was one to stop."""
    with _only_one(settings):
        context = read_context(settings.context_file)
        supervisor, kafka = _process(context, "pid"), _process(context, "kafka_pid")
        _end(supervisor)
        _end(kafka if kafka and _lives(kafka) else None)
        update_context(settings.context_file, dict.fromkeys(BROKER_KEYS))
        return bool(supervisor or kafka)


def broker_status(settings: Settings) -> BrokerStatus:
    """Look at the broker without changing anything."""
    context = read_context(settings.context_file)
    supervisor, kafka = _process(context, "pid"), _process(context, "kafka_pid")
    servers = str(context.get("bootstrap_servers", ""))
    clients = 0
    if supervisor and kafka:
        clients = count_clients(int(servers.rpartition(":")[2]), None if context.get("kafka_container") else kafka.pid)
    folder = _folder(settings)
    # In blocks of 512 bytes: Kafka's index files are sparse, and their lengths would tell gigabytes.
    size = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    return BrokerStatus(
        running=supervisor is not None,
        bootstrap_servers=servers if supervisor else "",
        supervisor_pid=supervisor.pid if supervisor else 0,
        kafka_pid=kafka.pid if kafka else 0,
        kafka_version=KAFKA_VERSION,
        folder=folder,
        folder_bytes=size,
        clients_count=clients,
    )


def _folder(settings: Settings) -> Path:
    return (settings.home / "broker").resolve()


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Let two commands at once start one broker, not two."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _process(context: dict[str, Any], key: str) -> psutil.Process | None:
    """Find the process that the context means, if it still lives."""
    if key not in context:
        return None
    try:
        process = psutil.Process(context[key])
        same = abs(process.create_time() - context[f"{key}_created_s"]) <= CREATED_TOLERANCE_S
    except psutil.NoSuchProcess:
        return None
    return process if same and _lives(process) else None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: psutil.Process | None) -> None:
    """End a process in order and wait for that; it is not our child, so its end is looked for."""
    if process is None:
        return
    deadline = time.monotonic() + 2 * STOP_GRACE_S
    try:
        process.terminate()
        while _lives(process):
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return


def _wait_until_answering(bootstrap_servers: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not answers(Cluster(bootstrap_servers)):
        if time.monotonic() > deadline:
            raise BrokerFailed(
                f"the broker at {bootstrap_servers} runs but does not answer: stop it with `tally broker down`, then up"
            )
        time.sleep(0.1)
