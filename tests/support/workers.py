"""Deployments of worker processes on one broker, and the questions that tests ask of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from connectors.cluster import Cluster
from connectors.ground_truth import Truth
from connectors.judge import Terms, judge
from connectors.reader import end_offsets, read_group_offsets, read_topic
from connectors.sources.sent import Sent
from connectors.verdict import Verdict
from schemas.topics import ORDERS, PAYMENTS
from tests.support.chains import assert_unbroken, is_settled
from tests.support.sending import Sending
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.worker import Worker

__all__ = ["Deployment", "Worker", "wait_for"]

ROOT = Path(__file__).parents[2]
IDLE_AFTER_MS = "600000"
"""A slow machine's pause between two sendings is no quiet night: planned events are days old, and late once the clock moves."""


class Deployment:
    """Workers of one prefix on one broker, and the questions that tests ask of them."""

    def __init__(self, folder: Path, cluster: Cluster, prefix: str, **settings: object) -> None:
        self.folder = folder
        self.cluster = cluster
        self.prefix = prefix
        self.settings = {f"TALLY_{name.upper()}": str(value) for name, value in settings.items()}
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended = self.unexpected_ends()
        for worker in self.alive():
            worker.signal(signal.SIGCONT)
            worker.kill()
        assert error is not None or not ended, "\n".join(ended)

    def unexpected_ends(self) -> list[str]:
        """Say which workers ended although neither the test nor a kill point ended them."""
        return [said for worker in self.workers if (said := worker.unexpected_end())]

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
        variables = {**self.environment(worker_id, home), "TALLY_WEB_PORT": str(port), **(environment or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
            )
        worker = Worker(process, log, port, worker_id)
        self.workers.append(worker)
        return worker

    def environment(self, worker_id: str, home: str = "home") -> dict[str, str]:
        """Give the environment of a process that belongs to this deployment."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("TALLY_")},
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap_servers,
            "SCHEMA_REGISTRY_URL": "",
            "TALLY_HOME": str(self.folder / home),
            "TALLY_PREFIX": self.prefix,
            "TALLY_WORKER_ID": worker_id,
            "TALLY_IDLE_AFTER_MS": IDLE_AFTER_MS,
            **self.settings,
        }

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run a ``tally`` command as an operator of this deployment would; give what it printed, both outputs together."""
        command = [sys.executable, "-c", "from streams.cli import main; main()", *arguments]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment("cli"),
            text=True,
            timeout=90,
            check=False,
            **both,  # type: ignore[call-overload]
        )
        assert done.returncode == code, f"tally {' '.join(arguments)} ended with {done.returncode}: {done.stdout}"
        return str(done.stdout)

    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    def members(self) -> list[str]:
        """Give the client ids of the group's members, of those that died also until their session has ended."""
        admin = AdminClient(self.cluster.producer())
        group = admin.describe_consumer_groups([self.group_id], request_timeout=10)[self.group_id].result()
        return [member.client_id for member in group.members]

    def committed(self, topic: str) -> int:
        """Give the sum of the group's committed offsets on a topic."""
        offsets = read_group_offsets(self.cluster, self.group_id)
        return sum(at for (name, _), at in offsets.items() if name == self.prefix + topic)

    def state_of(self, worker_id: str, home: str = "home") -> Path:
        """Give the folder of a worker's stores."""
        return self.folder / home / "state" / f"{self.prefix}{worker_id}"

    def ends(self) -> dict[tuple[str, int], int]:
        """Give the offset behind the last event of every input partition."""
        return {
            (name, partition): end
            for name in (ORDERS.named(self.prefix), PAYMENTS.named(self.prefix))
            for partition, end in end_offsets(self.cluster, name, committed_only=False).items()
        }

    def lag(self, tasks: Iterable[str] | None = None, ends: Mapping[tuple[str, int], int] | None = None) -> int:
        """Give how many delivered events are not committed yet: all, or those of the settlement tasks among ``tasks``.

        ``ends`` are of an earlier look: then what came since is left out.
        """
        ends = self.ends() if ends is None else ends
        committed = read_group_offsets(self.cluster, self.group_id)
        partitions = None if tasks is None else {int(task.split("/")[1]) for task in tasks if task.startswith("settlement/")}
        return sum(
            max(0, end - committed.get(where, 0)) for where, end in ends.items() if partitions is None or where[1] in partitions
        )

    def sending(self, records: Sequence[Sent], events_per_s: float) -> Sending:
        """Send records from a thread for as long as its context is open, and then what is left."""
        return Sending(self.cluster, self.prefix, records, events_per_s)

    def wait_consumed(self, *topics: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the group has committed behind the last record of every partition of the topics."""
        wanted: dict[tuple[str, int], int] = {}
        for topic in topics:
            wait_for(f"no transaction is open on {topic}", lambda: is_settled(self.cluster, self.prefix + topic))  # noqa: B023 - waited for at once
            for record in read_topic(self.cluster, self.prefix + topic):
                wanted[record.topic, record.partition] = record.offset + 1

        def done() -> bool:
            self._assert_no_unexpected_end()
            offsets = read_group_offsets(self.cluster, self.group_id)
            return all(offsets.get(where, 0) >= at for where, at in wanted.items())

        wait_for(f"everything of {', '.join(topics)} is committed", done, deadline_s)

    def _assert_no_unexpected_end(self) -> None:
        ended = self.unexpected_ends()
        assert not ended, "\n".join(ended)

    def finish(self, truth: Truth) -> Verdict:
        """Wait until all is consumed, stop every worker well, and judge, by the terms that the deployment has."""
        self.wait_consumed("orders", "payments")
        self.wait_consumed("revenue-deltas", "customer-deltas")
        for worker in self.alive():
            assert worker.stop() == 0, worker.text[-3000:]
        self._assert_no_unexpected_end()
        assert_unbroken(self.cluster, self.prefix)
        terms = Terms(grace_ms=int(self.settings.get("TALLY_GRACE_MS", Terms().grace_ms)))
        return judge(self.cluster, self.prefix, self.group_id, truth, terms)


def free_port() -> int:
    """Give a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
