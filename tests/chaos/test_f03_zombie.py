"""F3, I9: a worker that was frozen past its session writes nothing afterwards, also when only a timer is due."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from confluent_kafka.cimpl import NewTopic

from connectors.ground_truth import truth_of
from connectors.reader import read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.admin import admin_client
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.workers import Deployment, Worker, wait_for

START_MS = 1_795_000_000_000


def test_f03_i9_a_worker_frozen_in_the_middle_of_its_work_is_fenced(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=3_000, seed=3, start_ms=START_MS)
    # Its open transaction is to hold the takeover back no longer than its session does.
    settings = {"epoch_records_max": 100, "transaction_timeout_ms": 6_000}
    with Deployment(tmp_path, broker.cluster, topics, **settings) as tally:
        first, second = tally.start("w1"), tally.start("w2")
        wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)
        publisher = Publisher(broker.cluster, topics)
        own = second.tasks()
        restores = second.text.count("streams.restore restored")
        publisher.send(whole.sent[:6_000])
        wait_for("w2 commits", lambda: second.epochs_count() >= 10)
        second.signal(signal.SIGSTOP)
        assert tally.lag(own) > 0, "it was not in the middle of its work"
        publisher.send(whole.sent[6_000:])
        publisher.close()
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        second.signal(signal.SIGCONT)
        # Frozen inside a transaction for longer than its time-out, it is fenced for good and says so; else it joins again.
        wait_for("w2 joins again or gives up", lambda: anew(second, restores))
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f03_i9_a_frozen_worker_with_only_a_timer_due_writes_nothing(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers))
    admin.create_topics([NewTopic(f"{topics}beats", 1, 1)])[f"{topics}beats"].result(30)
    timer = {"TEST_TOPOLOGY": "tests.support.topologies:WITH_TIMER"}
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        first, second = tally.start("w1"), tally.start("w2", timer)
        wait_for("both workers have tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)
        wait_for("w2 beats", lambda: len(beats(tally)) >= 3)
        second.signal(signal.SIGSTOP)
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        before = len(beats(tally))
        resumed_ms = time.time_ns() // 1_000_000
        second.signal(signal.SIGCONT)
        wait_for("w2 has tasks again and beats", lambda: len(beats(tally)) > before + 3)
        rejoined_ms = rejoined_at_ms(second, resumed_ms)
        written_ms = [written for written in beats(tally) if written >= resumed_ms]
    assert written_ms
    assert min(written_ms) >= rejoined_ms, "a record was written between the thaw and the new membership"


def anew(worker: Worker, restores: int) -> bool:
    """Tell whether a thawed worker lost its tasks and got others, or ended because its transaction had been ended for it."""
    if worker.alive:
        lost = "the group went on without this worker" in worker.text
        return lost and worker.text.count("streams.restore restored") > restores
    worker.gives_up(4, "has a newer owner")
    return True


def beats(tally: Deployment) -> list[int]:
    """Give when each committed beat was produced."""
    return [record.timestamp_ms for record in read_topic(tally.cluster, f"{tally.prefix}beats")]


def rejoined_at_ms(worker: Worker, after_ms: int) -> int:
    """Give when the worker's first task started after ``after_ms``, by its log."""
    started = re.findall(r"^(\d+\.\d+) \S+ \S+ INFO streams.ownership task .* runs from", worker.text, re.MULTILINE)
    return next(at_ms for at_s in started if (at_ms := int(float(at_s) * 1000)) >= after_ms)
