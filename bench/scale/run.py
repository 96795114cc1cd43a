"""One run of one row, in a process of its own: a broker, live orders, workers, events, the judge.

It is given a file with a :class:`Spec` and writes a :class:`Result` to its standard output, both as JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from bench.figures import Figures, Watch
from bench.growth import disk_bytes
from bench.main_job import Bench, failures_said
from bench.peers.run import Backlog, drained_ends, figures_of, follow
from bench.product import JOINS, RUNS, Worker, parse_restore, running_worker
from bench.scale.declare import program
from bench.scale.judge import problems_of
from bench.scale.preload import SETTLEMENT, preload
from bench.scale.rows import Row
from bench.scale.traffic import LiveOrders, Traffic, traffic
from connectors.sources.publish import Publisher
from schemas.topics import CUSTOMER_DELTAS, REVENUE_DELTAS, TOPICS
from streams.admin import admin_client, apply_topics
from streams.local_broker import LocalBroker
from streams.topology import TOPOLOGY

INTERNAL = (REVENUE_DELTAS.name, CUSTOMER_DELTAS.name)
IDLE_AFTER_MS = 3_600_000
"""Inputs are quiet while live orders are written and restored; a clock that moves by itself would close them all."""
RESTORE_S = 900.0
"""For ten million records, or for the stores of hundreds of tasks, also on a busy machine."""


class Spec(msgspec.Struct, frozen=True):
    """What to run."""

    row: Row
    events_count: int
    seed: int


class Result(msgspec.Struct, frozen=True):
    """What was measured; sizes in bytes. ``problems`` empty: every sum was right.

    Rows are keys and values of the live orders' state as it was written; logs and stores are settlement's: ``_before`` with
    nothing but the live orders in them, ``_after`` the run, which rewrites some and closes the stores.
    """

    row: Row
    events_count: int
    figures: Figures | None
    problems: list[str]
    touched_count: int
    rows_count: int
    rows_bytes: int
    log_bytes_before: int
    log_bytes_after: int
    store_bytes_before: int
    store_bytes_after: int
    restored_count: int
    restore_s: float
    restore_cpu_s: float
    preload_s: float


@dataclass(frozen=True)
class Started:
    """Workers that have all tasks. ``cpu_s`` is the processor time of them all since each asked for its tasks: the restore."""

    workers: list[Worker]
    cpu_s: float


class Run:
    """The deployment of one run."""

    def __init__(self, spec: Spec, broker: LocalBroker, folder: Path) -> None:
        self._row = spec.row
        self._bench = Bench(broker, folder)
        self._broker = broker
        self._folder = folder
        changes = {"memory_mb": spec.row.memory_mb, "idle_after_ms": IDLE_AFTER_MS}
        self.settings = self._bench.settings("scale").model_copy(update=changes)
        self._program = program(spec.row.partitions, "streams.cli")

    def say(self, what: str) -> None:
        """Tell what runs, at most once a second."""
        self._bench.say(f"{self._row.name}: {what}")

    @contextmanager
    def workers(self, phase: str) -> Iterator[Started]:
        """Run the row's workers; when it is entered, each has its share of the tasks, restored and running.

        Raises:
            ProductError: one died, or they did not get that far.
        """
        with ExitStack() as stack:
            workers, cpu_s = [], 0.0
            for number in range(1, self._row.workers + 1):
                settings = self.settings.model_copy(update={"worker_id": f"b{number}"})
                log_file = self._folder / f"{phase}-{number}.log"
                worker = stack.enter_context(running_worker(settings, log_file, self._program))
                worker.wait_for(partial(_has_joined, worker), "joined its group")
                workers.append(worker)
                cpu_s -= _cpu_s(worker)
            for worker in workers:
                worker.wait_for(lambda: self._all_run(workers), "had all its tasks", within_s=RESTORE_S, look_s=0.1)
            yield Started(workers, cpu_s + sum(map(_cpu_s, workers)))
            for worker in workers:
                worker.stop()

    def _all_run(self, workers: Sequence[Worker]) -> bool:
        tasks_count = self._row.partitions * len(TOPOLOGY)
        running = [set(RUNS.findall(worker.log())) for worker in workers]
        self.say(f"{sum(map(len, running)):,} of {tasks_count:,} tasks run")
        return len(set().union(*running)) == tasks_count and all(len(own) >= tasks_count // len(workers) for own in running)

    def measure(self, sent: Traffic) -> Figures | None:
        """Send the events to workers that wait for them, and look on until all is through.

        Raises:
            ProductError: a worker died, or stopped moving.
        """
        with self.workers("run") as started:
            publisher = Publisher(self.settings.cluster, self.settings.prefix)
            publisher.send(sent.sent, progress=lambda count: self.say(f"{count:,} events sent"))
            publisher.close()
            backlog = Backlog.of(self.settings.cluster, self.settings.prefix, self.settings.group_id, INTERNAL)
            samples = follow(backlog, started.workers, self._bench.broker_pid, self.say, ends_itself=False)
        return figures_of(samples, backlog, drained_ends(backlog, samples))

    def store_bytes(self) -> int:
        """Give the size of settlement's stores, of all workers."""
        return sum(map(disk_bytes, self.settings.state_folder.parent.glob(f"*/{SETTLEMENT.name}")))

    def log_bytes(self) -> int:
        """Give the size of settlement's changelog on the broker's disk; 0 where that is in a container."""
        name = SETTLEMENT.changelog.named(self.settings.prefix)
        return sum(log.stat().st_size for log in self._broker.folder.rglob(f"{name}-*/*.log"))


def _has_joined(worker: Worker) -> bool:
    return JOINS in worker.log()


def _cpu_s(worker: Worker) -> float:
    return Watch(worker.process.pid, broker_pid=0).now().cpu_s


def measure(spec: Spec, broker: LocalBroker, folder: Path) -> Result:
    """Do one run: write the live orders, restore them, stop; start again, send events, judge."""
    run, row = Run(spec, broker, folder), spec.row
    settings = run.settings
    apply_topics(admin_client(settings), TOPICS, settings.prefix)
    orders = LiveOrders(row, spec.seed)
    began_s = time.monotonic()
    live = preload(settings, orders, run.say)
    preload_s = time.monotonic() - began_s
    with run.workers("restore") as started:
        restores = [parse_restore(worker.log()) for worker in started.workers]
    log_bytes, store_bytes = run.log_bytes(), run.store_bytes()
    run.say("events are planned")
    sent = traffic(orders, row, spec.events_count, spec.seed)
    figures = run.measure(sent)
    run.say("the judge reads what was committed")
    return Result(
        row=row,
        events_count=spec.events_count,
        figures=figures,
        problems=problems_of(settings.cluster, settings.prefix, sent),
        touched_count=len(sent.touched),
        rows_count=live.rows_count,
        rows_bytes=live.rows_bytes,
        log_bytes_before=log_bytes,
        log_bytes_after=run.log_bytes(),
        store_bytes_before=store_bytes,
        store_bytes_after=run.store_bytes(),
        restored_count=sum(restore.records_count for restore in restores),
        restore_s=max(restore.seconds for restore in restores),
        restore_cpu_s=started.cpu_s,
        preload_s=preload_s,
    )


def main() -> None:
    """Run what the file that is named first asks for."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    with (
        failures_said(),
        tempfile.TemporaryDirectory(prefix="tally-bench-") as folder,
        LocalBroker(Path(folder) / "broker") as broker,
    ):
        result = measure(spec, broker, Path(folder))
    sys.stdout.write(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
