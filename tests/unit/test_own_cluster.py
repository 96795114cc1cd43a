"""What is said before anything is made on somebody's cluster."""

from __future__ import annotations

import pytest

from schemas.topics import PARTITIONS, TOPICS
from streams.errors import RefusedError
from streams.own_cluster import announcement, check_allowed
from tests.support.somebodys import why_skipped


@pytest.mark.parametrize("keep", [False, True])
def test_cluster_prefix_and_what_will_be_made_are_said(keep: bool) -> None:
    cluster, made = announcement("qX-1", "kafka:9092", "demo-1.", "demo-1.tally", keep=keep)
    assert cluster == "Kafka: cluster qX-1 at kafka:9092, as KAFKA_BOOTSTRAP_SERVERS says; no local broker is started"
    assert made == (
        f"it will get {len(TOPICS)} topics with {len(TOPICS) * PARTITIONS} partitions under the prefix demo-1., and the consumer "
        f"group demo-1.tally; {'they stay, as --keep says' if keep else 'they are removed at the end (--keep leaves them)'}"
    )


def test_the_cluster_that_was_allowed_is_used() -> None:
    check_allowed("qX-1", "qX-1")


@pytest.mark.parametrize("allowed", ["", "other", "QX-1", "qX", "qX-1 ", "*", "1", "yes"])
def test_any_other_is_refused_with_what_to_set(allowed: str) -> None:
    with pytest.raises(RefusedError, match=r"^nothing was made on cluster qX-1: .*set TALLY_ALLOW_CLUSTER=qX-1$") as refused:
        check_allowed("qX-1", allowed)
    assert refused.value.exit_code == 2
    assert allowed in str(refused.value)


def test_a_skipped_test_says_what_it_needs() -> None:
    assert why_skipped("a broker that dies") == (
        "needs a broker that dies: a broker of its own, and KAFKA_BOOTSTRAP_SERVERS names somebody's"
    )
