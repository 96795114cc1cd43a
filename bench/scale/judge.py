"""Whether a run committed what it must: outcomes, money, minutes of merchants, every order that was touched, the books."""

from __future__ import annotations

from collections import Counter

from bench.history import Sums
from bench.scale.traffic import Traffic
from connectors.auditor import Auditor
from connectors.cluster import Cluster
from connectors.ground_truth import money_of
from connectors.reader import latest_per_key, read_topic
from connectors.reference import Booked
from connectors.reference_orders import order_status
from connectors.sources.sent import DUPLICATE
from connectors.verdict import Outcomes
from schemas import codec
from schemas.events import OrderStatus
from schemas.topics import ORDER_STATUS

SAID_MAX = 10


def outcomes_of(traffic: Traffic) -> Outcomes:
    """Give what must become of the records. Pure."""
    counts = Counter(sent.expected for sent in traffic.sent)
    return Outcomes(len(traffic.sent), len(traffic.counts), counts[DUPLICATE], 0)


def expected_status(traffic: Traffic) -> dict[str, OrderStatus]:
    """Give the last row of each order that was touched: it was placed before, which counts as an event of its own. Pure."""
    placed = [Booked(order.occurred_at_ms, order, order) for order in traffic.touched.values()]
    return order_status([*placed, *traffic.counts])


def problems_of(cluster: Cluster, prefix: str, traffic: Traffic) -> list[str]:
    """Give a sentence for everything that is not as it must be; live orders were accepted before, and are in no sum.

    Raises:
        ReadError: the cluster does not answer.
    """
    sums = Sums()
    sums.take(outcomes_of(traffic), money_of(traffic.counts), traffic.counts)
    found: dict[str, OrderStatus] = {}
    for record in latest_per_key(read_topic(cluster, ORDER_STATUS.named(prefix))).values():
        row = codec.decode(record.value)
        if isinstance(row, OrderStatus):
            found[row.order_id] = row
    return [*sums.problems(Auditor(cluster, prefix).cut(), cluster, prefix), *differences(found, expected_status(traffic))]


def differences(found: dict[str, OrderStatus], right: dict[str, OrderStatus]) -> list[str]:
    """Give a sentence for each order that differs, at most ten, and how many do. Pure."""
    wrong = sorted(order_id for order_id in found.keys() | right.keys() if found.get(order_id) != right.get(order_id))
    said = [f"order {order_id}: {found.get(order_id)}, right is {right.get(order_id)}" for order_id in wrong[:SAID_MAX]]
    return [*([f"{len(wrong):,} of {len(right):,} orders differ"] if wrong else []), *said]
