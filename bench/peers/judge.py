"""Judges the main job's outputs of any peer by the ground truth alone. :func:`judge_outputs` is pure.

A peer has no markers of ours, so how far it must be in event time when it has consumed everything is taken from the
truth: the least of what its two inputs brought, and for the windows of merchants the least of all partitions, in whole
seconds as it is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bench.main_topology import NOT_IN_MAIN
from connectors.cluster import Cluster
from connectors.compare_letters import SOURCE_OF, compare_dead_letters
from connectors.compare_once import compare_adjustments, compare_unmatched, compare_unpaid
from connectors.compare_tables import AGGREGATES, compare_order_status, compare_windows
from connectors.ground_truth import Truth
from connectors.judge import judge
from connectors.reader import ReadRecord, read_topic
from connectors.reference_orders import late_rows
from connectors.terms import Terms
from connectors.verdict import Problem, Rows
from schemas import codec, events, topics
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS
from streams.settings import Settings

Outputs: TypeAlias = Mapping[str, list[ReadRecord]]

MINUTES = next(aggregate for aggregate in AGGREGATES if aggregate.topic is topics.REVENUE_BY_MERCHANT_1M)
OUTPUTS = (
    topics.ORDER_STATUS,
    topics.REVENUE_BY_MERCHANT_1M,
    topics.UNMATCHED_PAYMENTS,
    topics.UNPAID_ORDERS,
    topics.REVENUE_ADJUSTMENTS,
    topics.ORDERS_DLQ,
    topics.PAYMENTS_DLQ,
)
"""What the main job writes for others to read."""
TOLD_MS = 1_000
"""Watermarks go from stage to stage in whole seconds."""
SENTENCES_MAX = 12


@dataclass(frozen=True)
class Judged:
    """What the judge says of one run: how many rows of each topic are right, and everything that is wrong."""

    rows: Mapping[str, Rows]
    problems: tuple[Problem, ...]

    @property
    def exact(self) -> bool:
        """True when nothing at all is wrong."""
        return not self.problems

    def lines(self) -> list[str]:
        """Give the rows of each topic, and the first problems as sentences."""
        said = ", ".join(f"{name} {rows}" for name, rows in self.rows.items())
        more = len(self.problems) - SENTENCES_MAX
        problems = [problem.sentence() for problem in self.problems[:SENTENCES_MAX]]
        return [f"{'EXACT' if self.exact else 'WRONG'} {said}", *problems, *([f"and {more:,} more"] if more > 0 else [])]


def read_outputs(cluster: Cluster, prefix: str) -> Outputs:
    """Read what is committed under ``prefix``; raises as :func:`read_topic` does."""
    return {topic.name: list(read_topic(cluster, topic.named(prefix))) for topic in OUTPUTS}


def judge_outputs(outputs: Outputs, truth: Truth, prefix: str, terms: Terms) -> Judged:
    """Compare everything that the main job writes with the truth, row by row."""
    times = Watermarks(truth)
    adjustments = compare_adjustments(outputs[topics.REVENUE_ADJUSTMENTS.name], truth, terms)
    adjusted = adjustments.late + adjustments.final
    expected = MINUTES.model(truth.booked, adjusted, terms)
    minutes = compare_windows(MINUTES, outputs[MINUTES.topic.name], expected, lambda _: times.told(), terms.grace_ms)
    status = compare_order_status(outputs[topics.ORDER_STATUS.name], truth)
    letters = {name: outputs[name] for name in SOURCE_OF}
    letter_problems, racing_dead = compare_dead_letters(letters, truth, prefix)
    unmatched = compare_unmatched(outputs[topics.UNMATCHED_PAYMENTS.name], truth, racing_dead, times.of, terms)
    unpaid_rows, unpaid_problems = compare_unpaid(outputs[topics.UNPAID_ORDERS.name], truth, times.of, terms)
    dead_count = truth.dead_count + racing_dead.total()
    rows = {
        topics.REVENUE_BY_MERCHANT_1M.name: minutes.rows,
        topics.ORDER_STATUS.name: status.rows,
        "dead letters": Rows(dead_count - len(letter_problems), dead_count),
        topics.UNMATCHED_PAYMENTS.name: unmatched.rows,
        topics.UNPAID_ORDERS.name: unpaid_rows,
        topics.REVENUE_ADJUSTMENTS.name: Rows(adjustments.rows.right_count, _late_money_count(truth)),
    }
    problems = [
        *minutes.problems,
        *status.problems,
        *letter_problems,
        *unmatched.problems,
        *unpaid_problems,
        *(problem for problem in adjustments.problems if not _is_of_other_flows(problem)),
    ]
    return Judged(rows, tuple(problems))


def judge_product(settings: Settings, truth: Truth) -> Judged:
    """Judge this product's run by its markers too: they say how far it was, also where a slow run left inputs idle for a while.

    Raises:
        ReadError: the cluster does not answer.
    """
    verdict = judge(settings.cluster, settings.prefix, settings.group_id, truth, Terms.of(settings))
    rows = {name: each for name, each in verdict.topics.items() if name not in NOT_IN_MAIN}
    return Judged(rows, tuple(problem for problem in verdict.problems if problem.topic not in NOT_IN_MAIN))


def judge_peer(settings: Settings, truth: Truth, *, is_ours: bool) -> Judged:
    """Judge what any peer committed; raises as :func:`read_topic` does."""
    if is_ours:
        return judge_product(settings, truth)
    return judge_outputs(read_outputs(settings.cluster, settings.prefix), truth, settings.prefix, Terms.of(settings))


class Watermarks:
    """How far each settlement task must be when everything is consumed: at least, and at most (what races may be its newest)."""

    def __init__(self, truth: Truth) -> None:
        surely = _newest(truth.accepted)
        racing = (codec.decode(identity[2]) for identity in (*truth.racing, *truth.unmatched))
        possibly = _newest((*truth.accepted, *racing))  # type: ignore[arg-type]
        self._bounds = [(_least(surely, partition), _least(possibly, partition)) for partition in range(PARTITIONS)]

    def of(self, partition: int) -> tuple[int, int]:
        """Give the bounds of one task, milliseconds since 1970; 0 while one of its inputs brought nothing."""
        return self._bounds[partition]

    def told(self) -> tuple[int, int]:
        """Give the bounds of what the windows of merchants know of all tasks."""
        at_least, at_most = (min(bounds) for bounds in zip(*self._bounds, strict=True))
        return at_least - at_least % TOLD_MS, at_most - at_most % TOLD_MS


def _newest(known: Iterable[events.Event]) -> dict[tuple[bool, int], int]:
    """Give the newest time of each input and partition."""
    newest: defaultdict[tuple[bool, int], int] = defaultdict(int)
    for event in known:
        place = type(event) in topics.ORDERS.values, partition_of(event.order_id, PARTITIONS)
        newest[place] = max(newest[place], event.occurred_at_ms)
    return newest


def _least(newest: Mapping[tuple[bool, int], int], partition: int) -> int:
    return min(newest.get((True, partition), 0), newest.get((False, partition), 0))


def _late_money_count(truth: Truth) -> int:
    return sum(row.flow == "money" for row, _ in late_rows(truth.booked, truth.late_ids))


def _is_of_other_flows(problem: Problem) -> bool:
    """Tell what the judge of the whole catalogue misses: the main job has the flow of money and no other."""
    return problem.kind == "missing" and " more of money " not in problem.expected
