"""One worker on a backlog, from outside: started, watched by its committed offsets, stopped, started again on no store."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figures, Moment, Watch
from connectors.cluster import Cluster
from connectors.reader import end_offsets, read_group_offsets, read_topic
from schemas.topics import CUSTOMER_DELTAS, ORDERS, PARTITIONS, PAYMENTS, REVENUE_DELTAS
from streams.rule_settings import RuleSettings
from streams.settings import Settings, variable_of
from streams.topology import TOPOLOGY

Offsets = Mapping[tuple[str, int], int]

ROOT = Path(__file__).resolve().parent.parent
TASKS_COUNT = PARTITIONS * len(TOPOLOGY)
SAMPLE_S = 0.1
"""Between two looks at the committed offsets: the end of a run is known to this."""
START_SAMPLE_S = 0.01
"""Between two looks at the log until the first task runs."""
QUIET_S = 5.0
"""Inputs committed and nothing moving for so long: the deltas are through, also where an epoch of windows takes seconds."""
STALL_S = 60.0
"""No progress for so long: something is broken."""
STOP_S = 15.0
"""SIGTERM is answered within 10 s."""
WORKER = (sys.executable, "-c", "from streams.cli import main; main()")
"""The ``tally`` command, also where its script is not on the path."""
TOLD = ("home", "memory_mb", "idle_after_ms")
"""Settings that a worker is told by the bench, beside those of the rules."""
JOINS = "joins group"
"""Logged by a worker that has everything imported and asks for tasks."""
RUNS = re.compile(r"task (\S+) runs from")
RESTORED = re.compile(r"restored (\d+) tasks: (\d+) records in ([\d.]+) s")
LOG_TAIL_LINES = 15


class ProductError(Exception):
    """The worker died or stopped moving; the sentence ends with the tail of its log."""


@dataclass(frozen=True)
class Sample:
    """What was committed at a moment."""

    moment: Moment
    committed: Offsets


@dataclass(frozen=True)
class Restore:
    """How fast an empty store was filled. ``seconds`` is as the worker logs it."""

    records_count: int
    seconds: float

    @property
    def records_per_s(self) -> float | None:
        """Records a second; None when it was too quick for the clock in the log."""
        return self.records_count / self.seconds if self.seconds > 0 else None


class Worker:
    """A worker process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self._log_file = log_file

    def log(self) -> str:
        """Give everything it has logged."""
        return self._log_file.read_text(errors="replace")

    def fail(self, what: str) -> ProductError:
        """Give an error with the tail of the log."""
        tail = "\n".join(self.log().splitlines()[-LOG_TAIL_LINES:])
        return ProductError(f"the worker {what}; the last it said:\n{tail}")

    def wait_for(self, come: Callable[[], bool], what: str, look_s: float = START_SAMPLE_S, within_s: float = STALL_S) -> None:
        """Wait until ``come``, or raise ProductError when the worker dies or a minute (``within_s``) passes."""
        deadline = time.monotonic() + within_s
        while not come():
            if self.process.poll() is not None:
                raise self.fail(f"ended with {self.process.returncode} before it {what}")
            if time.monotonic() > deadline:
                raise self.fail(f"had not {what} after {within_s:.0f} s")
            time.sleep(look_s)

    def stop(self) -> None:
        """SIGTERM, and insist on exit code 0 within 15 s."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise self.fail(f"did not stop within {STOP_S:.0f} s of SIGTERM") from None
        if code != 0:
            raise self.fail(f"ended with {code} on SIGTERM instead of 0")


@contextmanager
def running(command: Sequence[str], log_file: Path, environment: Mapping[str, str] | None = None) -> Iterator[Worker]:
    """Start a program; whatever happens, it has ended afterwards."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield Worker(process, log_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def running_worker(settings: Settings, log_file: Path, program: Sequence[str] = WORKER) -> AbstractContextManager[Worker]:
    """Start ``tally worker`` (or ``program`` instead of tally)."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        **{variable_of(name): str(getattr(settings, name)) for name in (*TOLD, *RuleSettings.model_fields)},
    }
    options = ["worker", "--id", settings.worker_id, "--prefix", settings.prefix, "--web-port", str(_free_port())]
    return running([*program, *options], log_file, environment)


def run_backlog(
    settings: Settings, log_file: Path, broker_pid: int, say: Callable[[str], None], program: Sequence[str] = WORKER
) -> Figures:
    """Start one worker on what is on the inputs and measure it to the end.

    The time begins when its first task runs (start and join are outside) and ends with the first samples in
    which every input offset is committed, and in which the roll-up has no lag either.

    Raises:
        ProductError: it died, stopped moving, or did not end well.
    """
    inputs = {
        (topic.named(settings.prefix), partition): end
        for topic in (ORDERS, PAYMENTS)
        for partition, end in end_offsets(settings.cluster, topic.named(settings.prefix)).items()
    }
    events_count = sum(inputs.values())
    with running_worker(settings, log_file, program) as worker:
        watch = Watch(worker.process.pid, broker_pid)
        worker.wait_for(lambda: RUNS.search(worker.log()) is not None, "ran a task")
        begin = watch.now()
        samples = _sample(settings, worker, watch, inputs, say)
        worker.stop()
    ends = dict(inputs)
    for deltas in (REVENUE_DELTAS, CUSTOMER_DELTAS):
        name = deltas.named(settings.prefix)
        ends |= {(name, record.partition): record.offset + 1 for record in read_topic(settings.cluster, name)}
    inputs_done, drained = first_complete(samples, inputs), first_complete(samples, ends)
    if inputs_done is None or drained is None:
        raise ProductError("the worker went quiet before it had consumed all of its own deltas; see its log")
    rss_bytes_max = max(sample.moment.rss_bytes for sample in samples)
    return Figures.between(events_count, begin, inputs_done.moment, drained.moment, rss_bytes_max)


def first_complete(samples: Sequence[Sample], ends: Offsets) -> Sample | None:
    """Give the first sample in which everything up to ``ends`` is committed."""
    return next((sample for sample in samples if _reached(sample.committed, ends)), None)


def restore(settings: Settings, log_file: Path) -> Restore:
    """Delete the worker's stores, start it, take what it logs about their restore, and stop it.

    Raises:
        ProductError: it died, or its tasks did not run within a minute.
    """
    shutil.rmtree(settings.state_folder)
    with running_worker(settings, log_file) as worker:
        worker.wait_for(lambda: len(RUNS.findall(worker.log())) >= TASKS_COUNT, "restored its tasks")
        found = parse_restore(worker.log())
        worker.stop()
    return found


def parse_restore(log: str) -> Restore:
    """Add up what a worker's log says about restores; one line for each group of tasks that was assigned together."""
    lines = RESTORED.findall(log)
    return Restore(sum(int(records) for _, records, _ in lines), sum(float(seconds) for *_, seconds in lines))


