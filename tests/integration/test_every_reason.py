"""F33: every reason there is, through real Kafka into the dead letters and back by the inbox; in the end every total is right."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event as Flag

from confluent_kafka import Message, Producer

from agents.envelope import ENVELOPE_RULES
from agents.settlement.decide import RULE_BOOK
from connectors.reader import latest_per_key, list_topics, read_topic
from schemas.codec import REASONS, decode, encode
from schemas.documents import document_of
from schemas.events import MEASURES, MerchantRevenue
from schemas.topics import ORDERS, PAYMENTS
from streams.inbox.desk import Act, Desk, read_done
from streams.inbox.letters import DeadLetter
from streams.inbox.mailbox import Mailbox
from streams.inbox.mending import broken_rule, mended
from streams.inbox.replay import Replay, carry_out
from streams.inbox.routes import Routes, event_of
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.reasons import CASES, UNREACHED, Case, Make, Mended, Parked, Replayed
from tests.support.workers import Deployment


def test_every_rule_and_every_way_to_be_unreadable_has_a_case() -> None:
    reasons = [*(rule.reason for rule in ENVELOPE_RULES), *(rule.reason for rule in RULE_BOOK), *REASONS]
    assert list(CASES) == [reason for reason in reasons if reason not in UNREACHED], (
        "add a case to tests/support/reasons.py, in the order of the rules"
    )


def test_a_record_refused_for_any_reason_is_found_in_the_inbox_cured_and_counted_right(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    now_ms = time.time_ns() // 1_000_000
    cases = {reason: make(Make(reason, now_ms)) for reason, make in CASES.items()}
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, prefix=topics)
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        worker = tally.start("w1")
        _send_what_is_right(settings, cases)
        tally.wait_consumed("orders", "payments")
        places = _send_what_is_wrong(settings, cases)
        tally.wait_consumed("orders", "payments")
        letters = _letters(settings)
        assert set(letters) == set(cases)
        assert {reason: letter.source[1:] for reason, letter in letters.items()} == places
        _cure(settings, cases, letters, now_ms)
        tally.wait_consumed("orders", "payments")
        assert {letter.address for letter in _letters(settings).values()} == {letter.address for letter in letters.values()}, (
            "a cured record died again"
        )
        tally.wait_consumed("revenue-deltas")
        assert worker.stop() == 0, worker.text[-3000:]
    assert _totals(settings) == {f"m-{reason}": asdict(case.totals) for reason, case in cases.items()}


def _producer(settings: Settings) -> Producer:
    return Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5})


def _send_what_is_right(settings: Settings, cases: dict[str, Case]) -> None:
    producer = _producer(settings)
    for case in cases.values():
        for event in case.before:
            topic = next(topic for topic in (ORDERS, PAYMENTS) if type(event) in topic.values)
            producer.produce(topic.named(settings.prefix), encode(event), event.order_id.encode())
    assert producer.flush(30) == 0


def _send_what_is_wrong(settings: Settings, cases: dict[str, Case]) -> dict[str, tuple[int, int]]:
    """Send one bad record per case; give where each came to stand."""
    producer = _producer(settings)
    places: dict[str, tuple[int, int]] = {}

    def stands(reason: str, error: object, message: Message) -> None:
        assert error is None
        places[reason] = message.partition() or 0, message.offset() or 0

    for reason, case in cases.items():
        bad = case.bad
        producer.produce(
            bad.topic.named(settings.prefix), bad.value, bad.key, -1 if bad.partition is None else bad.partition,
            on_delivery=partial(stands, reason), headers=[("trace", reason.encode())],
        )  # fmt: skip
    assert producer.flush(30) == 0
    return places


def _mailbox(settings: Settings) -> Mailbox:
    return Mailbox(settings.cluster, settings.prefix, list_topics(settings.cluster))


def _letters(settings: Settings) -> dict[str, DeadLetter]:
    mailbox = _mailbox(settings)
    found = list(mailbox.letters(mailbox.topics()))
    letters = {letter.reason: letter for letter in found}
    assert len(letters) == len(found), Counter(letter.reason for letter in found)
    assert all(letter.headers == (("trace", letter.reason.encode()),) for letter in found)
    return letters


def _cure(settings: Settings, cases: dict[str, Case], letters: dict[str, DeadLetter], now_ms: int) -> None:
    """Do as the cases say, with the desk's own two ways: one batch of acts, and a replay; each a second time for nothing."""
    mailbox = _mailbox(settings)
    routes = Routes(settings.prefix, list_topics(settings.cluster))
    desk = Desk(settings, "the test")
    acts = []
    for reason, case in cases.items():
        letter = letters[reason]
        if isinstance(case.cure, Parked):
            acts.append(Act(letter, "parked", because="a repeat"))
        elif isinstance(case.cure, Mended):
            event = event_of(letter)
            document = case.cure.document or (event and document_of(event))
            better = mended(document, case.cure.changes)
            assert broken_rule(better, now_ms, settings.future_max_ms) is None
            acts.append(Act(letter, "mended", routes.event(letter, better)))
    desk.do(acts)
    replay = Replay(mailbox, routes)
    rest = {"replayed": sum(isinstance(case.cure, Replayed) for case in cases.values())}
    assert carry_out(replay.steps(letters.values(), desk.done), desk, 1_000, Flag()) == rest
    again = Desk(settings, "another hand")
    assert carry_out(replay.steps(letters.values(), again.done), again, 1_000, Flag()) == {}
    notes = read_done(settings.cluster, settings.prefix)
    assert len(notes) == len(cases)
    assert all(note.went_to or note.action == "parked" for note in notes.values())


def _totals(settings: Settings) -> dict[str, dict[str, int]]:
    """Give the sums of each merchant's minutes."""
    totals: dict[str, Counter[str]] = {}
    table = latest_per_key(read_topic(settings.cluster, f"{settings.prefix}revenue-by-merchant-1m"))
    for record in table.values():
        row = decode(record.value)
        assert isinstance(row, MerchantRevenue)
        totals.setdefault(row.merchant_id, Counter()).update({name: getattr(row, name) for name in MEASURES})
    return {merchant_id: {name: found[name] for name in MEASURES} for merchant_id, found in totals.items()}
