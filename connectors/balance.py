"""Checks what must add up: committed offsets, the outcomes of every record (I4), and the money. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from connectors.ground_truth import Money
from connectors.reader import ReadRecord
from connectors.rows import decoded
from connectors.verdict import Outcomes, Problem
from connectors.world import World
from schemas import events, topics
from schemas.aggregates import RevenueAdjustment

SETTLEMENT = topics.SETTLEMENT_CHANGELOG.name
REVENUE = topics.REVENUE_CHANGELOG.name
SHUFFLED = {REVENUE: topics.REVENUE_DELTAS.name, topics.CUSTOMERS_CHANGELOG.name: topics.CUSTOMER_DELTAS.name}
"""What each stage of windows reads."""
_UNMATCHED_MEASURES = {"PaymentCaptured": "captured_minor", "PaymentRefunded": "refunded_minor"}


def check_offsets(world: World) -> Iterator[Problem]:
    """Give every input partition whose committed offset is not at its end; what only tells the time may come at any moment."""
    for (topic, partition), end in sorted(world.ends.items()):
        committed = world.committed.get((topic, partition))
        least = end
        if topic in SHUFFLED.values():
            # Transaction markers stand behind the last record, and a consumer need not have passed them.
            shuffled = world.shuffled.get((topic, partition), [])
            least = next((record.offset + 1 for record in reversed(shuffled) if _adds(record)), 0)
        if committed is None and least == 0:
            continue
        if committed is None or not least <= committed <= end:
            right = f"committed offset {end}" if least == end else f"committed offset {least} to {end}"
            kind = "missing" if committed is None else "conflicting"
            found = "none" if committed is None else str(committed)
            yield Problem(kind, topic, f"partition {partition}", right, found)  # type: ignore[arg-type]


def check_tasks(world: World) -> Iterator[Problem]:
    """Give every task whose counters do not add up: consumed = applied + duplicates + dead, and dead by reason."""
    inputs = {SETTLEMENT: {topic.name for topic in topics.INPUTS}, **{name: {shuffle} for name, shuffle in SHUFFLED.items()}}
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


def check_windowing(world: World) -> Iterator[Problem]:
    """Give every task of windows that has not applied all that its marker is behind, or that has more to add."""
    for changelog, topic in SHUFFLED.items():
        for (name, partition), marker in sorted(world.markers.items()):
            if name != changelog:
                continue
            next_offset = next(
                (at.next_offset for at in marker.positions if (at.topic, at.partition) == (world.prefix + topic, partition)), 0
            )
            shuffled = world.shuffled.get((topic, partition), [])
            behind = sum(record.offset < next_offset for record in shuffled)
            outcomes = outcomes_of(Counter(marker.counters))
            where = f"partition {partition}"
            if outcomes.consumed != behind or outcomes.applied != behind:
                yield Problem("conflicting", changelog, where, f"{behind} records consumed and applied", str(outcomes))
            left = sum(record.offset >= next_offset and _adds(record) for record in shuffled)
            if left:
                yield Problem("missing", changelog, where, "all that adds to windows consumed", f"{left} records left")


def _adds(record: ReadRecord) -> bool:
    """Tell whether a record of a shuffle topic adds anything to a window, or only says how far its sources are in event time."""
    deltas = decoded(record.value)
    return not isinstance(deltas, events.Deltas) or bool(deltas.flows)


def check_totals(
    world: World, expected: Outcomes, dead_by_reason: Counter[str], other_content_count: int, waiting_count: int
) -> Iterator[Problem]:
    """Give what differs between the settlement tasks' counters, summed, and what was sent."""
    settlement = summed(world, SETTLEMENT)
    if outcomes_of(settlement) != expected:
        yield Problem("conflicting", SETTLEMENT, "all tasks", str(expected), str(outcomes_of(settlement)))
    for name, right_count in (("duplicates|other_content", other_content_count), ("waiting_events", waiting_count)):
        if settlement[name] != right_count:
            yield Problem("conflicting", SETTLEMENT, name, str(right_count), str(settlement[name]))
    found = Counter({name.removeprefix("dead|"): count for name, count in settlement.items() if name.startswith("dead|")})
    for reason in sorted((found | dead_by_reason).keys()):
        if found[reason] != dead_by_reason[reason]:
            yield Problem("conflicting", SETTLEMENT, f"dead|{reason}", str(dead_by_reason[reason]), str(found[reason]))


