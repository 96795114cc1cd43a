"""Quantiles from counters: right to one percent, whatever the numbers and however the counters were added."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agents.quantiles import RELATIVE_ERROR, bucket_of, quantiles


@given(st.lists(st.integers(-5, 10**12), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_the_number_at_its_rank_to_one_percent(numbers: list[int], share: float) -> None:
    [found] = quantiles(Counter(map(bucket_of, numbers)), (share,))
    right = max(sorted(numbers)[int(share * (len(numbers) - 1))], 0)
    assert abs(found - right) <= RELATIVE_ERROR * right + 0.5 + 1e-9 * right


def test_nothing_at_all_is_zero_and_order_of_the_counters_leaves_no_trace() -> None:
    assert quantiles({-1: 3}, (0.5, 0.99)) == (0, 0)
    assert quantiles({5: 1, -1: 1, 9: 2}, (0, 0.5, 1)) == quantiles({9: 2, 5: 1, -1: 1, 7: 0}, (0, 0.5, 1))
