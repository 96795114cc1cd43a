"""F29, F4: what a worker refuses, at its start and while it runs, with a sentence and without touching anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka.cimpl import NewPartitions

from connectors.ground_truth import truth_of
from connectors.reader import end_offsets, read_group_offsets
from connectors.sources.generator import Plan, plan
from connectors.sources.publish import publish
from streams.admin import admin_client, partition_counts
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.chains import assert_unbroken
from tests.support.counts import TASKS
from tests.support.prefixes import judge_consumed
from tests.support.workers import Deployment, wait_for


@pytest.mark.parametrize(
    "grown",
    # With all of them grown the counts agree again, and the state of half of the keys would be in another task than their events.
    [("payments",), ("orders", "payments"), ("orders", "payments", "settlement-changelog")],
    ids=["payments", "both inputs", "both inputs and the changelog"],
)
def test_f29_topics_with_another_partition_count_are_refused_at_the_start(
    grown: tuple[str, ...], broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    for name in grown:
        grow(broker, topics + name, 24)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        worker.gives_up(2, said_of(topics, grown))
        assert tally.members() == [], "it joined the group before it looked"


def test_f29_payments_grown_while_a_worker_runs_stop_it_and_refuse_others_and_what_was_consumed_is_exact(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=4_000, seed=29, start_ms=1_795_000_000_000, bad_ratio=0)
    half = len(whole.sent) // 2
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=50) as tally:
        first = tally.start("w1")
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        publish(part(whole, 0, half), broker.cluster, topics)
        wait_for("w1 commits", lambda: first.epochs_count() >= 10)
        grow(broker, f"{topics}payments", 24)
        assert tally.lag() > 0, "w1 was not at work"
        # The coordinator assigns the new partitions with the next heartbeat; until then w1 goes on with those that it has.
        first.gives_up(2, said_of(topics, ["payments"]))
        before = read_group_offsets(broker.cluster, tally.group_id)
        publish(part(whole, half, len(whole.sent)), broker.cluster, topics)
        moved = end_offsets(broker.cluster, f"{topics}payments")
        assert sum(end for partition, end in moved.items() if partition >= 12) > 0, "no key has moved"
        tally.start("w2").gives_up(2, said_of(topics, ["payments"]))
        after = read_group_offsets(broker.cluster, tally.group_id)
        assert after == before, "something was processed after the refusal"
        assert {partition for name, partition in after if name == f"{topics}payments"} <= set(range(12))
        # The second stage has equal partitions everywhere: it may finish, so that all that was consumed can be judged.
        drain = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:REVENUE_ONLY"})
        tally.wait_consumed("revenue-deltas")
        assert drain.stop() == 0, drain.text[-3000:]
        assert_unbroken(broker.cluster, topics)
        verdict = judge_consumed(tally, whole)
    assert verdict.exact, verdict.headline()
    assert 0 < verdict.outcomes.consumed < half


def grow(broker: LocalBroker, name: str, partitions: int) -> None:
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers))
    admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)
    wait_for("it is seen", lambda: partition_counts(admin, [name])[name] == partitions)


def said_of(topics: str, grown: Sequence[str]) -> str:
    counts = {name: 24 if name in grown else 12 for name in ("orders", "payments", "settlement-changelog")}
    return ", ".join(f"{topics}{name} has {count}" for name, count in counts.items())


def part(whole: Plan, begin: int, end: int) -> Plan:
    return Plan(whole.seed, whole.start_ms, whole.sent[begin:end])


def test_f29_missing_topics_are_named(broker: LocalBroker, prefix: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.cluster, prefix) as tally:
        worker = tally.start("w1")
        worker.gives_up(2, "run `tally topics apply` first")


def test_f04_a_second_worker_with_the_same_id_on_this_host_is_refused(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        first = tally.start("w1")
        wait_for("w1 has tasks", first.tasks)
        second = tally.start("w1")
        second.gives_up(4, "give this one another --id")
        assert first.alive


def test_f04_a_second_worker_with_the_same_id_elsewhere_fences_the_older(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=1_000, seed=4, start_ms=1_795_000_000_000)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        first = tally.start("w1")
        wait_for("w1 has tasks", first.tasks)
        second = tally.start("w1", home="another-host")
        wait_for("both have tasks", second.tasks)
        publish(whole, broker.cluster, topics)
        first.gives_up(4, "has a newer owner")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
