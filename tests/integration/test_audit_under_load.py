"""`tally audit` on real Kafka: it balances at every moment, however hard the workers are hit, and it sees what is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from connectors.audit import Cut
from connectors.auditor import Auditor
from connectors.balance import account
from connectors.ground_truth import truth_of
from connectors.reader import latest_per_key, read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from schemas import codec
from schemas.aggregates import ControlTotals
from schemas.events import MerchantRevenue, Record
from schemas.partitioning import partition_of
from schemas.topics import CONTROL_TOTALS, REVENUE_BY_MERCHANT_1M
from streams.local_broker import LocalBroker
from tests.support.killing import kill_at_work
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000
OUTCOMES = ("consumed", "applied", "duplicates", "dead")
ACCOUNTS = ("accepted", "booked", "windowed", "waiting", "adjusted", "unmatched")
SETTINGS = {"epoch_records_max": 300, "memory_mb": 12}
"""Small epochs: many transactions of both workers while a cut is read."""


def test_the_books_balance_at_every_moment_while_a_worker_under_load_is_killed_and_comes_back(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=2_000, seed=61, start_ms=START_MS)
    auditor = Auditor(broker.cluster, topics)
    cuts: list[Cut] = []

    def look() -> Cut:
        cut: Cut = wait_for("the auditor is answered", auditor.cut)
        assert not cut.wrong, "\n".join(line.sentence() for line in cut.wrong)
        cuts.append(cut)
        return cut

    assert look().lines == [], "nothing was counted yet"
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        tally.start("w1")
        tally.start("w2")
        wait_for("both workers have tasks", lambda: all(worker.tasks() for worker in tally.alive()))
        publisher = Publisher(broker.cluster, topics)
        publisher.send(whole.sent[:2_000])
        wait_for("some cuts under load", lambda: look() and len(cuts) >= 4)
        publisher.close()
        with tally.sending(whole.sent[2_000:], events_per_s=500):
            killed = kill_at_work(tally, tally.alive(), random.Random(61))
            look()
        tally.start(killed.worker.worker_id)
        wait_for("all is accepted", lambda: look().summed("settlement")["consumed"] == len(whole.sent))
        tally.wait_consumed("orders", "payments")
        tally.wait_consumed("revenue-deltas")
        last = look()
        said = tally.command("audit", "--rows")
        newest = latest_per_key(read_topic(broker.cluster, CONTROL_TOTALS.named(topics)))
        assert {key.decode(): outcomes_in(codec.decode(record.value)) for key, record in newest.items()} == {
            task: totals_of(counters) for task, counters in last.counters.items() if not task.startswith("customers/")
        }
    rogue = MerchantRevenue("m-rogue", "EUR", START_MS, START_MS + 60_000, "final", 1, 0, 0, 1, 0, 0, 1)
    partition = partition_of(rogue.merchant_id, REVENUE_BY_MERCHANT_1M.partitions)
    producer = Producer(broker.cluster.producer())
    producer.produce(REVENUE_BY_MERCHANT_1M.named(topics), codec.encode(rogue), b"m-rogue", partition)
    producer.flush(30)
    assert auditor.cut().wrong == [], "counters say nothing of rows"
    (line,) = auditor.cut(with_rows=True).wrong
    assert (line.where, line.of, line.difference) == (f"revenue/{partition}", ("EUR", "captured_minor"), -1)
    truth = truth_of(whole)
    orders_count = sum(line.total[1] for line in last.totals if line.of[-1] == "orders_count")
    assert orders_count == sum(count for (_, measure), count in truth.accepted_money.items() if measure == "orders_count")
    assert not any(last.in_flight.values())
    assert any(any(cut.in_flight.values()) for cut in cuts), "no cut saw anything in flight"
    assert len({cut.summed("settlement")["consumed"] for cut in cuts}) > 3
    assert "rows of revenue-by-merchant-1m were added up for 12 of 12 revenue tasks" in said
    assert "the books balance" in said


def outcomes_in(row: Record) -> tuple[dict[str, int], dict[tuple[str, str], dict[str, int]]]:
    """Give what a row of control-totals says: records by outcome, and the accounts that are not empty."""
    assert isinstance(row, ControlTotals)
    outcomes = {name: getattr(row, name) for name in OUTCOMES}
    accounts = {(each.currency, each.measure): msgspec.structs.asdict(each) for each in row.accounts}
    return outcomes, {of: {name: sums[name] for name in ACCOUNTS if sums[name]} for of, sums in accounts.items()}


def totals_of(counters: Mapping[str, int]) -> tuple[dict[str, int], dict[tuple[str, str], dict[str, int]]]:
    """Give the same of a marker's counters."""
    sums = {name: account(counters, name) for name in ACCOUNTS}
    every = {of for money in sums.values() for of in money}
    accounts = {of: {name: money[of] for name, money in sums.items() if money[of]} for of in every}
    return {name: counters.get(name, 0) for name in OUTCOMES}, accounts


def test_an_entry_that_the_books_lose_is_seen_in_the_next_epoch_and_its_line_is_named(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=300, seed=62, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        tally.start("w1", {"TEST_TOPOLOGY": "tests.support.wrong_books:BOOKS_LOSE_AN_ENTRY"})
        with tally.sending(whole.sent, events_per_s=10_000):
            pass
        followed = tally.command("audit", "--follow", "--every", "0.2", code=1)
        once = json.loads(tally.command("audit", "--json", code=1))
    assert "the books do not balance" in followed
    assert not once["balanced"]
    assert [(line["where"], line["of"][-1], line["difference"]) for line in once["wrong"]] == [("settlement/7", "gross_minor", 1)]
    assert "settlement/7" in followed
