"""F19, I8: an agent or a decision that raises loses nothing: redone, buried, or one task stopped with a sentence."""

from __future__ import annotations

from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.reader import read_topic
from connectors.sources.generator import Applied, plan
from connectors.sources.publish import publish
from schemas.codec import decode
from streams.local_broker import LocalBroker
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_i8_an_agent_that_raises_once_after_writing_is_redone(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=3_000, seed=19, start_ms=START_MS)
    with Deployment(tmp_path, broker.bootstrap_servers, topics, epoch_records_max=500) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:RAISING_ONCE"})
        publish(whole, broker.bootstrap_servers, topics)
        verdict = tally.finish(truth_of(whole))
        assert "raised once, after writing to a table" in worker.text
        assert "is redone (1 of 3)" in worker.text
    assert verdict.exact, verdict.headline()


def test_i8_a_task_that_an_agent_cannot_work_on_stops_and_the_others_go_on(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=2_000, seed=20, start_ms=START_MS)
    publish(whole, broker.bootstrap_servers, topics)
    with Deployment(tmp_path, broker.bootstrap_servers, topics, epoch_records_max=1_000) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:RAISING_FOR_PARTITION_3"})
        wait_for("settlement/3 stops", lambda: worker.tasks("stopped") == ["settlement/3"])
        reasons = [task["reason"] for task in worker.status()["tasks"] if task["task"] == "settlement/3"]
        assert "cannot work on partition 3" in reasons[0]
        assert worker.stop() == 0
        # Mended: the right agent takes over, and everything is exact.
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_i8_a_record_on_which_decide_raises_is_buried_alone(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=300, seed=21, start_ms=START_MS)
    publish(whole, broker.bootstrap_servers, topics)
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:DECIDE_RAISES"})
        tally.wait_consumed("orders", "payments")
        assert worker.stop() == 0
        buried = [
            record
            for name in ("orders.dlq", "payments.dlq")
            for record in read_topic(broker.bootstrap_servers, topics + name)
            if dict(record.headers)["__tally.errors.class"] == b"exception"
        ]
    decodable = [sent for sent in whole.sent if isinstance(sent.expected, Applied)]
    expected = len([sent for sent in decodable if decode(sent.value).order_id.endswith("7")])  # type: ignore[union-attr]
    assert expected > 0
    assert len(buried) >= expected
    for record in buried:
        headers = dict(record.headers)
        assert headers["__tally.errors.reason"] == b"ZeroDivisionError"
        assert b"seven" in (headers["__streams.errors.stacktrace"] or b"")
        assert decode(record.value).order_id.endswith("7")  # type: ignore[union-attr]
