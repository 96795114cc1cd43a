"""F1, I1: a worker dies by SIGKILL inside an epoch, at every named place and at random ones; nothing is lost or counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams import metrics
from streams.in_columns import MEMORY_MB_MIN
from streams.kill_points import KILL_POINTS
from streams.local_broker import LocalBroker
from streams.topology import COLUMNS_FROM
from tests.support.columns import NEEDS_EXTENSION
from tests.support.counts import TASKS
from tests.support.killing import kill_at_work
from tests.support.pages import values
from tests.support.sending import in_parts
from tests.support.worker import Worker
from tests.support.workers import Deployment, wait_for

# Small epochs and write buffers: many epochs, and stores that were flushed before the kill.
SETTINGS = {"epoch_records_max": 300, "memory_mb": 12}
IN_COLUMNS = {"epoch_records_max": 2 * COLUMNS_FROM, "memory_mb": MEMORY_MB_MIN}
"""Epochs that are large enough for columns, and many of them all the same."""
START_MS = 1_795_000_000_000
ARMED_EVENTS = 1_500
"""Of each place's share, sent once the kill point is armed: two epochs and more for each worker, so there is one to die in."""


def test_f01_i1_epochs_in_which_a_worker_is_killed_are_committed_whole_or_not_at_all(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=18_000, seed=1, start_ms=START_MS)
    share = len(whole.sent) // len(KILL_POINTS)
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        first, publisher = tally.start("w1"), Publisher(broker.cluster, topics)
        for number, place in enumerate(KILL_POINTS):
            now, flushed = tmp_path / place, flushed_by(tally)
            second = tally.start("w2", {"TALLY_KILL_AT": place, "TALLY_KILL_AFTER_EPOCHS": "10", "TALLY_KILL_WHEN": str(now)})
            wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)  # noqa: B023 - waited for at once
            own, kept = second.tasks(), keys_kept(second)
            part = whole.sent[number * share : (number + 1) * share if place != KILL_POINTS[-1] else None]
            publisher.send(part[:-ARMED_EVENTS])
            wait_for("w2's stores keep 1,000 keys more", lambda: keys_kept(second) >= kept + 1_000)  # noqa: B023 - waited for at once
            now.touch()
            publisher.send(part[-ARMED_EVENTS:])
            evidence = second.died()
            assert tally.lag(own) > 0, "nothing was left to do in its own partitions"
            assert evidence["killed_at"] == place
            assert evidence["epoch"] >= 10
            assert evidence["records"] > 0
            assert flushed_by(tally) - flushed, "no store of its own was flushed before the kill"
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
    whole = plan(orders=8_000, seed=seed, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        tally.start("w1")
        tally.start("w2")
        wait_for("both workers have tasks", lambda: all(worker.tasks() for worker in tally.alive()))
        for part in in_parts(whole.sent, 2):
            with tally.sending(part, events_per_s=2_000):
                goal = tally.committed("orders") + chance.randrange(200, 2_000)
                wait_for("some more is committed", lambda: tally.committed("orders") >= goal)  # noqa: B023 - waited for at once
                killed = kill_at_work(tally, tally.alive(), chance)
            tally.start(killed.worker.worker_id)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


@NEEDS_EXTENSION
def test_f01_i1_workers_killed_while_they_decide_in_columns_lose_and_repeat_nothing_where_the_extension_is_built(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    chance = random.Random(13)
    whole = plan(orders=20_000, seed=13, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, **IN_COLUMNS) as tally:
        tally.start("w1")
        tally.start("w2")
        wait_for("both workers have tasks", lambda: all(worker.tasks() for worker in tally.alive()))
        for part in in_parts(whole.sent, 2):
            with tally.sending(part, events_per_s=5_000):
                victims = wait_for(
                    "a worker decides in columns", lambda: [w for w in tally.alive() if sum(values(w, metrics.IN_COLUMNS))]
                )
                killed = kill_at_work(tally, victims, chance)
            tally.start(killed.worker.worker_id)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def flushed_by(tally: Deployment) -> set[Path]:
    """Give the files that w2's stores were flushed to so far."""
    return set(tally.state_of("w2").rglob("*.sst"))


def keys_kept(worker: Worker) -> int:
    """Give how many orders the worker's stores have a row of: every order that was placed has one."""
    return sum(
        amount
        for name, task in worker.task_pages().items()
        if name.startswith("settlement/") and task["state"] == "running"
        for counter, amount in task["counters"].items()
        if counter.startswith(("booked|", "adjusted|")) and counter.endswith("|orders_count")
    )
