"""I7: per key, the order of arrival is kept, also when its task goes to another worker, by a join and by a death."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.reader import read_topic
from connectors.sources.generator import APPLIED, Plan, Sent
from connectors.sources.publish import publish
from schemas.codec import decode, encode
from schemas.events import OrderLine, OrderPlaced, OrderStatus, PaymentCaptured
from schemas.topics import ORDERS, PAYMENTS
from streams.local_broker import LocalBroker
from tests.support.chains import owners
from tests.support.counts import TASKS
from tests.support.killing import kill_at_work
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000
ORDERS_COUNT = 100
CAPTURES_COUNT = 150
EVERY_STEP = {"TEST_TOPOLOGY": "tests.support.topologies:EVERY_STEP"}


def test_i7_order_of_arrival_is_kept_per_key_across_a_join_and_a_takeover(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    placed, captures = captures_of_rising_amounts()
    whole = Plan(0, START_MS, placed.sent + captures.sent)
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=200) as tally:
        first = tally.start("w1", EVERY_STEP)
        wait_for("w1 has every task", lambda: len(first.tasks()) == TASKS)
        publish(placed, broker.cluster, topics)
        wait_for("every order is placed, so that no capture waits", lambda: tally.lag() == 0)
        with tally.sending(captures.sent, events_per_s=120) as sending:
            wait_for("w1 commits", lambda: first.epochs_count() >= 10)
            second = tally.start("w2", EVERY_STEP)
            wait_for("both share the tasks", lambda: len(first.tasks()) == len(second.tasks()) == TASKS // 2)
            wait_for("w2 commits", lambda: second.epochs_count() >= 10)
            killed = kill_at_work(tally, [second])
            wait_for("w1 has every task again", lambda: len(first.tasks()) == TASKS)
            assert sending.unsent_count > 0, "the events ended before the takeover"
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
    chain = owners(broker.cluster, topics)
    moved = [task for task in killed.tasks if chain[int(task.split("/")[1])] == ["w1", "w2", "w1"]]
    assert len(moved) == 6, f"{killed.tasks} were to go from w1 to w2 and back: {chain}"
    steps: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for record in read_topic(broker.cluster, f"{topics}order-status"):
        row = decode(record.value)
        assert isinstance(row, OrderStatus)
        step = (row.revision, row.captured_minor)
        if steps[row.order_id][-1:] != [step]:  # the agent repeats the last step of an epoch
            steps[row.order_id].append(step)
    in_order = [(captures + 1, captures * (captures + 1) // 2) for captures in range(CAPTURES_COUNT + 1)]
    assert len(steps) == ORDERS_COUNT
    assert {order_id: found for order_id, found in steps.items() if found != in_order} == {}


def captures_of_rising_amounts() -> tuple[Plan, Plan]:
    """Give orders, and captures of which each order's n-th is of n minor units.

    Only the first n captures sum up to so little, so each row of ``order-status`` tells which events were there.
    """
    total = CAPTURES_COUNT * (CAPTURES_COUNT + 1) // 2
    names = [f"o-order-{number}" for number in range(ORDERS_COUNT)]
    lines = (OrderLine("sku", 1, total),)
    placed = [OrderPlaced(f"{name}-placed", name, START_MS, "shop", "c-1", "m-1", "EUR", total, lines) for name in names]
    captures = [
        PaymentCaptured(f"{name}-{amount}", name, START_MS + amount, "psp", f"p-{name}-{amount}", "card", amount, "EUR")
        for amount in range(1, CAPTURES_COUNT + 1)
        for name in names
    ]
    return (
        Plan(0, START_MS, [Sent(ORDERS, order.order_id.encode(), encode(order), APPLIED) for order in placed]),
        Plan(0, START_MS, [Sent(PAYMENTS, capture.order_id.encode(), encode(capture), APPLIED) for capture in captures]),
    )