def _sample(settings: Settings, worker: Worker, watch: Watch, inputs: Offsets, say: Callable[[str], None]) -> list[Sample]:
    """Look every 100 ms until the inputs are committed and nothing has moved for a while."""
    names = [
        (topic.named(settings.prefix), partition)
        for topic in (ORDERS, PAYMENTS, REVENUE_DELTAS, CUSTOMER_DELTAS)
        for partition in range(topic.partitions)
    ]
    samples: list[Sample] = []
    moved_at_s = time.monotonic()

    def done() -> bool:
        nonlocal moved_at_s
        sample = Sample(watch.now(), _committed(settings.cluster, settings.group_id, names))
        if not samples or sample.committed != samples[-1].committed:
            moved_at_s = time.monotonic()
        elif time.monotonic() - moved_at_s > STALL_S:
            raise worker.fail(f"committed nothing for {STALL_S:.0f} s")
        samples.append(sample)
        at = sum(min(offset, inputs[where]) for where, offset in sample.committed.items() if where in inputs)
        say(f"{at:,} of {sum(inputs.values()):,} events committed")
        return _reached(sample.committed, inputs) and time.monotonic() - moved_at_s > QUIET_S

    while True:
        if worker.process.poll() is not None:
            raise worker.fail(f"ended with {worker.process.returncode} in the middle of the backlog")
        if done():
            return samples
        time.sleep(SAMPLE_S)


def _committed(cluster: Cluster, group_id: str, names: list[tuple[str, int]]) -> Offsets:
    """Give the group's committed offsets as they stand; a transaction in flight is not waited for."""
    wanted = set(names)
    return {where: at for where, at in read_group_offsets(cluster, group_id).items() if where in wanted}


def _reached(committed: Offsets, ends: Offsets) -> bool:
    return all(end == 0 or committed.get(where, 0) >= end for where, end in ends.items())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
