"""A real Kafka broker on this machine: started, stopped, killed and restarted by its owner, and never outliving it.

Between owner and broker stands a supervisor (``streams/broker_supervisor.py``): a small process that ends the
broker when its owner is gone, also when that was by SIGKILL, or when no client came for a time.
"""

from __future__ import annotations

import base64
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.cluster import Cluster
from schemas.topics import MAX_CHANGELOG_BYTES
from streams.broker_supervisor import STOP_GRACE_S
from streams.errors import BrokerFailed
from streams.kafka_runtime import DEFINITIONS, Runtime, find_runtime

READY_TIMEOUT_S = 60.0
"""A start takes 5 s on a quiet machine."""
HEAP_MB = 512
"""Twice what the reference job needs."""
PORTS = range(20_000, 32_000)
"""Below every system's ephemeral range: while a broker is down, a client that tries again from an
ephemeral port could otherwise be given the broker's own port, and keep it."""
LOG_TAIL_LINES = 15
"""Of the broker's log, in the error that says it died."""


@dataclass(frozen=True)
class Detached:
    """How a broker without an owner ends by itself: after ``idle_s`` seconds without a client.

    It then takes its address out of ``context``, so that later commands do not wait for it.
    """

    idle_s: float
    context: Path


class LocalBroker:
    """One broker with its data in ``folder``; a context manager that starts and stops it.

    The address stays the same over :meth:`stop`, :meth:`kill`, :meth:`restart` and :meth:`start`, and so does the data.
    """

    def __init__(self, folder: Path, *, heap_mb: int = HEAP_MB, extra_properties: Mapping[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self.heap_mb = heap_mb
        self.extra_properties = dict(extra_properties or {})
        self.broker_port, self._controller_port = _free_ports(2)
        self._container: str | None = None
        self._supervisor: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.broker_port}"

    @property
    def cluster(self) -> Cluster:
        """The broker as its clients take it."""
        return Cluster(self.bootstrap_servers)

    @property
    def pid(self) -> int:
        """Process id of the broker itself (of the Docker client, when Docker runs it)."""
        return self._pid

    @property
    def container(self) -> str | None:
        """Name of the container, when Docker runs the broker."""
        return self._container

    @property
    def supervisor_pid(self) -> int:
        """Process id of the process that ends the broker."""
        return self._supervisor.pid if self._supervisor else 0

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            NotRunnable: this machine has nothing to run Kafka with.
            BrokerFailed: it died or did not answer within 60 s; the sentence ends with the tail of its log.

        """
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self, detached: Detached | None = None) -> None:
        """Start it without waiting; ``detached`` lets it outlive this process."""
        runtime = find_runtime(f"tally-{uuid.uuid4().hex[:12]}")
        self._container = runtime.container
        command = self._prepare(runtime)
        options = ["--folder", str(self.folder), "--port", str(self.broker_port)]
        if runtime.container:
            options += ["--container", runtime.container]
        if detached:
            options += ["--idle-s", str(detached.idle_s), "--context", str(detached.context.resolve())]
        with (self.folder / "supervisor.err").open("wb") as said:
            self._supervisor = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "streams.broker_supervisor", *options, "--", *command],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,  # Ctrl-C in the owner's terminal is the owner's to handle
            )
        assert self._supervisor.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        self._pid = int(self._supervisor.stdout.readline() or 0)
        if not self._pid:
            reason = (self.folder / "supervisor.err").read_text(errors="replace")
            raise BrokerFailed(f"the local broker's supervisor did not start it:\n{reason}")

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the broker answers a client, or raise BrokerFailed."""
        deadline = time.monotonic() + timeout_s
        while not self._listens() or not answers(self.cluster):
            if self._supervisor is None or self._supervisor.poll() is not None:
                raise BrokerFailed(f"the local broker died while starting; the last it said:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise BrokerFailed(
                    f"the local broker did not answer within {timeout_s:.0f} s; the last it said:\n{self.log_tail()}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End it (SIGTERM, then SIGKILL after 10 s) and wait for that. Stopping a stopped broker does nothing."""
        if self._supervisor is None:
            return
        self._supervisor.terminate()
        self._forget_supervisor()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait for that."""
        if self._supervisor is None or self._supervisor.poll() is not None:
            raise BrokerFailed("there is no running broker to kill; start() it first")
        self._supervisor.send_signal(signal.SIGUSR1)
        self._forget_supervisor()

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same address and data."""
        self.stop()
        self.start()

    def log_tail(self) -> str:
        """Give the last lines of what the virtual machine and the broker said."""
        lines: list[str] = []
        for name in ("broker.log", "broker.out"):
            file = self.folder / name
            if file.exists():
                lines += file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(lines) or f"nothing; look into {self.folder}"

    def _forget_supervisor(self) -> None:
        assert self._supervisor is not None  # noqa: S101 - for the type checker: both callers asked
        self._supervisor.wait(timeout=2 * STOP_GRACE_S)
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe:
                pipe.close()
        self._supervisor = None
        self._pid = 0

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.broker_port)) == 0

    def _prepare(self, runtime: Runtime) -> list[str]:
        """Write the properties, format the storage the first time, and give the command that serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        template = Template((DEFINITIONS / "server.properties").read_text(encoding="utf-8"))
        properties = template.substitute(
            bind_address=runtime.bind_address,
            broker_port=self.broker_port,
            controller_port=self._controller_port,
            data_folder=f"{runtime.seen(self.folder)}/data",
            message_max_bytes=MAX_CHANGELOG_BYTES,
        )
        extra = "".join(f"{key}={value}\n" for key, value in self.extra_properties.items())
        (self.folder / "server.properties").write_text(f"{properties}\n{extra}", encoding="utf-8")
        # Kafka's own form of an id: 16 bytes in URL-safe base 64.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        storage, serve = runtime.commands(self.folder, heap_mb=self.heap_mb, cluster_id=cluster_id, broker_port=self.broker_port)
        if not (self.folder / "data" / "meta.properties").exists():
            formatted = subprocess.run(storage, capture_output=True, text=True, check=False)  # noqa: S603
            if formatted.returncode != 0:
                raise BrokerFailed(f"Kafka could not format {self.folder}:\n{formatted.stdout}{formatted.stderr}")
        return serve


def answers(cluster: Cluster, timeout_s: float = 2.0) -> bool:
    """Say whether a broker of the cluster answers a client in time."""
    # log_level 0: that nobody listens yet is the question, not a warning.
    admin = AdminClient({**cluster.producer(), "log_level": 0}, logger=None)
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody has. They are let go before the broker takes them, so they are drawn at random."""
    found: list[socket.socket] = []
    try:
        for port in random.sample(PORTS, len(PORTS)):
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                continue
            found.append(candidate)
            if len(found) == count:
                return [taken.getsockname()[1] for taken in found]
        raise BrokerFailed(f"no {count} free ports between {PORTS.start} and {PORTS.stop} on 127.0.0.1: stop what holds them")
    finally:
        for taken in found:
            taken.close()
