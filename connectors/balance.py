"""Checks what must add up: committed offsets, the outcomes of every record (I4), and the money. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from connectors.ground_truth import Truth
from connectors.reader import ReadRecord
from connectors.verdict import Outcomes, Problem
from connectors.world import World
from schemas import codec, events, topics

Amounts: TypeAlias = Counter[tuple[str, str]]
"""(currency, measure) to minor units or a count."""

SETTLEMENT = topics.SETTLEMENT_CHANGELOG.name
REVENUE = topics.REVENUE_CHANGELOG.name
DELTAS = topics.REVENUE_DELTAS.name
_UNMATCHED_MEASURES = {"PaymentCaptured": "captured_minor", "PaymentRefunded": "refunded_minor"}


def check_offsets(world: World) -> Iterator[Problem]:
    """Give every input partition whose committed offset is not at its end."""
    for (topic, partition), end in sorted(world.ends.items()):
        committed = world.committed.get((topic, partition))
        # Transaction markers stand behind the last delta, and a consumer need not have passed them.
        least = world.delta_ends.get(partition, 0) if topic == DELTAS else end
        if committed is None and least == 0:
            continue
        if committed is None or not least <= committed <= end:
            right = f"committed offset {end}" if least == end else f"committed offset {least} to {end}"
            kind = "missing" if committed is None else "conflicting"
            found = "none" if committed is None else str(committed)
            yield Problem(kind, topic, f"partition {partition}", right, found)  # type: ignore[arg-type]


def check_tasks(world: World) -> Iterator[Problem]:
    """Give every task whose counters do not add up: consumed = applied + duplicates + dead, and dead by reason."""
    inputs = {SETTLEMENT: (topics.ORDERS.name, topics.PAYMENTS.name), REVENUE: (DELTAS,)}
    for changelog, names in inputs.items():
        busy = {partition for (topic, partition), end in world.ends.items() if topic in names and end > 0}
        for partition in sorted(busy):
            if (changelog, partition) not in world.markers:
                yield Problem("missing", changelog, f"partition {partition}", "a task marker", "none")
    for (changelog, partition), marker in sorted(world.markers.items()):
        counters = Counter(marker.counters)
        outcomes = outcomes_of(counters)
        if outcomes.consumed != outcomes.applied + outcomes.duplicates + outcomes.dead:
            yield Problem(
                "conflicting", changelog, f"partition {partition}", "consumed = applied + duplicates + dead", str(outcomes)
            )
        by_reason = sum(amount for name, amount in counters.items() if name.startswith("dead|"))
        if by_reason != outcomes.dead:
            yield Problem("conflicting", changelog, f"partition {partition}", f"{outcomes.dead} dead by reason", str(by_reason))


def check_totals(world: World, truth: Truth, expected: Outcomes, dead_by_reason: Counter[str]) -> Iterator[Problem]:
    """Give what differs between the tasks' counters, summed, and what was sent."""
    settlement, revenue = summed(world, SETTLEMENT), summed(world, REVENUE)
    if outcomes_of(settlement) != expected:
        yield Problem("conflicting", SETTLEMENT, "all tasks", str(expected), str(outcomes_of(settlement)))
    for name, right_count in (("duplicates|other_content", truth.other_content_count), ("waiting_events", truth.waiting_count)):
        if settlement[name] != right_count:
            yield Problem("conflicting", SETTLEMENT, name, str(right_count), str(settlement[name]))
    found = Counter({name.removeprefix("dead|"): count for name, count in settlement.items() if name.startswith("dead|")})
    for reason in sorted((found | dead_by_reason).keys()):
        if found[reason] != dead_by_reason[reason]:
            yield Problem("conflicting", SETTLEMENT, f"dead|{reason}", str(dead_by_reason[reason]), str(found[reason]))
    if revenue["consumed"] != world.deltas_count or revenue["applied"] != revenue["consumed"]:
        right = f"{world.deltas_count} deltas consumed and applied"
        yield Problem("conflicting", REVENUE, "all tasks", right, str(outcomes_of(revenue)))


def check_money(world: World, truth: Truth, windows: Amounts) -> Iterator[Problem]:
    """Give the sums where windows + waiting + in flight + unmatched differs from accepted, or from the truth."""
    settlement, revenue = summed(world, SETTLEMENT), summed(world, REVENUE)
    accounts = {name: _account(settlement, name) for name in ("accepted", "waiting", "unmatched", "booked")}
    windowed = _account(revenue, "windowed")
    unmatched_rows = unmatched_money(world.records[topics.UNMATCHED_PAYMENTS.name])
    in_flight = Counter(accounts["booked"])
    in_flight.subtract(windowed)
    right = {
        "accepted": (accounts["accepted"], truth.accepted + unmatched_rows),
        "waiting": (accounts["waiting"], truth.waiting),
        "unmatched": (accounts["unmatched"], unmatched_rows),
        "windowed": (windowed, windows),
    }
    for name, (found, expected) in right.items():
        changelog = REVENUE if name == "windowed" else SETTLEMENT
        for currency, measure in sorted(found.keys() | expected.keys()):
            if found[currency, measure] != expected[currency, measure]:
                sums = str(expected[currency, measure]), str(found[currency, measure])
                yield Problem("conflicting", changelog, f"{name}|{currency}|{measure}", *sums)
    everywhere = (windows, accounts["waiting"], in_flight, accounts["unmatched"])
    for currency, measure in sorted(set().union(accounts["accepted"], *everywhere)):
        parts = [where[currency, measure] for where in everywhere]
        accepted = accounts["accepted"][currency, measure]
        if sum(parts) != accepted:
            text = "{} in windows + {} waiting + {} in flight + {} unmatched".format(*parts)
            yield Problem("conflicting", "the money", f"{currency} {measure}", f"{accepted} accepted", f"{sum(parts)} = {text}")


def unmatched_money(records: Iterable[ReadRecord]) -> Amounts:
    """Give the amounts of the rows of ``unmatched-payments``; rows that cannot be read are reported elsewhere."""
    amounts: Amounts = Counter()
    for record in records:
        try:
            row = codec.decode(record.value)
        except codec.Undecodable:
            continue
        if isinstance(row, events.UnmatchedPayment) and row.event_type in _UNMATCHED_MEASURES:
            amounts[row.currency, _UNMATCHED_MEASURES[row.event_type]] += row.amount_minor
    return amounts


def summed(world: World, changelog: str) -> Counter[str]:
    """Give the counters of all tasks of a changelog, added up."""
    total: Counter[str] = Counter()
    for (name, _), marker in world.markers.items():
        if name == changelog:
            total.update(marker.counters)
    return total


def outcomes_of(counters: Counter[str]) -> Outcomes:
    """Give the four counters of invariant I4."""
    return Outcomes(counters["consumed"], counters["applied"], counters["duplicates"], counters["dead"])


def _account(counters: Counter[str], name: str) -> Amounts:
    amounts: Amounts = Counter()
    for counter, amount in counters.items():
        account, _, rest = counter.partition("|")
        currency, _, measure = rest.partition("|")
        if account == name and measure:
            amounts[currency, measure] += amount
    return amounts
