"""F1, I1: a worker dies by SIGKILL inside an epoch, at every named place and at random ones; nothing is lost or counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher, publish
from streams.kill_points import KILL_POINTS
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.killing import kill_at_work
from tests.support.worker import Worker
from tests.support.workers import Deployment, wait_for

# Small epochs and write buffers: many epochs, and stores that were flushed before the kill.
SETTINGS = {"epoch_records_max": 150, "memory_mb": 12}
START_MS = 1_795_000_000_000


def test_f01_i1_epochs_in_which_a_worker_is_killed_are_committed_whole_or_not_at_all(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=9_000, seed=1, start_ms=START_MS)
    sent_to = [len(whole.sent) * number // len(KILL_POINTS) for number in range(len(KILL_POINTS) + 1)]
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        first, publisher = tally.start("w1"), Publisher(broker.cluster, topics)
        for number, place in enumerate(KILL_POINTS):
            now = tmp_path / place
            second = tally.start("w2", {"TALLY_KILL_AT": place, "TALLY_KILL_AFTER_EPOCHS": "6", "TALLY_KILL_WHEN": str(now)})
            wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)  # noqa: B023 - waited for at once
            own = second.tasks()
            half = (sent_to[number] + sent_to[number + 1]) // 2
            publisher.send(whole.sent[sent_to[number] : half])
            wait_for("w2's stores keep 300 keys", lambda: keys_kept(second) >= 300)  # noqa: B023 - waited for at once
            now.touch()
            publisher.send(whole.sent[half : sent_to[number + 1]])
            evidence = second.died()
            assert tally.lag(own) > 0, "nothing was left to do in its own partitions"
            assert evidence["killed_at"] == place
            assert evidence["epoch"] > 6
            assert evidence["records"] > 0
        assert list(tally.state_of("w2").rglob("*.sst")), "no store of its own was flushed before it was killed"
        publisher.close()
        again = tally.start("w2")
        wait_for("the restarted worker has tasks", again.tasks)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


@pytest.mark.parametrize("seed", [11, 12])
def test_f01_i1_workers_killed_at_random_moments_lose_and_repeat_nothing(
    seed: int, broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    whole = plan(orders=5_000, seed=seed, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        tally.start("w1")
        tally.start("w2")
        wait_for("both workers have tasks", lambda: all(worker.tasks() for worker in tally.alive()))
        publish(whole, broker.cluster, topics)
        for _ in range(2):
            goal = tally.committed("orders") + chance.randrange(200, 2_000)
            wait_for("some more is committed", lambda: tally.committed("orders") >= goal)  # noqa: B023 - waited for at once
            killed = kill_at_work(tally, tally.alive(), chance)
            tally.start(killed.worker.worker_id)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def keys_kept(worker: Worker) -> int:
    """Give how many orders the worker's stores have a row of: every order that was placed has one."""
    return sum(
        amount
        for name, task in worker.task_pages().items()
        if name.startswith("settlement/") and task["state"] == "running"
        for counter, amount in task["counters"].items()
        if counter.startswith(("booked|", "adjusted|")) and counter.endswith("|orders_count")
    )
