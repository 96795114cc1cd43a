"""What a worker's pages say, with a real broker, and while it does not answer."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams import metrics
from streams.cli.status import Looker
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.pages import ask, values
from tests.support.workers import Deployment, wait_for
from tests.unit.test_metrics import samples

START_MS = 1_795_000_000_000


@pytest.mark.own_broker("a broker that freezes")
def test_a_worker_says_what_it_did_and_a_frozen_broker_makes_it_neither_dead_nor_unready(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=1_500, seed=71, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        wait_for("its server listens", lambda: ask(worker, "health/live")[0] == 200)
        wait_for("it is ready", lambda: ask(worker, "health/ready")[0] == 200)
        assert len(worker.tasks()) == TASKS, "it was ready before all was restored"

        publish(whole, broker.cluster, topics)
        tally.wait_consumed("orders", "payments")

        def counted() -> float:
            consumed = samples(ask(worker, "metrics")[1], metrics.CONSUMED)
            return sum(value for (stage, _), value in consumed.items() if stage == "settlement")

        # The cluster has an epoch before the worker has noted it.
        wait_for("it says that it consumed every record once", lambda: counted() == len(whole.sent))
        publish(plan(orders=1_500, seed=72, start_ms=START_MS), broker.cluster, topics)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            ages: list[float] = []

            def waits_aloud() -> bool:
                """An age that was high and goes down: the loop turned, or what it does there said that it waits."""
                ages.extend(values(worker, metrics.POLL_AGE))
                return any(earlier > 1.0 and later < 1.0 for earlier, later in pairwise(ages))

            wait_for("the loop says that it waits", waits_aloud)
            assert (ask(worker, "health/live")[0], ask(worker, "health/ready")[0]) == (200, 200)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        broker.wait_until_ready()  # it was away for longer than its own session: it elects itself anew
        tally.wait_consumed("orders", "payments")

        wait_for("it says how long a takeover takes", lambda: "a takeover of this worker's tasks takes about" in worker.text)
        with Looker(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=topics)) as looker:
            wait_for("nothing is left to process", lambda: looker.look().lag_records == 0)
            live = looker.look()
            assert (live.problems, live.states, [row.worker for row in live.workers]) == ([], {"running": TASKS}, ["w1"])
            assert worker.stop() == 0, worker.text[-3000:]
            wait_for("it has left the group", lambda: not looker.look().workers)
            alone = looker.look()
        assert (alone.lag_records, alone.states) == (0, {"unowned": TASKS})
        assert alone.counters == live.counters, "the newest markers tell what the pages told"
        assert [task.newest_event_ms for task in alone.tasks] == [task.newest_event_ms for task in live.tasks]
