"""The judge: everything committed against the truth, by code that shares nothing with the agents or the engine."""

from __future__ import annotations

from connectors.balance import SETTLEMENT, check_money, check_offsets, check_tasks, check_totals, outcomes_of, summed
from connectors.cluster import Cluster
from connectors.compare import compare_dead_letters, compare_order_status, compare_revenue, compare_unmatched
from connectors.ground_truth import Truth
from connectors.verdict import Outcomes, Problem, Verdict
from connectors.world import World, read_world
from schemas import topics

__all__ = ["Problem", "Verdict", "World", "judge", "read_world", "verdict_on"]


def judge(cluster: Cluster, prefix: str, group_id: str, truth: Truth) -> Verdict:
    """Read everything committed and compare it with ``truth``.

    Args:
        cluster: the cluster.
        prefix: of the deployment's topics.
        group_id: the workers' consumer group, with the prefix.
        truth: the right answer for everything that was sent to these topics.

    Raises:
        ReadError: when the cluster does not answer or a topic is not there.
    """
    return verdict_on(read_world(cluster, prefix, group_id), truth)


def verdict_on(world: World, truth: Truth) -> Verdict:
    """Give the verdict on what was read. Pure."""
    revenue, revenue_problems, windows = compare_revenue(world.records[topics.REVENUE_BY_MERCHANT_1M.name], truth)
    order_status, status_problems = compare_order_status(world.records[topics.ORDER_STATUS.name], truth)
    letter_problems, racing_dead = compare_dead_letters(world.records, truth, world.prefix)
    unmatched_problems, unmatched_count = compare_unmatched(world.records[topics.UNMATCHED_PAYMENTS.name], truth, racing_dead)
    dead_by_reason = truth.dead_by_reason
    for identity, count in racing_dead.items():
        dead_by_reason[truth.racing[identity].reason] += count
    # A racing record counts as applied or as dead, by where it was found; found nowhere or twice, it is a problem by now.
    expected = Outcomes(
        truth.sent_count,
        truth.applied_count + unmatched_count,
        truth.duplicates_count,
        truth.dead_count + racing_dead.total(),
    )
    problems = [
        *revenue_problems,
        *status_problems,
        *letter_problems,
        *unmatched_problems,
        *check_offsets(world),
        *check_tasks(world),
        *check_totals(world, truth, expected, dead_by_reason),
        *check_money(world, truth, windows),
    ]
    return Verdict(revenue, order_status, outcomes_of(summed(world, SETTLEMENT)), expected, tuple(problems))
