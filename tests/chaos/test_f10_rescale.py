"""F10: workers come and go while events flow; every order is settled once."""

from __future__ import annotations

from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from streams.local_broker import LocalBroker
from tests.support.chains import owners
from tests.support.counts import TASKS
from tests.support.worker import Worker
from tests.support.workers import Deployment, wait_for

EVENTS_PER_S = 120
"""Two and a half minutes of events, so that a busy machine has its rebalances among them; a quick one sends the rest at once."""


def test_f10_from_one_to_three_to_two_workers_while_events_flow(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=6_000, seed=10, start_ms=1_795_000_000_000)
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=300) as tally:
        first = tally.start("w1")
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        with tally.sending(whole.sent, events_per_s=EVENTS_PER_S) as sending:
            all_commit([first])
            others = [tally.start("w2"), tally.start("w3")]
            wait_for(
                "three workers share the tasks", lambda: all(len(worker.tasks()) == TASKS // 3 for worker in [first, *others])
            )
            all_commit([first, *others])
            assert first.stop() == 0, first.text[-3000:]
            wait_for("two workers share the tasks", lambda: all(len(worker.tasks()) == TASKS // 2 for worker in others))
            all_commit(others)
            assert sending.unsent_count > 0, "the events ended before the last rebalance"
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
    chain = owners(broker.cluster, topics)
    assert len(chain) == 12
    assert all(names[0] == "w1" and names[-1] in {"w2", "w3"} for names in chain.values()), chain
    assert {name for names in chain.values() for name in names} == {"w1", "w2", "w3"}


def all_commit(workers: list[Worker]) -> None:
    """Wait until each of the workers has committed epochs from now on."""
    before = {worker.worker_id: worker.epochs_count() for worker in workers}
    for worker in workers:
        wait_for("it commits", lambda: worker.epochs_count() >= before[worker.worker_id] + 3)  # noqa: B023 - waited for at once


def test_f10_a_worker_without_tasks_idles_and_leaves_well(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        workers = [tally.start(f"w{number}") for number in range(1, 3)]
        wait_for("both share the tasks", lambda: all(len(worker.tasks()) == TASKS // 2 for worker in workers))
        assert workers[1].stop() == 0
        wait_for("one has every task", lambda: len(workers[0].tasks()) == TASKS)
        assert workers[0].stop() == 0
