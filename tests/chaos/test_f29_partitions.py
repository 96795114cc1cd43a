"""F29, F4: what a worker refuses at its start, with a sentence and without touching anything."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.cimpl import NewPartitions

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.admin import admin_client
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.workers import Deployment, wait_for


def test_f29_payments_with_another_partition_count_are_refused(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers))
    admin.create_partitions([NewPartitions(f"{topics}payments", 24)])[f"{topics}payments"].result(30)
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        worker = tally.start("w1")
        worker.gives_up(2, f"{topics}orders has 12, {topics}payments has 24")


def test_f29_missing_topics_are_named(broker: LocalBroker, prefix: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.bootstrap_servers, prefix) as tally:
        worker = tally.start("w1")
        worker.gives_up(2, "run `tally topics apply` first")


def test_f04_a_second_worker_with_the_same_id_on_this_host_is_refused(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        first = tally.start("w1")
        wait_for("w1 has tasks", first.tasks)
        second = tally.start("w1")
        second.gives_up(4, "give this one another --id")
        assert first.alive


def test_f04_a_second_worker_with_the_same_id_elsewhere_fences_the_older(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=1_000, seed=4, start_ms=1_795_000_000_000)
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        first = tally.start("w1")
        wait_for("w1 has tasks", first.tasks)
        second = tally.start("w1", home="another-host")
        wait_for("both have tasks", second.tasks)
        publish(whole, broker.bootstrap_servers, topics)
        first.gives_up(4, "has a newer owner")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
