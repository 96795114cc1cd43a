"""Which stores are built upon, and which are rebuilt from their changelog: the order of the questions, and every edge."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from schemas.topics import TOMBSTONE_RETENTION_MS
from streams.restore import MAX_STORE_AGE_MS, _distrust
from streams.store import StandsFor, StoreIdentity

OURS = StoreIdentity("cluster-a", "t.tally", "t.settlement-changelog", "topic-id-1")
LOG_START, LOG_END = 100, 200
NOW_MS = 1_795_000_000_000


def stands_for(*, identity: StoreIdentity = OURS, offset: int = 150, age_ms: int = 60_000) -> StandsFor:
    return StandsFor(identity, offset, NOW_MS - age_ms, b"marker")


def judged(store: StandsFor | None) -> str:
    return _distrust(store, OURS, LOG_START, LOG_END, NOW_MS)


def test_a_store_of_this_changelog_between_its_start_and_its_end_is_trusted() -> None:
    assert judged(stands_for()) == ""


def test_a_new_store_stands_for_nothing_and_there_is_nothing_to_distrust() -> None:
    assert judged(None) == ""


@dataclass(frozen=True)
class Other:
    """One field of the identity that is somebody else's."""

    field: str
    value: str


@pytest.mark.parametrize(
    "other",
    [
        Other("cluster_id", "cluster-b"),
        Other("group_id", "t.another-app"),
        Other("changelog", "t.revenue-changelog"),
        Other("changelog_id", "topic-id-2"),  # deleted and made again under its name: the offsets start over
    ],
    ids=lambda other: other.field,
)
def test_a_store_of_another_cluster_app_or_topic_is_distrusted_whatever_its_offset_says(other: Other) -> None:
    foreign = msgspec.structs.replace(OURS, **{other.field: other.value})
    assert foreign != OURS
    why = judged(stands_for(identity=foreign))
    assert why.startswith("it belongs to StoreIdentity(")
    assert other.value in why
    assert why.endswith(f"not to {OURS}")


def test_i2_a_store_past_the_end_of_its_changelog_is_distrusted_and_one_at_the_end_is_not() -> None:
    assert judged(stands_for(offset=LOG_END)) == ""
    assert judged(stands_for(offset=LOG_END + 1)) == "it stands for offset 201, the changelog ends at 200"


def test_a_store_below_the_start_of_its_changelog_is_distrusted_and_one_at_the_start_is_not() -> None:
    assert judged(stands_for(offset=LOG_START)) == ""
    assert judged(stands_for(offset=LOG_START - 1)) == "it stands for offset 99, the changelog begins at 100"


def test_a_store_older_than_half_of_the_tombstones_retention_is_distrusted_since_deleted_keys_would_come_back() -> None:
    assert MAX_STORE_AGE_MS * 2 == TOMBSTONE_RETENTION_MS
    assert judged(stands_for(age_ms=MAX_STORE_AGE_MS)) == ""
    assert "tombstones" in judged(stands_for(age_ms=MAX_STORE_AGE_MS + 1))


def test_a_clock_that_was_set_back_does_not_make_a_store_old() -> None:
    assert judged(stands_for(age_ms=-3_600_000)) == ""


def test_an_empty_changelog_trusts_a_store_at_zero_and_no_other() -> None:
    assert _distrust(stands_for(offset=0), OURS, 0, 0, NOW_MS) == ""
    assert "ends at 0" in _distrust(stands_for(offset=1), OURS, 0, 0, NOW_MS)
