"""F14: a worker whose disk is full waits and says so, ends when it is told to, and goes on by itself when there is room."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import Plan, plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.small_disk import NOT_ALLOWED, filler_of
from tests.support.workers import ROOT, Deployment, Worker, wait_for

START_MS = 1_795_000_000_000
NEEDED_MIB = 64
FILLER_MIB = 160
ON_SMALL_DISK = ("-m", "tests.support.small_disk")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a small disk; skips where no process may have one."""
    tried = "import sys, pathlib; from tests.support.small_disk import take_small_disk as take; take(pathlib.Path(sys.argv[1]))"
    made = subprocess.run([sys.executable, "-c", tried, str(tmp_path / "try")], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"this system gives no process a disk of its own: {made.stderr.decode()[-200:]}")
    return tmp_path / "home"


def test_f14_a_full_disk_costs_time_and_nothing_else(broker: LocalBroker, topics: str, tmp_path: Path, home: Path) -> None:
    whole = plan(orders=1_500, seed=14, start_ms=START_MS)
    third = len(whole.sent) // 3
    parts = [Plan(whole.seed, whole.start_ms, part) for part in (whole.sent[:third], whole.sent[third:])]
    publish(parts[0], broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics, disk_free_bytes=NEEDED_MIB << 20) as tally:
        worker = tally.start("w1", arguments=ON_SMALL_DISK)
        wait_for("a third is consumed", lambda: len(worker.tasks()) == TASKS and tally.lag() == 0)
        filler = filler_of(worker.process.pid, home)
        filler.write_bytes(bytes(FILLER_MIB << 20))
        wait_for("it waits for room", lambda: waits_for_room(worker))
        publish(parts[1], broker.cluster, topics)
        assert tally.lag() == len(parts[1].sent)
        assert len(worker.tasks()) == TASKS
        filler.unlink()
        wait_for("it goes on by itself", lambda: tally.lag() == 0 and worker.status()["waiting_for"] == [])
        assert worker.text.count("waiting for room on the disk") == 1
        with suppress(OSError), filler.open("wb", buffering=0) as growing:
            while True:  # to the last byte: the stores cannot even write what they have in memory
                growing.write(bytes(64 << 10))
        wait_for("it waits for room", lambda: waits_for_room(worker))
        assert worker.stop() == 0
        # Started on a full disk it waits before it restores.
        last = tally.start("w1", {"TEST_FILL_MIB": str(FILLER_MIB)}, arguments=ON_SMALL_DISK)
        wait_for("it waits for room", lambda: waits_for_room(last) and len(last.tasks("restoring")) == TASKS)
        filler_of(last.process.pid, home).unlink()
        wait_for("every task runs", lambda: len(last.tasks()) == TASKS)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def waits_for_room(worker: Worker) -> bool:
    assert worker.process.poll() != NOT_ALLOWED, worker.text
    said = worker.status().get("waiting_for", [])
    return any(reason.startswith("room on the disk of ") and f"{NEEDED_MIB} MiB must be free" in reason for reason in said)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system lets nobody limit another process")
def test_f14_tasks_whose_stores_find_no_room_wait_each_for_itself_and_go_on(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    """The look finds room enough; the operating system refuses the stores all the same, as it does over a quota."""
    whole = plan(orders=500, seed=15, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        _, most = before = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (0, most))
        wait_for("every task waits for room", lambda: len(without_room(worker)) == TASKS)
        assert worker.tasks() == []
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, before)
        wait_for("every task runs", lambda: len(worker.tasks()) == TASKS)
        assert without_room(worker) == []
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def without_room(worker: Worker) -> list[str]:
    assert worker.process.poll() is None, worker.text
    tasks = worker.status().get("tasks", [])
    waiting = "the disk has no room for its store: "
    return [task["task"] for task in tasks if task["state"] == "restoring" and task["reason"].startswith(waiting)]
