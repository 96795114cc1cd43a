"""What `tally generate` says it has sent."""

from __future__ import annotations

from connectors.sources.generator import plan
from streams.cli.generate import summary

START_MS = 1_795_000_000_000


def test_the_summary_counts_late_orders_and_not_what_followed_them() -> None:
    made = plan(400, 1, START_MS, late_ratio=0.02)
    assert summary(made, {"orders": 5, "payments": 7}).endswith(" bad records and 8 late orders")
    assert summary(plan(400, 1, START_MS, late_ratio=0), {}).endswith(" and 0 late orders")
