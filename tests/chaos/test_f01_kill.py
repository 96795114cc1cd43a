"""F1: a worker dies by SIGKILL inside an epoch, at every named place and at random ones; nothing is lost or counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher, publish
from streams.kill_points import KILL_POINTS
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for

# Small epochs and write buffers: many epochs, and stores that were flushed before the kill.
SETTINGS = {"epoch_records_max": 300, "write_buffer_bytes": 1 << 20}
START_MS = 1_795_000_000_000


@pytest.mark.parametrize("place", KILL_POINTS)
def test_f01_killed_at(place: str, broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=6_000, seed=KILL_POINTS.index(place), start_ms=START_MS)
    armed = {"TALLY_KILL_AT": place, "TALLY_KILL_AFTER_EPOCHS": "12", "TALLY_KILL_WHEN": str(tmp_path / "now")}
    with Deployment(tmp_path, broker.bootstrap_servers, topics, **SETTINGS) as tally:
        first, second = tally.start("w1"), tally.start("w2", armed)
        wait_for("both workers have tasks", lambda: first.tasks() and second.tasks())
        publisher = Publisher(broker.bootstrap_servers, topics)
        publisher.send(whole.sent[:12_000])
        wait_for("w2 keeps 1,000 keys", lambda: keys_kept(second.status()) >= 1_000)
        (tmp_path / "now").touch()
        publisher.send(whole.sent[12_000:])
        publisher.close()
        evidence = second.died()
        assert evidence["killed_at"] == place
        assert evidence["epoch"] >= 10
        assert evidence["records"] > 0
        assert list((tmp_path / "home").rglob("*.sst")), "no store was flushed before the kill"
        assert tally.committed("orders") + tally.committed("payments") < len(whole.sent), "no lag was left"
        again = tally.start("w2")
        verdict = tally.finish(truth_of(whole))
        assert "task settlement/" in again.text
    assert verdict.exact, verdict.headline()


@pytest.mark.parametrize("seed", [11, 12])
def test_f01_killed_at_random_moments(seed: int, broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    chance = random.Random(seed)
    whole = plan(orders=8_000, seed=seed, start_ms=START_MS)
    with Deployment(tmp_path, broker.bootstrap_servers, topics, **SETTINGS) as tally:
        tally.start("w1")
        tally.start("w2")
        wait_for("both workers have tasks", lambda: all(worker.tasks() for worker in tally.alive()))
        publish(whole, broker.bootstrap_servers, topics)
        for _ in range(2):
            goal = tally.committed("orders") + chance.randrange(200, 2_000)
            wait_for("some more is committed", lambda: tally.committed("orders") >= goal)  # noqa: B023 - waited for at once
            victim = chance.choice(tally.alive())
            victim.kill()
            tally.start(victim.worker_id)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def keys_kept(status: dict[str, object]) -> int:
    """Give how many orders a worker has applied: at least one key each three."""
    tasks = status.get("tasks", [])
    assert isinstance(tasks, list)
    return sum(int(task["counters"].get("applied", 0)) for task in tasks if task["task"].startswith("settlement/")) // 3
