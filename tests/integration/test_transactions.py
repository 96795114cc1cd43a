"""The transactional producer on real Kafka: who is fenced and what is an abort, also when the client learns it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from schemas.topics import ORDER_STATUS, TOPICS
from streams.admin import admin_client, apply_topics, delete_topics
from streams.errors import WorkerFencedError
from streams.local_broker import LocalBroker
from streams.settings import Settings
from streams.transaction import Aborted, Committed
from tests.support.transactions import Writer, Written

FEW = 3
MANY = 300_000
"""The client takes a second to take so many rows over, and answers from the broker come meanwhile."""
SMALL_LIMIT_BYTES = 100_000


@pytest.fixture
def small_topics(broker: LocalBroker, prefix: str) -> Iterator[str]:
    """Every topic, but the cluster's operator lets ``order-status`` take less than schemas/topics.py says."""
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=prefix))
    lowered = replace(ORDER_STATUS, max_message_bytes=SMALL_LIMIT_BYTES)
    apply_topics(admin, [lowered if topic is ORDER_STATUS else topic for topic in TOPICS], prefix)
    try:
        yield prefix
    finally:
        delete_topics(admin, prefix)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(FEW, id="a small epoch"),
        pytest.param(MANY, id="an epoch that is still handed over"),
    ],
)
def test_f04_a_second_producer_of_the_same_transactional_id_fences_the_first(rows: int, broker: LocalBroker, topics: str) -> None:
    written = Written(broker.cluster, topics)
    first = Writer(broker.cluster, topics)
    assert isinstance(first.commit("first", 1), Committed)
    second = Writer(broker.cluster, topics)
    with pytest.raises(WorkerFencedError, match=rf"transactional id {topics}writer has a newer owner"):
        first.commit("zombie", 2, rows=rows)
    assert isinstance(second.commit("second", 3), Committed)
    assert written.names() == ["first", "second"]
    assert [name for name, _ in written.markers()] == ["first", "second"]
    assert written.position() == 3


def test_rows_that_the_broker_refuses_are_an_abort_and_the_producer_goes_on(broker: LocalBroker, small_topics: str) -> None:
    written = Written(broker.cluster, small_topics)
    writer = Writer(broker.cluster, small_topics)
    assert isinstance(writer.commit("before", 1), Committed)
    # The client's batches are larger than what the topic takes, and it learns that while it takes over the rest.
    assert isinstance(writer.commit("refused", 2, rows=MANY, row_bytes=100), Aborted)
    # librdkafka may need one abort more, to number its records anew.
    assert next(outcome for outcome in (writer.commit("after", 3) for _ in range(2)) if isinstance(outcome, Committed))
    assert written.names() == ["after", "before"]
    assert written.position() == 3
