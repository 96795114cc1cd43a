"""The judge: everything committed against the truth, by code that shares nothing with the agents or the engine."""

from __future__ import annotations

from functools import partial

from connectors import balance
from connectors.balance import SETTLEMENT, Right
from connectors.cluster import Cluster
from connectors.compare_letters import compare_dead_letters
from connectors.compare_once import compare_adjustments, compare_unmatched, compare_unpaid
from connectors.compare_tables import AGGREGATES, compare_order_status, compare_windows
from connectors.ground_truth import Truth, waiting_money
from connectors.terms import Terms
from connectors.verdict import Outcomes, Problem, Rows, Verdict
from connectors.world import World, read_world
from schemas import topics

__all__ = ["Problem", "Terms", "Verdict", "World", "judge", "read_world", "verdict_on"]


def judge(cluster: Cluster, prefix: str, group_id: str, truth: Truth, terms: Terms | None = None) -> Verdict:
    """Read everything committed and compare it with ``truth``.

    Args:
        cluster: the cluster.
        prefix: of the deployment's topics.
        group_id: the workers' consumer group, with the prefix.
        truth: the right answer for everything that was sent to these topics.
        terms: what the deployment sets of the rules; without it, that it sets nothing.

    Raises:
        ReadError: when the cluster does not answer or a topic is not there.
    """
    return verdict_on(read_world(cluster, prefix, group_id), truth, terms)


def verdict_on(world: World, truth: Truth, terms: Terms | None = None) -> Verdict:
    """Give the verdict on what was read. Pure."""
    terms = terms or Terms()
    settled = partial(world.watermarks_ms, SETTLEMENT)
    problems: list[Problem] = []
    rows: dict[str, Rows] = {}

    adjustments = compare_adjustments(world.records[topics.REVENUE_ADJUSTMENTS.name], truth, terms)
    adjusted = adjustments.late + adjustments.final
    tables = {}
    for aggregate in AGGREGATES:
        name, expected_rows = aggregate.topic.name, aggregate.model(truth.booked, adjusted, terms)
        watermarks_ms = partial(world.watermarks_ms, aggregate.changelog.name)
        compared = compare_windows(aggregate, world.records[name], expected_rows, watermarks_ms, terms.grace_ms)
        rows[name], tables[name] = compared.rows, compared.table
        problems += compared.problems
    status = compare_order_status(world.records[topics.ORDER_STATUS.name], truth)
    letter_problems, racing_dead = compare_dead_letters(world.records, truth, world.prefix)
    unmatched = compare_unmatched(world.records[topics.UNMATCHED_PAYMENTS.name], truth, racing_dead, settled, terms)
    unpaid_rows, unpaid_problems = compare_unpaid(world.records[topics.UNPAID_ORDERS.name], truth, settled, terms)
    rows |= {
        topics.ORDER_STATUS.name: status.rows,
        topics.REVENUE_ADJUSTMENTS.name: adjustments.rows,
        topics.UNPAID_ORDERS.name: unpaid_rows,
        topics.UNMATCHED_PAYMENTS.name: unmatched.rows,
    }

    dead_by_reason = truth.dead_by_reason
    for identity, count in racing_dead.items():
        dead_by_reason[truth.racing[identity].reason] += count
    # A racing record counts as applied or as dead, by where it was found; found nowhere or twice, it is a problem by now.
    expected = Outcomes(
        truth.sent_count,
        truth.applied_count + len(unmatched.not_accepted),
        truth.duplicates_count,
        truth.dead_count + racing_dead.total(),
    )
    not_accepted = balance.unmatched_money(unmatched.not_accepted)
    waiting = [event for event in truth.waiting if event.event_id not in unmatched.given_up]
    right = Right(
        accepted=truth.accepted_money + not_accepted,
        waiting=waiting_money(waiting),
        unmatched=not_accepted + balance.unmatched_money(unmatched.given_up.values()),
        late=balance.adjusted_money(adjustments.late),
        final=balance.adjusted_money(adjustments.final),
        windowed=balance.windowed_money(tables[topics.REVENUE_BY_MERCHANT_1M.name].values()),
    )
    problems += [
        *status.problems,
        *letter_problems,
        *unmatched.problems,
        *unpaid_problems,
        *adjustments.problems,
        *balance.check_offsets(world),
        *balance.check_tasks(world),
        *balance.check_windowing(world),
        *balance.check_totals(world, expected, dead_by_reason, truth.other_content_count, len(waiting)),
        *balance.check_money(world, right),
    ]
    outcomes = balance.outcomes_of(balance.summed(world, SETTLEMENT))
    return Verdict(rows, outcomes, expected, tuple(problems), len(adjustments.final))
