"""The transactional producer on a client that fails as it is told: what is an abort, what nobody knows, what is the end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import pytest
from confluent_kafka import KafkaError

from streams.effects import Output
from streams.errors import WorkerError, WorkerFencedError
from streams.transaction import ATTEMPT_S, INDEFINITE_AFTER_S, Aborted, Committed, Transaction, TransactionalProducer, Unknown
from streams.waiting import Waiting
from tests.unit.fake_client import FakeCluster

RECORDS = [Output("order-status", b"o-1", b"paid"), Output("orders.dlq", b"o-2", b"\x07", 3, [("why", b"bad")], 77)]
MARKERS = {
    ("changelog", 0): Output("changelog", b"!marker", b"zero", 0),
    ("changelog", 4): Output("changelog", b"!marker", b"four", 4),
}
OFFSETS = {("orders", 0): 17, ("payments", 0): 9}
METADATA = object()
WHOLE = Transaction(RECORDS, MARKERS, OFFSETS, METADATA)
EMPTY = Transaction([], MARKERS, OFFSETS, METADATA)

SILENT = KafkaError(KafkaError._TIMED_OUT, "no answer in time", retriable=True)
GENERATION = KafkaError(KafkaError.ILLEGAL_GENERATION, "somebody joined", txn_requires_abort=True)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "the broker refused it", txn_requires_abort=True)
BROKEN = KafkaError(KafkaError.INVALID_TXN_STATE, "that cannot be", fatal=True)
FENCED = [KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED]
REFUSED = "MSG_SIZE_TOO_LARGE: the broker refused it"
STEPS = ["begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction"]
IN_ORDER = ["begin_transaction", *["produce"] * 4, "send_offsets_to_transaction", "flush", "commit_transaction"]


class Worker:
    """A producer on the fake cluster, with a clock that only waiting moves, by as much as an attempt takes."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.reached: list[str] = []
        self.waits_count = 0
        self.waiting = Waiting(self._wait, sleep=lambda _: None)
        self.now_s = 1_000.0

    def start(self, **more: int) -> TransactionalProducer:
        config = {"transactional.id": "t.tally-w1", "bootstrap.servers": "nowhere", **more}
        return TransactionalProducer(
            config, self.reached.append, self.waiting, make_client=self.cluster.make_client, now_s=lambda: self.now_s
        )

    def _wait(self) -> None:
        self.waits_count += 1
        self.now_s += ATTEMPT_S


@pytest.fixture
def worker() -> Worker:
    return Worker()


def fenced(code: int) -> KafkaError:
    return KafkaError(code, "a newer one is there", fatal=True)


# When all is well.


def test_an_epoch_is_one_transaction_with_its_offsets_in_it_before_the_commit(worker: Worker) -> None:
    outcome = worker.start().commit(WHOLE)
    client = worker.cluster.client
    assert isinstance(outcome, Committed)
    assert client.calls == ["init_transactions", *IN_ORDER]
    assert client.offsets == [("orders", 0, 17), ("payments", 0, 9)]
    assert client.metadata is METADATA
    assert worker.reached == ["before_produce", "before_offsets", "before_commit"]


def test_what_is_done_meanwhile_is_done_when_the_client_has_all_records_and_before_anything_is_waited_for(worker: Worker) -> None:
    producer = worker.start()
    calls = worker.cluster.client.calls

    def meanwhile() -> str:
        calls.append("meanwhile")
        return ""

    producer.commit(WHOLE, meanwhile)
    at = IN_ORDER.index("send_offsets_to_transaction")
    assert calls == ["init_transactions", *IN_ORDER[:at], "meanwhile", *IN_ORDER[at:]]


def test_i9_what_is_found_out_meanwhile_aborts_the_transaction_and_the_next_one_goes_on(worker: Worker) -> None:
    producer = worker.start()
    assert producer.commit(WHOLE, lambda: "it is not ours") == Aborted("ILLEGAL_GENERATION: it is not ours")
    client = worker.cluster.client
    assert client.calls[-2:] == ["produce", "abort_transaction"]
    assert client.offsets == []
    assert isinstance(producer.commit(WHOLE), Committed)


