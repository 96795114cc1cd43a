"""A deployment's workers are found through the cluster, in both group protocols, whatever state they are in."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from streams.admin import admin_client
from streams.fleet import find_workers, owner_of, tasks_of
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_workers_are_found_and_one_that_does_not_answer_is_listed_by_the_cluster(
    broker: LocalBroker, topics: str, tmp_path: Path, protocol: str
) -> None:
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, prefix=topics)
    admin = admin_client(settings)
    with Deployment(tmp_path, broker.cluster, topics, group_protocol=protocol) as tally:
        assert find_workers(admin, settings) == [], "nobody ever joined"
        started = {name: tally.start(name) for name in ("w1", "w2")}
        wait_for("each runs its half", lambda: all(len(worker.tasks()) == TASKS // 2 for worker in started.values()))

        found = find_workers(admin, settings)
        assert [(each.member.worker, each.member.page) for each in found] == [
            (name, f"http://127.0.0.1:{worker.web_port}") for name, worker in started.items()
        ]
        assert sorted(name for each in found for name in each.tasks) == sorted(
            name for each in found for name in tasks_of(each.member.partitions, topics)
        )
        owner = owner_of("settlement/7", found, topics)
        assert owner is not None
        assert owner.tasks["settlement/7"]["state"] == "running"

        silent = started[owner.member.worker]
        silent.signal(signal.SIGSTOP)
        now = owner_of("settlement/7", find_workers(admin, settings), topics)
        assert now is not None
        assert (now.member, now.answers) == (owner.member, False), "the cluster still says that it owns the task"
        silent.kill()
