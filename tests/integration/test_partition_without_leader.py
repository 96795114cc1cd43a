"""F7: a partition without its leader for a moment. The batch that was refused is sent again before the next one is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.cluster import Cluster
from connectors.reader import read_topic
from connectors.sources.generator import plan
from connectors.sources.large import with_large_orders
from connectors.sources.publish import publish
from schemas.topics import ORDERS
from streams.local_broker import LocalBroker
from streams.transaction import Committed
from tests.support.not_leader import NotLeaderProxy
from tests.support.proxy import proxied_broker
from tests.support.transactions import Writer, Written

pytestmark = [pytest.mark.kafka, pytest.mark.own_broker("a broker behind a proxy that refuses a first batch")]

LARGE_BYTES = 480_000
"""Two of them fill the client's batch."""


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, NotLeaderProxy]]:
    with proxied_broker(tmp_path_factory.mktemp("proxied-broker"), NotLeaderProxy) as both:
        yield both


@pytest.fixture(scope="module")
def broker(proxied: tuple[LocalBroker, NotLeaderProxy]) -> LocalBroker:
    """In the place of everybody's, so that the topics are made on it."""
    return proxied[0]


@pytest.fixture
def proxy(proxied: tuple[LocalBroker, NotLeaderProxy]) -> NotLeaderProxy:
    return proxied[1]


def through(proxy: NotLeaderProxy) -> Cluster:
    return Cluster(f"127.0.0.1:{proxy.port}")


def test_f07_a_plan_is_sent_whole_although_the_first_batch_of_each_partition_was_refused(
    broker: LocalBroker, proxy: NotLeaderProxy, topics: str
) -> None:
    small = plan(orders=60, seed=7, start_ms=1_795_000_000_000, duplicate_ratio=0, bad_ratio=0)
    whole = with_large_orders(small, orders=60, order_bytes=LARGE_BYTES)
    topic = ORDERS.named(topics)
    proxy.arm(topic)
    publish(whole, through(proxy), topics)
    assert len(proxy.refused) == ORDERS.partitions, "not every partition's first batch was refused"
    sent = sorted(record.value or b"" for record in whole.sent if record.topic is ORDERS)
    assert sorted(record.value or b"" for record in read_topic(broker.cluster, topic)) == sent


def test_f07_a_committed_transaction_is_whole_although_its_first_batch_was_refused(
    broker: LocalBroker, proxy: NotLeaderProxy, topics: str
) -> None:
    proxy.arm(f"{topics}order-status")
    writer = Writer(through(proxy), topics)
    assert isinstance(writer.commit("first", 1, rows=12 * 6, row_bytes=LARGE_BYTES), Committed)
    assert len(proxy.refused) == 12, "not every partition's first batch was refused"
    assert Written(broker.cluster, topics).names() == ["first"]
    assert sum(1 for _ in read_topic(broker.cluster, f"{topics}order-status", settled=True)) == 12 * 6
