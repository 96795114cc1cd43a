"""What `tally topics apply` says before it does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.topics import ORDERS, PAYMENTS, TOPICS
from streams.errors import RefusedError
from streams.topic_plan import MIN_ISR_KEY, Durability, Found, plan_topics, warnings

SAFE = Durability(3, 2)
ORDERS_THERE = Found(12, 3, ORDERS.config | {MIN_ISR_KEY: "2", "segment.bytes": "1"})


@pytest.mark.parametrize(
    ("brokers", "factor", "min_isr", "made"),
    [
        (1, None, None, (1, 1)),
        (2, None, None, (2, 1)),
        (3, None, None, (3, 2)),
        (9, None, None, (3, 2)),
        (9, 5, None, (5, 2)),
        (9, 5, 3, (5, 3)),
        (3, 2, 2, (2, 2)),
        (3, 1, None, (1, 1)),
    ],
)
def test_a_new_topic_is_as_safe_as_asked_or_as_the_brokers_allow(
    brokers: int, factor: int | None, min_isr: int | None, made: tuple[int, int]
) -> None:
    assert Durability.on(brokers, factor, min_isr) == Durability(*made)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RefusedError, match="--replication-factor 3 cannot be: the cluster has 1 brokers"):
        Durability.on(1, 3)
    with pytest.raises(RefusedError, match="--min-isr 2 cannot be with replication factor 1"):
        Durability.on(1, None, 2)


def test_a_missing_topic_is_shown_with_everything_it_will_have() -> None:
    [step] = plan_topics([ORDERS], "p.", {}, SAFE)
    assert step.action == "create"
    assert step.sentence.startswith("create  p.orders: 12 partitions, replication factor 3, max.message.bytes=1048588, ")
    for key, value in (ORDERS.config | SAFE.config).items():
        assert f"{key}={value}" in step.sentence


def test_a_topic_as_declared_is_kept_whatever_else_is_set_there() -> None:
    assert [step.action for step in plan_topics([ORDERS], "", {"orders": ORDERS_THERE}, Durability(1, 1))] == ["keep"]


def test_only_what_differs_would_be_altered_and_min_isr_only_if_it_was_asked_for() -> None:
    there = replace(ORDERS_THERE, config={**ORDERS_THERE.config, "retention.ms": "7"})
    [step] = plan_topics([ORDERS], "", {"orders": there}, SAFE)
    assert (step.action, step.alter, step.wrong) == ("differs", {"retention.ms": str(ORDERS.retention_ms)}, False)
    assert step.sentence == (
        f"differs orders: has retention.ms=7 and is declared with {ORDERS.retention_ms}; `tally topics apply --alter` sets it"
    )
    [step] = plan_topics([ORDERS], "", {"orders": ORDERS_THERE}, SAFE, min_isr=1)
    assert step.alter == {MIN_ISR_KEY: "1"}


def test_other_partitions_stay_wrong_whatever_is_altered() -> None:
    [step] = plan_topics([ORDERS], "", {"orders": replace(ORDERS_THERE, partitions=24)}, SAFE)
    assert (step.action, step.alter, step.wrong) == ("differs", {}, True)
    assert "--alter" not in step.sentence


def test_a_safe_cluster_has_no_warning_and_an_unsafe_one_two_however_many_topics() -> None:
    assert warnings(plan_topics(TOPICS, "", {}, SAFE), {}, SAFE, alter=False) == []
    one = Durability(1, 1)
    these = f"warning: {len(TOPICS)} topics, such as orders, have"
    assert warnings(plan_topics(TOPICS, "", {}, one), {}, one, alter=False) == [
        f"{these} a replication factor below 3: no broker may die while one is serviced",
        f"{these} min.insync.replicas below 2: the death of one broker may lose what was committed",
    ]


def test_existing_topics_are_warned_of_until_they_are_altered() -> None:
    found = {"orders": replace(ORDERS_THERE, config=ORDERS.config | {MIN_ISR_KEY: "1"})}
    steps = plan_topics([ORDERS, PAYMENTS], "", found, SAFE, min_isr=2)
    [said] = warnings(steps, found, SAFE, alter=False)
    assert said.startswith("warning: orders has min.insync.replicas below 2")
    assert warnings(steps, found, SAFE, alter=True) == []
