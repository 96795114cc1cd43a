from __future__ import annotations

from collections import Counter

import pytest

from agents.envelope import ENVELOPE_RULES, Envelope, refusal
from agents.settlement.agent import declare
from agents.testing import MemoryRuntime
from connectors.ground_truth import truth_of
from connectors.reference import alerts
from connectors.sources.generator import KINDS, Applied, Dead, DeadOrUnmatched, Duplicate, Late, Plan, Sent, Unmatched, plan
from schemas import codec, events
from schemas.partitioning import partition_of
from schemas.topics import ORDER_STATUS, ORDERS, PARTITIONS, PAYMENTS, UNMATCHED_PAYMENTS, Topic

START_MS = 1_795_000_000_000
MINUTE = 60_000
ATTEMPTS = (events.PaymentCaptured, events.PaymentFailed)


@pytest.fixture(scope="module")
def whole() -> Plan:
    return plan(20_000, 1, START_MS)


def events_of(sent: list[Sent]) -> list[tuple[int, events.Record]]:
    applied = Applied | Late
    return [(place, codec.decode(record.value)) for place, record in enumerate(sent) if isinstance(record.expected, applied)]


def reason_of(sent: Sent) -> str | None:
    return sent.expected.reason if isinstance(sent.expected, Dead | DeadOrUnmatched) else None


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert plan(300, 7, START_MS).sent == plan(300, 7, START_MS).sent
    assert plan(300, 7, START_MS).sent != plan(300, 8, START_MS).sent


