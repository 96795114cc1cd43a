"""A made-up shop's day: orders and payments, and with each record what a right consumer does with it.

:func:`plan` is a pure function of its arguments. Every record is written down with its
expectation at the moment it is made, so the truth needs no engine and no rule book: it adds up.
"""

from __future__ import annotations

import random

from connectors.sources.draft import Draft
from connectors.sources.faults import KINDS, Faults
from connectors.sources.lates import LIVES, add_lates
from connectors.sources.sent import (
    APPLIED,
    DUPLICATE,
    Applied,
    Dead,
    DeadOrUnmatched,
    Duplicate,
    Expectation,
    Late,
    Plan,
    Sent,
    Unmatched,
)

__all__ = [
    "APPLIED",
    "DUPLICATE",
    "KINDS",
    "Applied",
    "Dead",
    "DeadOrUnmatched",
    "Duplicate",
    "Expectation",
    "Late",
    "Plan",
    "Sent",
    "Unmatched",
    "plan",
]


def plan(
    orders: int = 20_000,
    seed: int = 1,
    start_ms: int = 1_795_000_000_000,
    *,
    duplicate_ratio: float = 0.01,
    bad_ratio: float = 0.001,
    early_ratio: float = 0.03,
    waiting_ratio: float = 0.0005,
    late_ratio: float = 0.001,
    skewed_ratio: float = 0.001,
) -> Plan:
    """Give about three events for each of ``orders`` orders, with the faults of real producers among them.

    Args:
        orders: how many orders are placed; at least 1.
        seed: the same arguments give the same bytes.
        start_ms: the latest event time, milliseconds since 1970 UTC.
        duplicate_ratio: records sent twice, per event; half soon after, half towards the end.
        bad_ratio: records that cannot be decoded or break a rule, per event; unless 0, each kind once or more.
        early_ratio: orders whose payments and cancellations are sent before them.
        waiting_ratio: payments per order whose order or capture never comes; a third of them are of yesterday, and given up.
        late_ratio: orders, per order, that are sent an hour and more after all windows of their time; unless 0, four or more.
        skewed_ratio: orders, per order, whose payments are dated before them; unless 0, one or more.

    Raises:
        ValueError: when ``orders`` is below 1.
    """
    if orders < 1:
        raise ValueError(f"a plan needs one order or more, not {orders}: pass orders=1 or above")
    draft = Draft(random.Random(seed), seed, start_ms, early_ratio)
    for number in range(orders):
        draft.order(number)
    regular = len(draft.sent)
    # Bad records and copies pick their originals among the regular events only, so none is a copy of a bad one.
    if bad_ratio > 0:
        Faults(draft, regular).add(max(len(KINDS), round(regular * bad_ratio)))
    if duplicate_ratio > 0:
        draft.duplicates(max(2, round(regular * duplicate_ratio)), regular)
    if waiting_ratio > 0:
        draft.never_ordered(max(2, round(orders * waiting_ratio)))
        draft.waited_too_long(max(1, round(orders * waiting_ratio / 2)), regular)
    if late_ratio > 0:
        add_lates(draft, max(len(LIVES), round(orders * late_ratio)), regular)
    if skewed_ratio > 0:
        draft.skewed(max(1, round(orders * skewed_ratio)))
    return Plan(seed, start_ms, draft.in_order())
