"""What must not pass: a product that is off by one minor unit, and offsets that somebody moved."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from connectors.ground_truth import truth_of
from connectors.reader import read_group_offsets
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.admin import admin_client
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_one_minor_unit_off_in_decide_is_wrong(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=400, seed=51, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:OFF_BY_ONE"})
        verdict = tally.finish(truth_of(whole))
    assert not verdict.exact
    assert verdict.headline().startswith("WRONG")
    said = verdict.headline()
    assert "captured_minor" in said
    assert "revenue-by-merchant-1m" in said


def test_i3_a_task_whose_offsets_were_moved_stops_and_the_others_go_on(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=600, seed=52, start_ms=START_MS)
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        tally.wait_consumed("orders", "payments")
        tally.wait_consumed("revenue-deltas")
        assert worker.stop() == 0, worker.text[-3000:]
        right = read_group_offsets(broker.cluster, tally.group_id)[f"{topics}orders", 5]
        _set_offset(broker, tally.group_id, f"{topics}orders", 5, right - 3)
        again = tally.start("w1")
        wait_for("settlement/5 stops and the others run", lambda: len(again.tasks()) == TASKS - 1 and again.tasks("stopped"))
        assert again.tasks("stopped") == ["settlement/5"]
        assert f"orders/5={right - 3}" in again.text
        status, said = again.post("tasks/settlement/5/resume")
        assert (status, said.startswith("settlement/5 is stopped: ")) == (409, True), "it is restored, and judged as before"
        assert again.stop() == 0
        # Set back as the sentence says, the task starts, and everything is exact.
        _set_offset(broker, tally.group_id, f"{topics}orders", 5, right)
        third = tally.start("w1")
        wait_for("every task runs", lambda: len(third.tasks()) == TASKS)
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def _set_offset(broker: LocalBroker, group_id: str, topic: str, partition: int, offset: int) -> None:
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers))
    request = ConsumerGroupTopicPartitions(group_id, [TopicPartition(topic, partition, offset)])
    admin.alter_consumer_group_offsets([request])[group_id].result(30)
