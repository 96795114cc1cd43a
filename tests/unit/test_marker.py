"""Where a task may start: only where its marker and the committed offsets agree (invariant I3)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.events import InputPosition, TaskMarker
from streams.marker import FORMAT_VERSION, Refuse, Resume, TopicPartition, judge_start, make_marker

ORDERS, PAYMENTS = ("t.orders", 7), ("t.payments", 7)
MARKER = make_marker(88, "w2", {PAYMENTS: (5, 9), ORDERS: (100, 130)}, {"consumed": 34, "applied": 34})
AGREED: Mapping[TopicPartition, int | None] = {ORDERS: 130, PAYMENTS: 9}
STARTS = {ORDERS: 10, PAYMENTS: 9}


def refusal(
    marker: TaskMarker | None, committed: Mapping[TopicPartition, int | None], starts: Mapping[TopicPartition, int] = STARTS
) -> str:
    verdict = judge_start(marker, committed, starts)
    assert isinstance(verdict, Refuse)
    assert verdict.reason[0].islower()
    assert not verdict.reason.endswith(".")
    return verdict.reason


def test_a_marker_says_first_and_next_offset_per_partition_epoch_format_and_counters() -> None:
    assert (
        TaskMarker(
            format_version=FORMAT_VERSION,
            epoch=88,
            worker="w2",
            positions=(InputPosition("t.orders", 7, 100, 130), InputPosition("t.payments", 7, 5, 9)),
            counters={"consumed": 34, "applied": 34},
        )
        == MARKER
    )
    assert decode(encode(MARKER)) == MARKER


def test_i3_no_marker_and_no_offsets_is_a_first_start_from_the_beginning_of_the_topics() -> None:
    assert judge_start(None, {ORDERS: None, PAYMENTS: None}, STARTS) == Resume({ORDERS: 10, PAYMENTS: 9})


def test_i3_marker_and_offsets_that_agree_resume_there() -> None:
    assert judge_start(MARKER, AGREED, STARTS) == Resume({ORDERS: 130, PAYMENTS: 9})


@pytest.mark.parametrize("committed", [{ORDERS: 130, PAYMENTS: 9}, {ORDERS: 130, PAYMENTS: None}, {ORDERS: 0, PAYMENTS: None}])
def test_i3_offsets_without_a_marker_are_refused(committed: dict[TopicPartition, int | None]) -> None:
    reason = refusal(None, committed)
    assert "has no marker" in reason
    for (topic, partition), offset in committed.items():
        assert (f"{topic}/{partition}={offset}" in reason) == (offset is not None)


DISAGREEING: list[tuple[dict[TopicPartition, int | None], str]] = [
    ({ORDERS: 131, PAYMENTS: 9}, "the offsets are ahead of the changelog"),
    ({ORDERS: 130, PAYMENTS: 10}, "the offsets are ahead of the changelog"),
    ({ORDERS: 129, PAYMENTS: 9}, "the offsets were reset"),
    ({ORDERS: 0, PAYMENTS: 0}, "the offsets were reset"),
    ({ORDERS: 100, PAYMENTS: 5}, "a transaction was torn"),
    ({ORDERS: 130, PAYMENTS: None}, "the group's offsets expired or were deleted"),
    ({ORDERS: None, PAYMENTS: None}, "the group's offsets expired or were deleted"),
]


@pytest.mark.parametrize(("committed", "cause"), DISAGREEING)
def test_i3_every_disagreement_is_refused_with_a_sentence_that_names_its_cause_and_both_sides(
    committed: dict[TopicPartition, int | None], cause: str
) -> None:
    reason = refusal(MARKER, committed)
    assert reason.startswith(cause)
    assert "epoch 88" in reason
    assert "w2" in reason
    assert "t.orders/7=130, t.payments/7=9" in reason
    said = ", ".join(f"{topic}/{partition}={'none' if at is None else at}" for (topic, partition), at in committed.items())
    assert said in reason


def test_i3_a_marker_that_knows_other_partitions_than_the_task_is_refused() -> None:
    reason = refusal(MARKER, {ORDERS: 130}, {ORDERS: 10})
    assert "t.payments/7=9" in reason
    reason = refusal(make_marker(1, "w", {ORDERS: (0, 130)}, {}), AGREED)
    assert "t.payments/7=9" in reason


def test_i3_a_marker_of_a_later_format_is_refused_before_it_is_compared() -> None:
    reason = refusal(replace(MARKER, format_version=FORMAT_VERSION + 1), {ORDERS: None, PAYMENTS: None})
    assert f"format {FORMAT_VERSION + 1}" in reason
    assert f"reads {FORMAT_VERSION}" in reason


def test_i3_records_that_retention_took_before_they_were_read_are_never_skipped() -> None:
    reason = refusal(MARKER, AGREED, {ORDERS: 131, PAYMENTS: 0})
    assert "t.orders/7=130" in reason
    assert "t.orders/7=131" in reason
    assert isinstance(judge_start(MARKER, AGREED, {ORDERS: 130, PAYMENTS: 9}), Resume)
