"""The rules on a record's envelope: each alone, their order, and that our own topics are not asked."""

from __future__ import annotations

import pytest

from agents.envelope import ENVELOPE_RULES, Envelope, refusal
from schemas.partitioning import partition_of
from schemas.topics import ORDERS, REVENUE_DELTAS
from streams.admission import Admission
from streams.batch import EngineBatch, StageRecords
from streams.effects import Effects
from streams.tasks import Tasks
from streams.topology import TOPOLOGY
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task
from tests.unit.orders import T0_MS, deltas, placed

RIGHT = partition_of("o-1", 12)
GOOD = Envelope(b"o-1", b"o-1", RIGHT, RIGHT, T0_MS, 600_000)
BROKEN = {
    "key_missing": GOOD._replace(key=None),
    "key_mismatch": GOOD._replace(key=b"o-2"),
    "misrouted": GOOD._replace(partition=(RIGHT + 1) % 12),
    "from_the_future": GOOD._replace(appended_at_ms=T0_MS - 600_001),
}


def test_a_record_in_its_place_and_time_is_admitted() -> None:
    assert refusal(GOOD, placed()) is None
    assert refusal(GOOD._replace(appended_at_ms=T0_MS - 600_000), placed()) is None, "exactly at the limit"


@pytest.mark.parametrize("reason", BROKEN)
def test_each_rule_alone_names_its_reason(reason: str) -> None:
    refused = refusal(BROKEN[reason], placed())
    assert refused is not None
    assert refused.reason == reason


def test_the_first_broken_rule_in_the_declared_order_names_the_reason() -> None:
    assert list(BROKEN) == [rule.reason for rule in ENVELOPE_RULES]
    everything = Envelope(None, b"o-1", (RIGHT + 1) % 12, RIGHT, 0, 0)
    for reason, mended in [
        ("key_missing", everything),
        ("key_mismatch", everything._replace(key=b"o-2")),
        ("misrouted", everything._replace(key=b"o-1")),
        ("from_the_future", everything._replace(key=b"o-1", partition=RIGHT)),
    ]:
        refused = refusal(mended, placed())
        assert refused is not None
        assert refused.reason == reason


def test_i4_a_refused_record_is_buried_by_its_envelope_and_its_neighbours_go_on() -> None:
    tasks = Tasks(TOPOLOGY, PREFIX)
    wrong = (RIGHT + 1) % 12
    owners = {partition: running_task(tasks, SETTLEMENT, partition, (0, 0)) for partition in (RIGHT, wrong)}
    messages = [
        message("orders", 0, placed("good"), partition=RIGHT),
        message("orders", 1, placed("keyless"), partition=RIGHT, key=None),
        message("orders", 0, placed("good"), partition=wrong),
    ]
    effects = Effects()
    records = StageRecords(SETTLEMENT, PREFIX, messages, owners, Admission(600_000))
    batch = EngineBatch(records, effects, lambda: 0)
    assert [(row.partition, row.event.event_id) for row in batch.rows] == [(RIGHT, "good")]
    letters = [dict(output.headers or []) for output in each_of(effects.outputs)]
    assert [letter["__tally.errors.reason"] for letter in letters] == [b"key_missing", b"misrouted"]
    assert {letter["__tally.errors.class"] for letter in letters} == {b"envelope"}
    assert effects.counters[owners[wrong]] == {"consumed": 1, "dead": 1, "dead|misrouted": 1}


def test_the_clusters_own_number_of_partitions_decides_where_a_key_belongs() -> None:
    admission = Admission(600_000, {f"{PREFIX}orders": 24})
    there = message("orders", 0, placed(), partition=partition_of("o-1", 24))
    assert admission.refusal(ORDERS, there, placed()) is None


def test_records_of_our_own_topics_are_not_asked() -> None:
    delta = deltas()
    assert Admission(0).refusal(REVENUE_DELTAS, message("revenue-deltas", 0, delta, key=None), delta) is None
