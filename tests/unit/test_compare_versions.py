"""Two versions of a topic, compared row by row: what is equal, what differs, and what says nothing yet."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from connectors.compare_versions import COMPARED, Difference, Side, TopicCompared, compare_versions
from connectors.reader import ReadRecord
from schemas.aggregates import RevenueAdjustment, UnpaidOrder
from schemas.codec import Undecodable, encode
from schemas.events import MerchantRevenue, Record
from schemas.topics import CONTROL_TOTALS, REVENUE_ADJUSTMENTS, REVENUE_BY_MERCHANT_1M, UNPAID_ORDERS, Topic

T = 1_795_000_020_000
FINAL = MerchantRevenue("m-1", "EUR", T, T + 60_000, "final", 3, 1, 200, 100, 50, 0, 50)
OPEN = msgspec.structs.replace(FINAL, status="provisional")


def records(*rows: tuple[str, Record]) -> list[ReadRecord]:
    return [ReadRecord("t", 0, at, T, key.encode(), encode(value)) for at, (key, value) in enumerate(rows)]


def side(*rows: tuple[str, Record], is_over: bool = True) -> Side:
    return Side(records(*rows), lambda _, __: is_over)


def counts(seen: TopicCompared) -> dict[str, int]:
    counted = {
        "equal": seen.equal_count,
        "different": seen.different_count,
        "only ours": seen.only_ours_count,
        "only theirs": seen.only_theirs_count,
        "open": seen.open_count,
        "before": seen.before_count,
    }
    return {name: count for name, count in counted.items() if count}


def compare(ours: Side, theirs: Side, topic: Topic = REVENUE_BY_MERCHANT_1M, since_ms: int = 0) -> dict[str, int]:
    return counts(compare_versions(topic, ours, theirs, since_ms))


def changed(**fields: Any) -> MerchantRevenue:
    return msgspec.structs.replace(FINAL, **fields)


def test_the_last_row_of_a_key_counts_and_its_revision_does_not() -> None:
    ours = side(("a", OPEN), ("a", FINAL))
    assert compare(ours, side(("a", changed(revision=99)))) == {"equal": 1}
    assert compare(ours, side(("a", FINAL), ("a", changed(gross_minor=7)))) == {"different": 1}


def test_a_difference_has_the_key_and_both_rows() -> None:
    [found] = compare_versions(REVENUE_BY_MERCHANT_1M, side(("a", FINAL)), side(("a", changed(gross_minor=7)))).differences
    assert (found.key, found.ours and found.ours["gross_minor"], found.theirs and found.theirs["gross_minor"]) == ("a", 200, 7)
    assert found.ours is not None
    assert "revision" not in found.ours


@pytest.mark.parametrize(("ours", "theirs"), [(OPEN, FINAL), (FINAL, OPEN), (OPEN, OPEN)])
def test_a_window_that_is_not_final_in_both_says_nothing_yet(ours: MerchantRevenue, theirs: MerchantRevenue) -> None:
    assert compare(side(("a", ours)), side(("a", theirs))) == {"open": 1}


def test_a_window_that_one_has_differs_only_once_the_other_has_passed_its_end() -> None:
    assert compare(side(("a", FINAL)), side(is_over=True)) == {"only ours": 1}
    assert compare(side(("a", FINAL)), side(is_over=False)) == {"open": 1}
    assert compare(side(is_over=True), side(("a", FINAL))) == {"only theirs": 1}
    assert compare(side(is_over=True), side(("a", OPEN))) == {"open": 1}


def test_what_belongs_to_a_time_before_is_counted_apart() -> None:
    ours, theirs = side(("a", FINAL), ("b", FINAL)), side(("a", changed(gross_minor=7)))
    assert compare(ours, theirs, since_ms=T + 1) == {"before": 2}
    assert compare(ours, theirs, since_ms=T) == {"different": 1, "only ours": 1}


def test_all_rows_of_a_log_count_in_any_order() -> None:
    def late(event_id: str, amount: int = 7) -> tuple[str, Record]:
        return "a", RevenueAdjustment("money", {"merchant_id": "m"}, T, {"gross_minor": amount}, event_id, "OrderPlaced", "late")

    ours = side(late("1"), late("2"), late("2"), late("3"))
    assert compare(ours, side(late("3"), late("2"), late("1"), late("2")), REVENUE_ADJUSTMENTS) == {"equal": 4}
    assert compare(ours, side(late("2"), late("3", 8), late("1")), REVENUE_ADJUSTMENTS) == {
        "equal": 2, "different": 1, "only ours": 1,
    }  # fmt: skip


def test_a_log_has_no_windows_so_that_whatever_one_lacks_differs() -> None:
    unpaid = UnpaidOrder("o-1", "m-1", "c-1", "EUR", 100, T, T + 1)
    seen = compare_versions(UNPAID_ORDERS, side(is_over=False), side(("o-1", unpaid)))
    assert seen.differences == [Difference("o-1", None, msgspec.to_builtins(msgspec.structs.asdict(unpaid)))]


def test_a_row_that_is_none_is_an_error_and_no_difference() -> None:
    with pytest.raises(Undecodable, match="UnpaidOrder"):
        compare(side(("a", UnpaidOrder("o-1", "m-1", "c-1", "EUR", 100, T, T + 1))), side())


def test_every_output_is_compared_and_its_rows_have_a_time() -> None:
    assert CONTROL_TOTALS not in COMPARED
    for topic in COMPARED:
        fields = topic.values[0].__struct_fields__
        assert {"window_start_ms", "placed_at_ms", "minute_ms", "occurred_at_ms"} & set(fields), topic.name