class Right(NamedTuple):
    """What each account must hold: by the truth, and by the rows that are there. ``late`` and ``final`` are adjusted."""

    accepted: Money
    waiting: Money
    unmatched: Money
    late: Money
    final: Money
    windowed: Money


def check_money(world: World, right: Right) -> Iterator[Problem]:
    """Give the sums where an account is not right, or accepted != windowed + in flight + waiting + adjusted + unmatched."""
    settlement, revenue = summed(world, SETTLEMENT), summed(world, REVENUE)
    accounts = [
        *((SETTLEMENT, name, account(settlement, name)) for name in ("accepted", "waiting", "unmatched", "adjusted")),
        *((REVENUE, name, account(revenue, name)) for name in ("adjusted", "windowed")),
    ]
    accepted, waiting, unmatched, late, final, windowed = (found for _, _, found in accounts)
    expected = (right.accepted, right.waiting, right.unmatched, right.late, right.final, right.windowed)
    for (changelog, name, found), amounts in zip(accounts, expected, strict=True):
        for currency, measure in sorted(found.keys() | amounts.keys()):
            if found[currency, measure] != amounts[currency, measure]:
                sums = str(amounts[currency, measure]), str(found[currency, measure])
                yield Problem("conflicting", changelog, f"{name}|{currency}|{measure}", *sums)
    in_flight = Counter(account(settlement, "booked"))
    in_flight.subtract(windowed)
    in_flight.subtract(final)
    everywhere = (right.windowed, in_flight, waiting, late + final, unmatched)
    for currency, measure in sorted(set().union(accepted, *everywhere)):
        parts = [where[currency, measure] for where in everywhere]
        if sum(parts) != accepted[currency, measure]:
            text = "{} in windows + {} in flight + {} waiting + {} adjusted + {} unmatched".format(*parts)
            all_of_it = f"{accepted[currency, measure]} accepted"
            yield Problem("conflicting", "the money", f"{currency} {measure}", all_of_it, f"{sum(parts)} = {text}")


def unmatched_money(rows: Iterable[events.UnmatchedPayment]) -> Money:
    """Give the amounts of rows of ``unmatched-payments``."""
    amounts: Money = Counter()
    for row in rows:
        if row.event_type in _UNMATCHED_MEASURES:
            amounts[row.currency, _UNMATCHED_MEASURES[row.event_type]] += row.amount_minor
    return amounts


def adjusted_money(rows: Iterable[RevenueAdjustment]) -> Money:
    """Give the amounts of rows of ``revenue-adjustments``, as far as they are of merchants' money."""
    amounts: Money = Counter()
    for row in rows:
        if row.flow == "money":
            for measure, amount in row.amounts.items():
                amounts[row.dimensions["currency"], measure] += amount
    return amounts


def windowed_money(table: Iterable[Mapping[str, Any]]) -> Money:
    """Give the sums of the rows of ``revenue-by-merchant-1m``."""
    amounts: Money = Counter()
    for row in table:
        for measure in events.MEASURES:
            amounts[row["currency"], measure] += row[measure]
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


def account(counters: Mapping[str, int], name: str) -> Money:
    """Give what stands in one account of the counters of a task, or of several: those named ``name|currency|measure``."""
    amounts: Money = Counter()
    for counter, amount in counters.items():
        found, _, rest = counter.partition("|")
        currency, _, measure = rest.partition("|")
        if found == name and measure:
            amounts[currency, measure] += amount
    return amounts
