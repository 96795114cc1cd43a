"""Which letters are meant, what is done about each, in which batches; and the desk that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Event as Flag
from typing import Any

import pytest
from confluent_kafka import KafkaError

from connectors.reader import ReadRecord
from schemas.codec import decode
from schemas.events import DeadLetterDone
from schemas.topics import MAX_INPUT_BYTES, TOPICS
from streams.errors import ClusterError, InboxTakenError
from streams.inbox.desk import Act, Desk, NotTakenError, done_about
from streams.inbox.filters import Filter, summarise
from streams.inbox.letters import DeadLetter
from streams.inbox.mailbox import Mailbox
from streams.inbox.replay import Left, Replay, carry_out, said_of
from streams.inbox.routes import Routes
from streams.settings import Settings
from tests.unit.fake_client import FakeCluster
from tests.unit.letters import BURIED_AT_MS, PREFIX, buried
from tests.unit.orders import captured

COUNTS = {topic.named(PREFIX): topic.partitions for topic in TOPICS}
SETTINGS = Settings(bootstrap_servers="127.0.0.1:1", prefix=PREFIX, worker_id="w1")
FAST = 1_000_000.0


class FakeMailbox(Mailbox):
    """Has no broker; nothing that was cut is there any more."""

    def __init__(self) -> None:
        super().__init__(SETTINGS.cluster, PREFIX, COUNTS)

    def _record(self, topic: str, partition: int, offset: int) -> ReadRecord | None:
        return None


REPLAY = Replay(FakeMailbox(), Routes(PREFIX, COUNTS))


def note_about(letter: DeadLetter, action: str = "replayed") -> DeadLetterDone:
    return DeadLetterDone(str(letter.address), letter.digest, action, 1, "ada", "", "orders/7@12")


# Which letters are meant.


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(error_class="rule", reason="bad_time", key=b"o-1"), True),
        (Filter(error_class="envelope"), False),
        (Filter(reason="bad_id"), False),
        (Filter(key=b"o-2"), False),
        (Filter(sources=frozenset({"payments", "t.payments"})), True),
        (Filter(sources=frozenset({"payments/3", "t.payments/3"})), True),
        (Filter(sources=frozenset({"payments/4", "t.payments/4"})), False),
        (Filter(sources=frozenset({"orders", "t.orders"})), False),
        (Filter(since_ms=BURIED_AT_MS, until_ms=BURIED_AT_MS + 1), True),
        (Filter(since_ms=BURIED_AT_MS + 1), False),
        (Filter(until_ms=BURIED_AT_MS), False),
    ],
)
def test_a_filter_takes_what_has_everything_that_it_asks_for(wanted: Filter, *, taken: bool) -> None:
    assert wanted.takes(buried(reason="bad_time")) is taken


def test_a_summary_counts_by_topic_and_reason_the_most_frequent_first_and_shows_the_newest() -> None:
    letters = [replace(buried(reason="bad_time", offset=at), at_ms=1_000 - at) for at in (1, 2, 3)]
    other = buried(reason="bad_id")
    rows = summarise([(other, None), *((letter, None) for letter in letters[:2]), (letters[2], note_about(letters[2]))])
    assert [(row.reason, row.count) for row in rows] == [("bad_time", 3), ("bad_id", 1)]
    assert (rows[0].oldest_ms, rows[0].newest_ms, rows[0].sample, rows[0].done) == (997, 999, letters[0], {"replayed": 1})


# What is done about each.


def test_a_letter_is_replayed_once() -> None:
    letter = buried()
    step = REPLAY.step(letter, {})
    assert isinstance(step, Act)
    assert (step.action, step.sent and step.sent.topic) == ("replayed", "t.payments")
    again = REPLAY.step(letter, {str(letter.address): note_about(letter)})
    assert again == Left(letter, "was replayed to orders/7@12 by ada")


def test_a_letter_that_died_five_times_is_parked_instead() -> None:
    assert isinstance(REPLAY.step(buried(deaths=4), {}), Act)
    parked = REPLAY.step(buried(deaths=5), {})
    assert isinstance(parked, Act)
    assert (parked.action, parked.sent, parked.because) == ("parked", None, "died 5 times")
    more = replace(REPLAY, attempts_max=6).step(buried(deaths=5), {})
    assert isinstance(more, Act)
    assert more.action == "replayed"


def test_a_parked_letter_is_sent_only_if_a_person_names_it() -> None:
    letter = buried()
    parked = {str(letter.address): note_about(letter, "parked")}
    assert isinstance(REPLAY.step(letter, parked), Left)
    assert isinstance(replace(REPLAY, named=True).step(letter, parked), Act)
    assert isinstance(replace(REPLAY, named=True).step(letter, {str(letter.address): note_about(letter, "mended")}), Left)


def test_a_note_about_another_letter_at_the_same_address_says_nothing() -> None:
    old = buried(reason="bad_id")
    assert done_about(buried(), {str(old.address): note_about(old)}) is None


def test_a_letter_named_twice_is_one_step_and_one_that_cannot_go_back_is_left_with_the_reason() -> None:
    lost = buried(source="t.settlement-changelog", offset=5)
    steps = list(REPLAY.steps([buried(), lost, buried()], {}))
    assert len(steps) == 2
    assert isinstance(steps[1], Left)
    assert steps[1].refused
    assert "is not for producers to write" in steps[1].why


def test_what_was_done_is_a_clause() -> None:
    note = DeadLetterDone("a/0@0", "", "parked", 1, "ada", "a test sent it", "")
    assert said_of(note) == "was parked by ada, because a test sent it"


# In which batches, at which pace, until when.


class FakeDesk:
    """Notes the batches that it is given; refuses the letters at some offsets."""

    def __init__(self, refuses: Sequence[int] = ()) -> None:
        self.batches: list[list[int]] = []
        self.done: dict[str, DeadLetterDone] = {}
        self._refuses = refuses

    def do(self, acts: Sequence[Act]) -> list[DeadLetterDone]:
        offsets = [act.letter.address.offset for act in acts]
        if not set(offsets).isdisjoint(self._refuses):
            raise NotTakenError("too large")
        self.batches.append(offsets)
        return []


def run(
    letters: Sequence[DeadLetter], desk: FakeDesk, rate_per_s: float = FAST, stop: Flag | None = None
) -> tuple[Any, list[Any]]:
    seen: list[Any] = []
    return carry_out(REPLAY.steps(letters, {}), desk, rate_per_s, stop or Flag(), seen.extend), seen  # type: ignore[arg-type]


def test_letters_go_in_batches_and_a_slow_rate_makes_them_small() -> None:
    letters = [buried(offset=at) for at in range(250)]
    desk = FakeDesk()
    counts, seen = run(letters, desk)
    assert (counts, len(seen), [len(batch) for batch in desk.batches]) == ({"replayed": 250}, 250, [100, 100, 50])
    slow = FakeDesk()
    run(letters[:3], slow, rate_per_s=1.9 * 10**3)
    assert [len(batch) for batch in slow.batches] == [3]


def test_large_letters_are_apart() -> None:
    large = buried(b"?" * (MAX_INPUT_BYTES + 1), offset=1)
    desk = FakeDesk()
    run([buried(offset=0), large, buried(offset=2), buried(offset=3)], desk)
    assert desk.batches == [[0], [1], [2, 3]]


def test_one_letter_that_no_topic_takes_costs_no_other() -> None:
    desk = FakeDesk(refuses=[3])
    counts, seen = run([buried(offset=at) for at in range(6)], desk)
    assert counts == {"replayed": 5, "left": 1}
    assert [step.letter.address.offset for step in seen if isinstance(step, Left) and step.refused] == [3]
    assert desk.batches == [[0], [1], [2], [4], [5]]


def test_stop_leaves_the_rest_as_it_was() -> None:
    stop = Flag()
    desk = FakeDesk()
    steps = REPLAY.steps([buried(offset=at) for at in range(250)], {})
    counts = carry_out(steps, desk, FAST, stop, lambda _: stop.set())  # type: ignore[arg-type]
    assert counts == {"replayed": 100}
    assert len(desk.batches) == 1


# The desk.


def desk_on(cluster: FakeCluster, notes: dict[str, DeadLetterDone] | None = None) -> Desk:
    return Desk(SETTINGS, "ada", make_client=cluster.make_client, read_notes=lambda *_: notes or {}, now_ms=lambda: 77)


def test_a_record_and_its_note_are_one_transaction_and_the_note_says_where_it_went() -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    letter, parked = buried(captured()), buried(offset=124)
    act = REPLAY.step(letter, {})
    assert isinstance(act, Act)
    notes = desk.do([act, Act(parked, "parked", because="a repeat")])
    client = cluster.client
    assert client.config["transactional.id"] == "t.tally/inbox"
    assert [call for call in client.calls if call != "produce"] == [
        "init_transactions",
        "begin_transaction",
        "flush",
        "flush",
        "commit_transaction",
    ]
    sent, first, second = client.written
    assert (sent.topic, sent.key, sent.value) == ("t.payments", b"o-1", letter.record.value)
    assert sent.options["headers"][-1] == ("__tally.errors.attempt", b"1")
    assert [decode(row.value) for row in (first, second)] == notes
    assert (first.topic, first.key) == ("t.dead-letters-done", b"payments.dlq/7@123")
    assert act.sent is not None
    assert notes == [
        DeadLetterDone("payments.dlq/7@123", letter.digest, "replayed", 77, "ada", "", f"payments/{act.sent.partition}@0"),
        DeadLetterDone("payments.dlq/7@124", parked.digest, "parked", 77, "ada", "a repeat", ""),
    ]
    assert done_about(letter, desk.done) == notes[0]


def test_the_notes_are_read_only_when_the_inbox_is_ours() -> None:
    cluster = FakeCluster()
    asked: list[list[str]] = []
    Desk(SETTINGS, "ada", make_client=cluster.make_client, read_notes=lambda *_: asked.append(list(cluster.client.calls)) or {})  # type: ignore[func-returns-value]
    assert asked == [["init_transactions"]]


@pytest.mark.parametrize("call", ["begin_transaction", "commit_transaction"])
def test_a_second_operator_ends_the_first_with_exit_code_4(call: str) -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    cluster.fail(call, [KafkaError(KafkaError._FENCED, fatal=True)])
    with pytest.raises(InboxTakenError, match="it does only what is not done yet") as taken:
        desk.do([Act(buried(), "parked")])
    assert taken.value.exit_code == 4
    assert desk.done == {}


LOST = SystemError("<method 'flush' of 'cimpl.Producer' objects> returned NULL without setting an exception")
"""What confluent-kafka 2.16 raises now and then in place of the fatal error that it learnt of while it flushed."""


@pytest.mark.parametrize("call", ["begin_transaction", "flush", "commit_transaction"])
def test_a_fatal_error_that_the_client_loses_is_the_one_that_its_next_call_says(call: str) -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    cluster.fail(call, [LOST])
    cluster.fail("abort_transaction", [KafkaError(KafkaError._FENCED, fatal=True)])
    with pytest.raises(InboxTakenError):
        desk.do([Act(buried(), "parked")])
    assert desk.done == {}


def test_a_client_that_breaks_without_a_fatal_error_is_a_defect_and_said_as_it_is() -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    cluster.fail("flush", [LOST])
    with pytest.raises(SystemError, match="returned NULL"):
        desk.do([Act(buried(), "parked")])
    assert cluster.client.calls[-1] == "abort_transaction"
    assert desk.done == {}


@pytest.mark.parametrize("call", ["begin_transaction", "produce", "commit_transaction"])
def test_what_fails_is_aborted_and_said_and_not_taken_as_done(call: str) -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    cluster.fail(call, [KafkaError(KafkaError._TIMED_OUT)])
    with pytest.raises(ClusterError, match="run the command again, it does only what is not done yet"):
        desk.do([Act(buried(), "parked")])
    assert cluster.client.calls[-1] == "abort_transaction"
    assert desk.done == {}


def test_records_that_are_late_abort_the_batch() -> None:
    cluster = FakeCluster()
    desk = desk_on(cluster)
    cluster.fail("deliver", [None, KafkaError(KafkaError._TIMED_OUT)])
    with pytest.raises(ClusterError, match="1 records were not delivered within 30 s"):
        desk.do([Act(buried(), "parked")])
    assert "commit_transaction" not in cluster.client.calls
    assert cluster.client.calls[-1] == "abort_transaction"
