from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from schemas.topics import ORDERS, REVENUE_DELTAS, SETTLEMENT_CHANGELOG
from streams.admin import _policy, admin_client, delete_topics
from streams.errors import NoCluster, RefusedError
from streams.settings import Settings
from streams.topic_plan import differences


def test_no_cluster_is_a_sentence_that_says_what_to_do() -> None:
    with pytest.raises(NoCluster, match="run `tally broker up`, or set KAFKA_BOOTSTRAP_SERVERS") as refused:
        admin_client(Settings(bootstrap_servers=""))
    assert refused.value.exit_code == 2
    assert not refused.value.retriable


def test_deleting_refuses_an_empty_prefix_before_it_asks_any_cluster() -> None:
    with pytest.raises(RefusedError, match="every topic of the cluster"):
        delete_topics(AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}), "")


def test_a_topic_as_declared_has_nodifferences() -> None:
    assert differences(ORDERS, ORDERS.partitions, {**ORDERS.config, "segment.bytes": "1"}) == ""


def test_every_difference_is_told_with_what_is_and_what_is_declared() -> None:
    told = differences(ORDERS, 24, {**ORDERS.config, "retention.ms": "1000"})
    assert "has 24 partitions and is declared with 12" in told
    assert f"has retention.ms=1000 and is declared with {ORDERS.retention_ms}" in told


def test_the_policy_reads_in_days() -> None:
    assert _policy(REVENUE_DELTAS.config) == "delete after 7 d"
    assert _policy(SETTLEMENT_CHANGELOG.config) == "compact, tombstones 7 d"
    assert _policy({"cleanup.policy": "delete", "retention.ms": "-1"}) == "delete, never"