def test_i9_a_transaction_without_records_carries_offsets_and_metadata_too(worker: Worker) -> None:
    worker.start().commit(EMPTY)
    client = worker.cluster.client
    assert [written.value for written in client.written] == [b"zero", b"four"]
    assert client.calls.index("send_offsets_to_transaction") < client.calls.index("commit_transaction")
    assert (len(client.offsets), client.metadata) == (2, METADATA)


def test_records_go_out_as_they_are_and_markers_stand_behind_them(worker: Worker) -> None:
    worker.start().commit(WHOLE)
    assert worker.cluster.client.written == [
        ("order-status", b"o-1", b"paid", -1, {}),
        ("orders.dlq", b"o-2", b"\x07", 3, {"headers": [("why", b"bad")], "timestamp": 77}),
        ("changelog", b"!marker", b"zero", 0, {}),
        ("changelog", b"!marker", b"four", 4, {}),
    ]


def test_i2_where_the_markers_stand_is_what_the_delivery_reports_say(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.end_offsets |= {("changelog", 0): 41, ("changelog", 4): 97, ("order-status", -1): 5}
    assert producer.commit(WHOLE) == Committed({("changelog", 0): 41, ("changelog", 4): 97})
    assert producer.commit(WHOLE) == Committed({("changelog", 0): 42, ("changelog", 4): 98})


def test_the_client_is_told_what_exactly_once_and_co_partitioning_need(worker: Worker) -> None:
    worker.start()
    config = worker.cluster.client.config
    assert (config["transactional.id"], config["bootstrap.servers"]) == ("t.tally-w1", "nowhere")
    assert (config["enable.idempotence"], config["partitioner"]) == (True, "murmur2_random")


def test_a_full_queue_makes_the_producer_poll_and_go_on_and_nothing_is_written_twice(worker: Worker) -> None:
    worker.cluster.full_after = 3
    producer = worker.start()
    numbers = [b"%d" % number for number in range(10)]
    outcome = producer.commit(
        Transaction([Output("order-status", b"o", number) for number in numbers], MARKERS, OFFSETS, METADATA)
    )
    client = worker.cluster.client
    assert isinstance(outcome, Committed)
    assert client.calls.count("poll") == 3
    assert [written.value for written in client.written] == [*numbers, b"zero", b"four"]


# Errors that pass.


def test_a_commit_whose_error_is_retriable_is_asked_for_again_and_nothing_else(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("commit_transaction", repeat(SILENT, 3))
    assert isinstance(producer.commit(WHOLE), Committed)
    assert worker.cluster.client.calls == ["init_transactions", *IN_ORDER, *["commit_transaction"] * 3]
    assert worker.waits_count == 3


def test_f06_offsets_that_get_no_answer_are_never_sent_again_and_a_new_producer_ends_the_transaction(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("send_offsets_to_transaction", [SILENT])
    assert producer.commit(WHOLE) == Aborted("_TIMED_OUT: no answer in time"), "the commit was never asked for"
    old, new = worker.cluster.clients
    assert old.calls.count("send_offsets_to_transaction") == 1
    assert new.calls == ["init_transactions"]
    assert isinstance(producer.commit(WHOLE), Committed)


def test_records_that_are_slow_to_arrive_are_waited_for(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("deliver", repeat(SILENT, 5))
    assert producer.commit(WHOLE) == Committed({("changelog", 0): 0, ("changelog", 4): 0})
    assert worker.waits_count > 0


@pytest.mark.parametrize("step", STEPS)
def test_an_abortable_error_at_any_step_is_an_abort_and_the_producer_is_kept(step: str, worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail(step, [GENERATION])
    assert producer.commit(WHOLE) == Aborted("ILLEGAL_GENERATION: somebody joined")
    assert worker.cluster.client.calls[-2:] == [step, "abort_transaction"]
    assert isinstance(producer.commit(WHOLE), Committed)
    assert len(worker.cluster.clients) == 1


def test_a_start_waits_for_the_coordinator_as_long_as_it_takes(worker: Worker) -> None:
    many = int(INDEFINITE_AFTER_S)  # five seconds each: five times the deadline of a step
    worker.cluster.fail("init_transactions", repeat(SILENT, many))
    worker.start()
    assert (worker.waits_count, len(worker.cluster.clients)) == (many, 1)


# Nobody knows.


@pytest.mark.parametrize("step", ["deliver", "commit_transaction"])
def test_a_step_without_an_answer_past_the_deadline_is_unknown_and_a_new_producer_settles_it(step: str, worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail(step, repeat(SILENT))
    began_s = worker.now_s
    outcome = producer.commit(WHOLE)
    assert isinstance(outcome, Unknown)
    assert outcome.cause.startswith("_TIMED_OUT: ")
    assert INDEFINITE_AFTER_S < worker.now_s - began_s <= INDEFINITE_AFTER_S + ATTEMPT_S
    old, new = worker.cluster.clients
    assert "abort_transaction" not in old.calls, "it may have been committed"
    assert new.calls == ["init_transactions"]
    assert new.config == old.config


def test_after_an_unknown_commit_the_next_epoch_goes_through_the_new_producer(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("commit_transaction", [BROKEN])
    assert isinstance(producer.commit(WHOLE), Unknown)
    assert isinstance(producer.commit(WHOLE), Committed)
    old, new = worker.cluster.clients
    assert old.calls.count("begin_transaction") == 1
    assert new.calls == ["init_transactions", *IN_ORDER]


@pytest.mark.parametrize("step", STEPS)
def test_a_fatal_error_replaces_the_producer_and_only_the_commit_may_have_happened(step: str, worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail(step, [BROKEN])
    cause = "INVALID_TXN_STATE: that cannot be"
    assert producer.commit(WHOLE) == (Unknown(cause) if step == "commit_transaction" else Aborted(cause))
    assert [client.calls[-1] for client in worker.cluster.clients] == [step, "init_transactions"]


@pytest.mark.parametrize("error", [BROKEN, SILENT], ids=["fatal", "no answer"])
def test_f06_an_abort_that_fails_is_left_to_a_new_producer(error: KafkaError, worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("send_offsets_to_transaction", [GENERATION])
    worker.cluster.fail("abort_transaction", [error])
    assert isinstance(producer.commit(WHOLE), Aborted)
    assert [client.calls[-1] for client in worker.cluster.clients] == ["abort_transaction", "init_transactions"]
    assert worker.cluster.clients[0].calls.count("abort_transaction") == 1
    assert isinstance(producer.commit(WHOLE), Committed)


def test_the_new_producer_waits_until_the_coordinator_is_back(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("commit_transaction", [BROKEN])
    worker.cluster.fail("init_transactions", repeat(SILENT, 100))
    assert isinstance(producer.commit(WHOLE), Unknown)
    assert worker.waits_count == 100
    assert worker.cluster.client.calls == ["init_transactions"] * 101


def test_an_error_that_init_cannot_wait_out_is_raised(worker: Worker) -> None:
    worker.cluster.fail("init_transactions", [BROKEN])
    with pytest.raises(WorkerError, match=r"has no producer for t\.tally-w1: that cannot be"):
        worker.start()


@pytest.mark.parametrize("step", ["init_transactions", "commit_transaction"])
def test_a_worker_that_is_told_to_stop_does_not_wait_for_the_cluster(step: str, worker: Worker) -> None:
    def stop() -> None:
        raise WorkerError("stopped while the cluster was away")

    producer = TransactionalProducer(
        {"transactional.id": "t.tally-w1"}, worker.reached.append, Waiting(stop), make_client=worker.cluster.make_client
    )
    worker.cluster.fail("commit_transaction", [SILENT if step == "commit_transaction" else BROKEN])
    worker.cluster.fail("init_transactions", [SILENT])
    with pytest.raises(WorkerError, match="stopped while"):
        producer.commit(WHOLE)


# Fenced.


def _at_start(worker: Worker, error: KafkaError) -> None:
    worker.cluster.fail("init_transactions", [error])
    worker.start()


def _at(step: str) -> Callable[[Worker, KafkaError], None]:
    def commit(worker: Worker, error: KafkaError) -> None:
        producer = worker.start()
        worker.cluster.fail(step, [error])
        producer.commit(WHOLE)

    return commit


def _while_aborting(worker: Worker, error: KafkaError) -> None:
    producer = worker.start()
    worker.cluster.fail("send_offsets_to_transaction", [GENERATION])
    worker.cluster.fail("abort_transaction", [error])
    producer.commit(WHOLE)


def _while_replaced(worker: Worker, error: KafkaError) -> None:
    producer = worker.start()
    worker.cluster.fail("commit_transaction", [BROKEN])
    worker.cluster.fail("init_transactions", [SILENT, error])
    producer.commit(WHOLE)


@pytest.mark.parametrize("code", FENCED, ids=lambda code: str(KafkaError(code).name()))
@pytest.mark.parametrize(
    ("moment", "clients_count"),
    [(_at_start, 1), *((_at(step), 1) for step in STEPS), (_while_aborting, 1), (_while_replaced, 2)],
    ids=["at start", *STEPS, "while aborting", "while replaced"],
)
def test_f04_whoever_is_fenced_says_so_and_fences_nobody(
    moment: Callable[[Worker, KafkaError], None], clients_count: int, code: int, worker: Worker
) -> None:
    with pytest.raises(WorkerFencedError, match=r"transactional id t\.tally-w1 has a newer owner") as raised:
        moment(worker, fenced(code))
    assert raised.value.exit_code == 4
    assert len(worker.cluster.clients) == clients_count, "a new producer would fence the newer owner"


def test_f06_a_worker_whose_transaction_the_cluster_ended_by_its_time_out_goes_on_with_a_new_producer(worker: Worker) -> None:
    producer = worker.start(**{"transaction.timeout.ms": 10_000})
    passed = [SILENT] * (int(10 / ATTEMPT_S) + 1)
    worker.cluster.fail("commit_transaction", [*passed, fenced(KafkaError._FENCED)])
    assert isinstance(producer.commit(WHOLE), Unknown)
    assert isinstance(producer.commit(WHOLE), Committed)
    assert len(worker.cluster.clients) == 2


# What the client learns in the background, while records are still handed to it: produce says only that it takes no
# more; the transactional calls say why (as librdkafka 2.16 does on a real broker, tests/integration/test_transactions.py).


def test_f04_a_fence_that_the_client_loses_while_it_flushes_is_said_by_the_commit(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("flush", [SystemError("returned NULL without setting an exception")])
    worker.cluster.fail("commit_transaction", [fenced(KafkaError._FENCED)])
    with pytest.raises(WorkerFencedError):
        producer.commit(WHOLE)


def test_f04_a_producer_that_is_fenced_while_it_takes_records_says_so_and_fences_nobody(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.break_after(1, fenced(KafkaError._FENCED))
    with pytest.raises(WorkerFencedError):
        producer.commit(WHOLE)
    assert len(worker.cluster.clients) == 1, "a new producer would fence the newer owner"


def test_a_record_that_the_broker_refuses_while_others_are_handed_over_is_an_abort(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.break_after(1, TOO_LARGE)
    assert producer.commit(WHOLE) == Aborted(REFUSED, refused=REFUSED)
    assert isinstance(producer.commit(WHOLE), Committed)
    assert len(worker.cluster.clients) == 1


def test_a_record_that_the_broker_refuses_is_an_abort_before_the_transaction_times_out(worker: Worker) -> None:
    producer = worker.start()
    worker.cluster.fail("deliver", repeat(SILENT))
    worker.cluster.fail("commit_transaction", [TOO_LARGE])
    began_s = worker.now_s
    assert producer.commit(WHOLE) == Aborted(REFUSED, refused=REFUSED)
    assert worker.now_s - began_s < 10.0, "the broker ends a transaction after ten seconds, and whoever comes later is fenced"


def test_f06_a_producer_that_is_abandoned_in_its_call_touches_nothing_once_it_returns(worker: Worker) -> None:
    producer = worker.start()
    successors: list[TransactionalProducer] = []

    def while_it_hangs(place: str) -> None:
        if place == "before_commit" and not successors:
            successors.append(producer.abandon())

    producer._reach = while_it_hangs
    worker.cluster.fail("commit_transaction", [fenced(KafkaError._FENCED)])
    assert isinstance(producer.commit(WHOLE), Unknown)
    old, new = worker.cluster.clients
    assert old.calls[-1] == "commit_transaction"
    assert new.calls == ["init_transactions"]
    assert isinstance(successors[0].commit(WHOLE), Committed)
    assert len(worker.cluster.clients) == 2