def test_twenty_thousand_orders_give_sixty_thousand_events_with_the_promised_shares(whole: Plan) -> None:
    kinds = Counter(type(sent.expected) for sent in whole.sent)
    assert 60_000 <= len(whole.sent) <= 63_000
    assert 0.009 < kinds[Duplicate] / len(whole.sent) < 0.011
    assert 0.0008 < (kinds[Dead] + kinds[DeadOrUnmatched]) / len(whole.sent) < 0.0012
    truth = truth_of(whole)
    assert len(truth.order_status) == 20_000 + 20 + 20
    assert len(truth.late_ids) == kinds[Late] == 5 * (4 + 1 + 3 + 1)
    assert 700 < len({(order.merchant_id, order.currency, time_ms // MINUTE) for time_ms, _, order in truth.booked}) < 950
    assert any("|" in row.merchant_id and "ü" in row.merchant_id for row in truth.order_status.values())


@pytest.mark.parametrize("orders", [200, 20_000])
def test_every_kind_of_bad_record_is_there(orders: int, whole: Plan) -> None:
    made = whole if orders == 20_000 else plan(orders, 3, START_MS)
    assert {reason_of(sent) for sent in made.sent} - {None} == set(KINDS)


def test_what_cannot_be_decoded_gives_the_reason_that_was_planned(whole: Plan) -> None:
    for sent in whole.sent:
        if not isinstance(sent.expected, Dead):
            continue
        if sent.expected.error_class == "undecodable" and sent.expected.reason != "unexpected_type":
            with pytest.raises(codec.Undecodable) as caught:
                codec.decode(sent.value)
            assert caught.value.reason == sent.expected.reason
        else:
            on_its_topic = type(codec.decode(sent.value)) in sent.topic.values
            assert on_its_topic == (sent.expected.error_class != "undecodable"), sent.expected


def test_duplicates_follow_their_original_half_of_them_much_later(whole: Plan) -> None:
    first: dict[tuple[str, bytes | None, bytes | None], int] = {}
    placed: dict[str, int] = {}
    seen: set[str] = set()
    distances, renamed = [], 0
    for place, sent in enumerate(whole.sent):
        identity = (sent.topic.name, sent.key, sent.value)
        if isinstance(sent.expected, Duplicate):
            if sent.expected.other_content:
                other = codec.decode(sent.value)
                assert other.event_id in seen  # type: ignore[union-attr]
                assert identity not in first
            elif identity in first:
                distances.append(place - first[identity])
            else:
                order = codec.decode(sent.value)
                assert isinstance(order, events.OrderPlaced)
                assert order.order_id in placed
                renamed += 1
        elif isinstance(sent.expected, Applied):
            assert identity not in first
            first[identity] = place
            order = codec.decode(sent.value)
            seen.add(order.event_id)  # type: ignore[union-attr]
            if isinstance(order, events.OrderPlaced):
                placed[order.order_id] = place
    assert renamed >= 5
    assert sum(distance > 5_000 for distance in distances) > len(distances) / 3
    assert sum(distance < 500 for distance in distances) > len(distances) / 3


def test_a_share_of_orders_is_sent_after_its_payments_some_by_thousands_of_records(whole: Plan) -> None:
    placed = {event.order_id: place for place, event in events_of(whole.sent) if isinstance(event, events.OrderPlaced)}
    ahead: dict[str, int] = {}
    cancelled_ahead = never = 0
    for place, event in events_of(whole.sent):
        if isinstance(event, events.OrderPlaced):
            continue
        order_id = event.order_id  # type: ignore[union-attr]
        if order_id not in placed:
            never += 1
        elif place < placed[order_id]:
            ahead[order_id] = max(ahead.get(order_id, 0), placed[order_id] - place)
            cancelled_ahead += isinstance(event, events.OrderCancelled)
    assert 0.02 < len(ahead) / len(placed) < 0.04
    assert max(ahead.values()) > 2_000
    assert cancelled_ahead > 5
    assert 5 <= never <= 20


def test_captures_come_after_cancellations_in_parts_and_with_refunds_due(whole: Plan) -> None:
    rows = truth_of(whole).order_status.values()
    statuses = Counter(row.status for row in rows)
    assert set(statuses) == {"placed", "partially_captured", "captured", "refunded", "cancelled"}
    assert sum(row.refund_due for row in rows) > 500
    assert all(0 <= row.refunded_minor <= row.captured_minor <= row.amount_minor for row in rows)


def test_orders_are_paid_in_attempts_parts_and_methods_and_given_back_in_parts(whole: Plan) -> None:
    rows = truth_of(whole).order_status.values()
    captures = [capture for row in rows for capture in row.captures]
    assert sum(len(row.captures) > 1 for row in rows) > 1_000
    assert sum(0 < capture.refunded_minor < capture.captured_minor for capture in captures) > 500
    assert sum(0 < capture.refunded_minor == capture.captured_minor for capture in captures) > 500
    attempts = Counter((type(event), event.method) for _, event in events_of(whole.sent) if isinstance(event, ATTEMPTS))
    assert {(outcome, method) for outcome in ATTEMPTS for method in ("card", "wallet", "transfer")} == attempts.keys()
    assert min(attempts.values()) > 1_000


def test_some_payments_are_dated_before_their_order_and_count_as_if_they_came_with_it(whole: Plan) -> None:
    known = truth_of(whole).booked
    before = Counter(type(event) for time_ms, event, _ in known if event.occurred_at_ms < time_ms)
    assert before == {events.PaymentFailed: 20, events.PaymentCaptured: 20}


def test_one_customer_orders_more_than_is_usual(whole: Plan) -> None:
    known = truth_of(whole).booked
    unusual = alerts(known, 10, 1_000_000)
    assert {row["because"] for row in unusual.values()} >= {"orders", "orders+gross"}
    assert {row["customer_id"] for row in unusual.values()} == {"c-9600"}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_rule_breakers_arrive_after_what_they_collide_with_on_their_own_topic(seed: int) -> None:
    places: dict[tuple[str, str], int] = {}
    sent = plan(2_000, seed, START_MS).sent
    for place, event in events_of(sent):
        match event:
            case events.OrderPlaced() | events.OrderCancelled():
                places[type(event).__name__, event.order_id] = place
            case events.PaymentCaptured():
                places["PaymentCaptured", event.payment_id] = place
    for place, record in enumerate(sent):
        reason = reason_of(record)
        if reason in {"order_already_placed", "already_cancelled", "payment_already_captured", "refund_exceeds_capture"}:
            event = codec.decode(record.value)
            name = {"refund_exceeds_capture": "PaymentCaptured"}.get(reason, type(event).__name__)
            collides = event.payment_id if name == "PaymentCaptured" else event.order_id  # type: ignore[union-attr]
            assert places[name, collides] < place
            assert reason != "already_cancelled" or places["OrderPlaced", event.order_id] < place  # type: ignore[union-attr]


def test_keys_are_order_ids_and_times_end_at_the_start(whole: Plan) -> None:
    for record in whole.sent:
        if isinstance(record.expected, Applied):
            event = codec.decode(record.value)
            assert record.key == event.order_id.encode()  # type: ignore[union-attr]
            assert START_MS - 20 * 60_000 <= event.occurred_at_ms <= START_MS  # type: ignore[union-attr]
            assert record.topic is (ORDERS if isinstance(event, events.OrderPlaced | events.OrderCancelled) else PAYMENTS)


def test_a_plan_without_orders_is_refused() -> None:
    with pytest.raises(ValueError, match="one order or more"):
        plan(0)


def test_ratios_of_zero_give_a_plan_without_faults() -> None:
    clean = plan(50, 1, START_MS, duplicate_ratio=0, bad_ratio=0, waiting_ratio=0, late_ratio=0, skewed_ratio=0)
    assert {type(sent.expected) for sent in clean.sent} == {Applied}


@pytest.mark.parametrize("first", [None, ORDERS, PAYMENTS])
def test_settlement_treats_every_record_as_planned_however_the_two_topics_interleave(first: Topic | None) -> None:
    made = plan(1_500, 4, START_MS, bad_ratio=0.02, waiting_ratio=0.005)
    decided = [sent for sent in made.sent if not (isinstance(sent.expected, Dead) and sent.expected.error_class != "rule")]
    if first:
        decided.sort(key=lambda sent: sent.topic is not first)
    rows = [(partition_of((sent.key or b"").decode(), PARTITIONS), codec.decode(sent.value)) for sent in decided]
    world = MemoryRuntime().run(declare, [rows[start : start + 400] for start in range(0, len(rows), 400)])
    truth = truth_of(made)
    assert {key.decode(): row for key, row in world.newest(ORDER_STATUS).items()} == truth.order_status
    assert world.totals["duplicates"] == truth.duplicates_count
    assert world.totals["duplicates|other_content"] == truth.other_content_count > 0

    unmatched = Counter((row.value.event_id, row.value.reason) for row in world.rows[UNMATCHED_PAYMENTS.name])
    dead = Counter((letter.event.event_id, letter.reason) for letter in world.dead_letters)
    planned: Counter[type] = Counter()
    for sent in decided:
        if isinstance(sent.expected, Dead | DeadOrUnmatched | Unmatched):
            is_ = codec.decode(sent.value).event_id, sent.expected.reason  # type: ignore[union-attr]
            places = {Dead: dead[is_], Unmatched: unmatched[is_], DeadOrUnmatched: dead[is_] + unmatched[is_]}
            assert places[type(sent.expected)] == 1, sent
            planned[type(sent.expected)] += 1
    assert len(dead) + len(unmatched) == planned.total(), "and nothing else"
    assert planned.keys() == {Dead, Unmatched, DeadOrUnmatched}


def lates_by(sent: list[Sent], grace_ms: int) -> set[str]:
    """A small settlement: each input of each partition is as far as the newest event that it took."""
    newest: Counter[tuple[str, int]] = Counter()
    placed: dict[str, events.OrderPlaced] = {}
    captured: set[str] = set()
    waiting: dict[str, list[events.Event]] = {}
    late: set[str] = set()
    for record in sent:
        if not isinstance(record.expected, Applied | Late | Unmatched):
            continue
        event: events.Event = codec.decode(record.value)  # type: ignore[assignment]
        if isinstance(event, events.OrderPlaced):
            placed[event.order_id] = event
        elif isinstance(event, events.PaymentCaptured):
            captured.add(event.payment_id)
        held = waiting.setdefault(event.order_id, [])
        held.append(event)
        clock = (record.topic.name, partition_of(event.order_id, PARTITIONS))
        for each in list(held):
            if event.order_id in placed and not (isinstance(each, events.PaymentRefunded) and each.payment_id not in captured):
                held.remove(each)
                minute_ms = max(each.occurred_at_ms, placed[event.order_id].occurred_at_ms) // MINUTE * MINUTE
                if minute_ms + MINUTE + grace_ms <= newest[clock]:
                    late.add(each.event_id)
        newest[clock] = max(newest[clock], event.occurred_at_ms)
    return late


@pytest.mark.parametrize("first", [None, ORDERS, PAYMENTS])
@pytest.mark.parametrize(("orders", "seed"), [(40, 3), (400, 5), (3_000, 1), (3_000, 2)])
@pytest.mark.parametrize("grace_ms", [5 * MINUTE, 60 * MINUTE])
def test_exactly_what_is_planned_to_be_late_is_late_however_the_two_topics_interleave(
    orders: int, seed: int, grace_ms: int, first: Topic | None
) -> None:
    made = plan(orders, seed, START_MS)
    sent = sorted(made.sent, key=lambda each: each.topic is not first) if first else made.sent
    late = lates_by(sent, grace_ms)
    assert late == truth_of(made).late_ids
    assert len(late) >= 9


def test_a_grace_that_is_too_short_makes_more_late_than_was_planned(whole: Plan) -> None:
    assert lates_by(whole.sent, MINUTE // 2) > truth_of(whole).late_ids


def test_the_envelope_rules_refuse_exactly_what_was_planned_to_be_refused() -> None:
    refused: Counter[str] = Counter()
    for sent in plan(1_500, 5, START_MS, bad_ratio=0.02).sent:
        if isinstance(sent.expected, Dead) and sent.expected.error_class == "undecodable":
            continue
        event = codec.decode(sent.value)
        by_key = partition_of((sent.key or b"").decode(), PARTITIONS)
        partition = by_key if sent.partition is None else sent.partition
        order_id: str = event.order_id  # type: ignore[union-attr]
        wanted = partition_of(order_id, PARTITIONS)
        found = refusal(Envelope(sent.key, order_id.encode(), partition, wanted, START_MS, 600_000), event)
        planned = sent.expected.reason if isinstance(sent.expected, Dead) and sent.expected.error_class == "envelope" else None
        assert (found.reason if found else None) == planned, sent
        refused[planned or "none"] += 1
    assert refused.keys() == {rule.reason for rule in ENVELOPE_RULES} | {"none"}
    assert min(refused.values()) >= 2
