"""A judgement on what was consumed, when not everything that was sent will be."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace

from connectors.ground_truth import truth_of
from connectors.judge import verdict_on
from connectors.reader import read_group_offsets, read_topic
from connectors.sources.generator import Plan, Sent
from connectors.verdict import Verdict
from connectors.world import read_world
from schemas.topics import ORDERS, PAYMENTS
from tests.support.workers import Deployment


def consumed_part(tally: Deployment, whole: Plan) -> Plan:
    """Give the records of a plan that lie before the committed offsets; of equal ones, the first sent are the first there."""
    committed = read_group_offsets(tally.cluster, tally.group_id)
    to_come: defaultdict[tuple[str, bytes | None, bytes | None], deque[Sent]] = defaultdict(deque)
    for sent in whole.sent:
        to_come[sent.topic.named(tally.prefix), sent.key, sent.value].append(sent)
    return Plan(
        whole.seed,
        whole.start_ms,
        [
            sent
            for topic in (ORDERS, PAYMENTS)
            for record in read_topic(tally.cluster, topic.named(tally.prefix))
            if (sent := to_come[record.topic, record.key, record.value].popleft())
            and record.offset < committed.get((record.topic, record.partition), 0)
        ],
    )


def judge_consumed(tally: Deployment, whole: Plan) -> Verdict:
    """Judge as if the inputs ended where the group stands; ``revenue-deltas`` must be consumed to its end.

    The plan must have no bad records: whether a rule is broken may depend on the other topic, of which less may be consumed.
    """
    world = read_world(tally.cluster, tally.prefix, tally.group_id)
    inputs = {ORDERS.name, PAYMENTS.name}
    ends = {place: world.committed.get(place, 0) if place[0] in inputs else end for place, end in world.ends.items()}
    return verdict_on(replace(world, ends=ends), truth_of(consumed_part(tally, whole)))
