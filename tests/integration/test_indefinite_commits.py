"""F5: commits whose answer, or whose request, is lost between client and broker; what happened is found out, and counted once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.cluster import Cluster
from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from streams.local_broker import LocalBroker
from streams.transaction import Committed, Unknown
from tests.support.counts import TASKS
from tests.support.end_txn import EndTxnProxy, Fault
from tests.support.proxy import proxied_broker
from tests.support.transactions import Writer, Written
from tests.support.workers import Deployment, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.own_broker("a broker behind a proxy that loses answers")]


class Proxied:
    """A broker behind the proxy, and every topic under a prefix."""

    def __init__(self, past: Cluster, proxy: EndTxnProxy, prefix: str) -> None:
        self.past = past
        self.through = Cluster(f"127.0.0.1:{proxy.port}")
        self.proxy = proxy
        self.prefix = prefix

    def now_s(self) -> float:
        """A clock that goes an hour forward when the fault is met: every deadline from before has passed then."""
        return time.monotonic() + (3_600 if self.proxy.met else 0)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, EndTxnProxy]]:
    with proxied_broker(tmp_path_factory.mktemp("proxied-broker"), EndTxnProxy) as both:
        yield both


@pytest.fixture(scope="module")
def broker(servers: tuple[LocalBroker, EndTxnProxy]) -> LocalBroker:
    """In the place of everybody's, so that the topics are made on it."""
    return servers[0]


@pytest.fixture
def proxied(servers: tuple[LocalBroker, EndTxnProxy], topics: str) -> Iterator[Proxied]:
    broker, proxy = servers
    proxy.arm(Fault.NONE)
    try:
        yield Proxied(broker.cluster, proxy, topics)
    finally:
        proxy.lift()


def test_f05a_a_commit_whose_answer_is_lost_with_its_connection_is_asked_again_and_stands_once(proxied: Proxied) -> None:
    written, writer = Written(proxied.past, proxied.prefix), Writer(proxied.through, proxied.prefix)
    assert isinstance(writer.commit("before", 1), Committed)
    proxied.proxy.arm(Fault.CUT)
    outcome = writer.commit("cut", 2)
    assert proxied.proxy.met == 1, "the answer was not lost"
    assert isinstance(outcome, Committed)
    assert list(outcome.marker_offsets.values()) == [offset for name, offset in written.markers() if name == "cut"]
    assert (written.names(), written.position()) == (["before", "cut"], 2)


def test_f05b_a_commit_that_is_never_answered_is_unknown_and_had_happened(proxied: Proxied) -> None:
    written, writer = Written(proxied.past, proxied.prefix), Writer(proxied.through, proxied.prefix, now_s=proxied.now_s)
    assert isinstance(writer.commit("before", 1), Committed)
    proxied.proxy.arm(Fault.SILENCE)
    outcome = writer.commit("unanswered", 2)
    proxied.proxy.lift()
    assert proxied.proxy.met >= 1, "the answer was not lost"
    assert isinstance(outcome, Unknown)
    assert (written.names(), written.position()) == (["before", "unanswered"], 2), "it had happened, whole"
    assert isinstance(writer.commit("after", 3), Committed)
    assert [name for name, _ in written.markers()] == ["before", "unanswered", "after"]


def test_f05_a_commit_that_never_reaches_the_broker_is_unknown_and_never_happens(proxied: Proxied) -> None:
    writer = Writer(proxied.through, proxied.prefix, now_s=proxied.now_s, transaction_timeout_ms=60_000)
    written = Written(proxied.past, proxied.prefix)
    assert isinstance(writer.commit("before", 1), Committed)
    proxied.proxy.arm(Fault.LOSS)
    outcome = writer.commit("lost", 2)
    proxied.proxy.lift()
    assert proxied.proxy.met >= 1, "the request was not lost"
    assert isinstance(outcome, Unknown)
    assert (written.names(), written.position()) == (["before"], 1), "the new producer has ended it"
    assert isinstance(writer.commit("after", 2), Committed)
    assert (written.names(), written.position()) == (["after", "before"], 2)


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.LOSS], ids=lambda fault: fault.name.lower())
def test_f05b_a_worker_whose_commit_gets_no_answer_replaces_its_producer_and_stays_exact(
    fault: Fault, proxied: Proxied, tmp_path: Path
) -> None:
    whole = plan(orders=2_000, seed=5, start_ms=1_795_000_000_000)
    half = len(whole.sent) // 2
    with Deployment(tmp_path, proxied.through, proxied.prefix, epoch_records_max=500, commit_timeout_ms=12_000) as tally:
        worker = tally.start("w1")
        wait_for("w1 has every task", lambda: len(worker.tasks()) == TASKS)
        publisher = Publisher(proxied.past, proxied.prefix)
        publisher.send(whole.sent[:half])
        wait_for("w1 commits", lambda: worker.status().get("epochs_count", 0) >= 3)
        proxied.proxy.arm(fault)
        publisher.send(whole.sent[half:])
        publisher.close()
        wait_for("an EndTxn meets the fault", lambda: proxied.proxy.met)
        wait_for("w1 gives up waiting", lambda: "nobody knows" in worker.text or not worker.alive, 60)
        proxied.proxy.lift()
        verdict = tally.finish(truth_of(whole))
        assert "the producer is replaced" in worker.text
    assert verdict.exact, verdict.headline()
