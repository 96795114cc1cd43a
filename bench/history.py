"""A long history of the shop, slice by slice, never all of it in memory; and what the sums of all of it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from operator import add

from connectors.audit import Cut
from connectors.balance import account, outcomes_of
from connectors.cluster import Cluster
from connectors.ground_truth import Money, truth_of
from connectors.reader import latest_per_key, read_topic
from connectors.reference import MINUTE_MS, Booked, revenue_by_merchant
from connectors.sources.draft import SPAN_MS
from connectors.sources.generator import Plan, plan
from connectors.verdict import Outcomes
from schemas import codec
from schemas.aggregates import RevenueAdjustment
from schemas.events import MEASURES, MerchantRevenue
from schemas.keys import row_key
from schemas.topics import REVENUE_ADJUSTMENTS, REVENUE_BY_MERCHANT_1M

END_MS = 1_795_000_000_000
"""When the history ends: nothing in it is of the future."""
SLICE_ORDERS = 5_000
"""Orders of one slice, which is as long as a plan: twenty minutes of event time, some 15,300 events."""
_Amounts = tuple[int, ...]


def slices(events_count: int, seed: int, orders: int = SLICE_ORDERS) -> int:
    """Give how many slices make ``events_count`` events or a few more."""
    return -(-events_count // len(_plan(seed, END_MS, orders).sent))


def history(count: int, seed: int, orders: int = SLICE_ORDERS) -> Iterator[Plan]:
    """Give ``count`` slices, the oldest first. Each has orders of its own, so their truths add up."""
    for number in range(count):
        yield _plan(seed + number, END_MS - (count - 1 - number) * SPAN_MS, orders)


def _plan(seed: int, end_ms: int, orders: int) -> Plan:
    # Without what is dead, and what waits for ever: a history is about what comes and goes.
    return plan(orders, seed, end_ms, bad_ratio=0, waiting_ratio=0)


class Sums:
    """What the truths of all slices add up to: outcomes, money, and each row of the minutes of merchants."""

    def __init__(self) -> None:
        self.outcomes = Outcomes(0, 0, 0, 0)
        self.accepted: Money = Counter()
        self._minutes: dict[str, _Amounts] = {}

    def add(self, sent: Plan) -> None:
        """Add a slice."""
        truth = truth_of(sent)
        outcomes = Outcomes(truth.sent_count, truth.applied_count, truth.duplicates_count, truth.dead_count)
        self.take(outcomes, truth.accepted_money, truth.booked)

    def take(self, outcomes: Outcomes, accepted: Money, booked: Iterable[Booked]) -> None:
        """Add what becomes of some records: how many each outcome has, the money that was accepted, and what of it counts."""
        self.outcomes = Outcomes(*map(add, astuple(self.outcomes), astuple(outcomes)))
        self.accepted.update(accepted)
        for key, row in revenue_by_merchant(booked, MINUTE_MS).items():
            _add(self._minutes, key, tuple(row[measure] for measure in MEASURES))

    def problems(self, cut: Cut, cluster: Cluster, prefix: str) -> list[str]:
        """Give a sentence for everything committed that is not as it must be, at most ten of the rows.

        The books must balance, nothing may be in flight, and outcomes, money, and each minute of each merchant (its row, and
        what was adjusted) must be what was sent.

        Raises:
            ReadError: the cluster does not answer.
        """
        wrong = [line.sentence() for line in cut.wrong]
        wrong += [f"in flight: {amount} {of}" for of, amount in cut.in_flight.items() if amount]
        settlement = cut.summed("settlement")
        if (found := outcomes_of(settlement)) != self.outcomes:
            wrong.append(f"outcomes are {found}, right is {self.outcomes}")
        accepted = account(settlement, "accepted")
        wrong += [
            f"accepted {of}: {accepted[of]}, right is {self.accepted[of]}"
            for of in sorted(accepted.keys() | self.accepted.keys())
            if accepted[of] != self.accepted[of]
        ]
        minutes = _minutes(cluster, prefix)
        differ = [key for key in self._minutes.keys() | minutes.keys() if self._minutes.get(key) != minutes.get(key)]
        rows = [f"{key}: {minutes.get(key)}, right is {self._minutes.get(key)}" for key in sorted(differ)[:10]]
        return [*wrong, *([f"{len(differ):,} of {len(self._minutes):,} minutes of merchants differ"] if differ else []), *rows]

    @property
    def minutes_count(self) -> int:
        """How many rows are compared."""
        return len(self._minutes)


def _minutes(cluster: Cluster, prefix: str) -> dict[str, _Amounts]:
    """Give each minute as it was committed, with what was moved too late for it."""
    found: dict[str, _Amounts] = {}
    for record in latest_per_key(read_topic(cluster, REVENUE_BY_MERCHANT_1M.named(prefix))).values():
        row = codec.decode(record.value)
        if isinstance(row, MerchantRevenue):
            _add(found, row_key(row.merchant_id, row.currency, window_start_ms=row.window_start_ms), amounts_of(row))
    for record in read_topic(cluster, REVENUE_ADJUSTMENTS.named(prefix)):
        late = codec.decode(record.value)
        if isinstance(late, RevenueAdjustment) and late.flow == "money":
            key = row_key(*late.dimensions.values(), window_start_ms=late.minute_ms)
            _add(found, key, tuple(late.amounts.get(measure, 0) for measure in MEASURES))
    return found


def amounts_of(row: MerchantRevenue) -> _Amounts:
    """Give what a row adds up."""
    return tuple(getattr(row, measure) for measure in MEASURES)


def _add(sums: dict[str, _Amounts], key: str, amounts: _Amounts) -> None:
    known = sums.get(key)
    sums[key] = amounts if known is None else tuple(map(add, known, amounts))
