"""An epoch as a transaction: offsets, markers, changelog and outputs stand or fall together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from confluent_kafka import Message

from agents.ports import Tick
from agents.settlement.decide import decide
from agents.settlement.state import ORDER_STATE, OrderState
from schemas.aggregates import AccountTotals, ControlTotals
from schemas.codec import decode
from schemas.events import InputPosition, TaskMarker
from schemas.topics import CONTROL_TOTALS, MARKER_KEY, SETTLEMENT_CHANGELOG
from streams.batch import EngineBatch
from streams.control_totals import control_totals
from streams.effects import Effects, Output, RecordTooLargeError
from streams.epoch import Epoch, Prepared
from streams.messages import runs_of
from streams.store import Store, StoreIdentity, StoreResources
from streams.tables import EngineTable
from streams.tasks import Task, Tasks, TaskState
from streams.topology import TOPOLOGY
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, REVENUE, SETTLEMENT, message, running_task
from tests.unit.orders import captured, deltas, placed

CHANGELOG = SETTLEMENT_CHANGELOG.named(PREFIX)
TOTALS = CONTROL_TOTALS.named(PREFIX)
ORDERS, PAYMENTS, DELTAS = f"{PREFIX}orders", f"{PREFIX}payments", f"{PREFIX}revenue-deltas"
NOW_MS = 1_795_000_012_345
GROUP_METADATA = object()


class Worker:
    """Tasks ``settlement/0``, ``settlement/1`` and ``revenue/0`` over real stores, without Kafka."""

    def __init__(self, folder: Path) -> None:
        self.tasks = Tasks(TOPOLOGY, PREFIX)
        self.zero = running_task(self.tasks, SETTLEMENT, 0, (100, 50))
        self.one = running_task(self.tasks, SETTLEMENT, 1, (7, 8))
        self.revenue = running_task(self.tasks, REVENUE, 0, (3,))
        resources = StoreResources(1 << 20, 1 << 20)
        self.stores: list[Store] = []
        for task in self.tasks:
            assert task.stage is not None
            task.store = Store(folder / task.name, [spec.name for spec in task.stage.keeps], resources)
            self.stores.append(task.store)
        self.orders: EngineTable[OrderState] = EngineTable(ORDER_STATE, {0: self.zero, 1: self.one})
        self.effects = Effects()
        self.tables: dict[str, list[EngineTable[Any]]] = {"settlement": [self.orders], "revenue": []}

    def collect(self, *messages: Message) -> Epoch:
        return Epoch.collect(1, runs_of(messages), self.tasks, PREFIX)

    def settle_rows(self, epoch: Epoch) -> None:
        """Do what the agent does, without its outputs; every call is one more attempt."""
        self.effects = Effects()
        for records in epoch.stages.values():
            batch = EngineBatch(records, self.effects, lambda: NOW_MS)
            for row in batch.rows:
                slot = (row.partition, row.event.order_id.encode())
                decision = batch.attempt(row, decide, self.orders.get_many([slot])[slot])
                if decision is not None:
                    self.orders.put_many({slot: decision.state})

    def prepare(self, epoch: Epoch, *sends: Output) -> Prepared:
        return Prepared(epoch, self.effects, self.tables, "w1", sends, self.tasks.running())

    def close(self) -> None:
        for store in self.stores:
            store.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    made.close()


def marker_of(prepared: Prepared, task: Task) -> TaskMarker:
    return cast("TaskMarker", decode(prepared.markers[task]))


def test_i1_the_transaction_commits_the_position_after_the_last_record_of_every_input_of_every_touched_task(
    worker: Worker,
) -> None:
    epoch = worker.collect(
        message("orders", 100, placed()), message("orders", 104, placed("b")), message("payments", 8, captured(), partition=1)
    )
    prepared = worker.prepare(epoch)
    transaction = prepared.transaction(GROUP_METADATA)
    assert transaction.offsets == {(ORDERS, 0): 105, (PAYMENTS, 0): 50, (ORDERS, 1): 7, (PAYMENTS, 1): 9}
    assert transaction.group_metadata is GROUP_METADATA
    assert marker_of(prepared, worker.zero).positions == (InputPosition(ORDERS, 0, 100, 105), InputPosition(PAYMENTS, 0, 50, 50))
    assert marker_of(prepared, worker.one).positions == (InputPosition(ORDERS, 1, 7, 7), InputPosition(PAYMENTS, 1, 8, 9))
    assert worker.revenue not in prepared.positions


def test_i1_records_that_only_die_move_the_offsets_too_and_their_dead_letters_are_in_the_transaction(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, None), message("orders", 101, b"?"))
    worker.settle_rows(epoch)
    transaction = worker.prepare(epoch).transaction(GROUP_METADATA)
    assert transaction.offsets == {(ORDERS, 0): 102, (PAYMENTS, 0): 50}
    assert [record.topic for record in each_of(transaction.records)] == [f"{PREFIX}orders.dlq"] * 2 + [TOTALS]


def test_i3_a_touched_task_writes_a_marker_though_no_key_changed(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, None))
    worker.settle_rows(epoch)
    transaction = worker.prepare(epoch).transaction(GROUP_METADATA)
    assert set(transaction.markers) == {(CHANGELOG, 0)}
    marker = transaction.markers[CHANGELOG, 0]
    assert (marker.topic, marker.key, marker.partition) == (CHANGELOG, MARKER_KEY, 0)


def test_i3_markers_are_kept_apart_so_that_they_stand_last_in_their_changelogs(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()), message("orders", 7, placed(order_id="o-2"), partition=1))
    worker.settle_rows(epoch)
    transaction = worker.prepare(epoch).transaction(GROUP_METADATA)
    assert set(transaction.markers) == {(CHANGELOG, 0), (CHANGELOG, 1)}
    assert all(record.key != MARKER_KEY for record in each_of(transaction.records))


def test_the_changelog_gets_the_final_value_of_each_changed_key_once_under_its_tables_name(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()), message("payments", 50, captured()))
    worker.settle_rows(epoch)
    prepared = worker.prepare(epoch)
    (change,) = [record for record in each_of(prepared.transaction(GROUP_METADATA).records) if record.topic == CHANGELOG]
    assert (change.key, change.partition) == (b"order_state/o-1", 0)
    final = worker.orders.get_many([(0, b"o-1")])[0, b"o-1"]
    assert change.value == bytes([ORDER_STATE.version]) + msgspec.msgpack.encode(final)
    assert prepared.changes == {worker.zero: {"order_state": {b"o-1": change.value}}}


def test_a_deleted_key_is_a_tombstone(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()))
    worker.orders.put_many({(0, b"gone"): None})
    (change,) = each_of(worker.prepare(epoch).transaction(GROUP_METADATA).records)
    assert (change.key, change.value) == (b"order_state/gone", None)


def test_i4_counters_add_up_in_the_marker_over_epochs_and_count_a_redo_once(worker: Worker) -> None:
    first = worker.collect(message("orders", 100, placed()), message("orders", 101, placed()), message("orders", 102, None))
    worker.settle_rows(first)
    worker.orders.forget()
    first = first.only(worker.tasks.running())  # an abort: the same epoch again, nothing of the attempt kept
    worker.settle_rows(first)
    prepared = worker.prepare(first)
    prepared.settle(worker.zero)
    worker.orders.forget()
    worker.settle_rows(second := worker.collect(message("orders", 103, b"?")))
    counters = marker_of(worker.prepare(second), worker.zero).counters
    assert counters == {
        "consumed": 4,
        "applied": 1,
        "duplicates": 1,
        "dead": 2,
        "dead|null_value": 1,
        "dead|no_magic_byte": 1,
    }
    assert counters["consumed"] == counters["applied"] + counters["duplicates"] + counters["dead"]


def test_a_settled_epoch_moves_the_tasks_memory_and_an_unsettled_one_moves_nothing(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()))
    worker.settle_rows(epoch)
    prepared = worker.prepare(epoch)
    assert (worker.zero.epoch, worker.zero.counters, worker.zero.next_offsets[ORDERS, 0]) == (0, {}, 100)
    prepared.settle(worker.zero)
    assert worker.zero.epoch == marker_of(prepared, worker.zero).epoch == 1
    assert worker.zero.counters == {"consumed": 1, "applied": 1}
    assert worker.zero.next_offsets == {(ORDERS, 0): 101, (PAYMENTS, 0): 50}


def test_i2_the_store_is_told_the_same_marker_and_offset_that_kafka_has(worker: Worker) -> None:
    prepared = worker.prepare(worker.collect(message("orders", 100, placed())))
    identity = StoreIdentity("cluster", "group", CHANGELOG, "topic id")
    stands_for = prepared.stands_for(worker.zero, identity, 1_234, NOW_MS)
    assert (stands_for.marker, stands_for.changelog_offset) == (prepared.markers[worker.zero], 1_234)
    assert (stands_for.identity, stands_for.applied_at_ms) == (identity, NOW_MS)


def test_i9_sends_without_records_are_fenced_by_the_position_of_a_running_task_which_gets_a_marker(worker: Worker) -> None:
    worker.revenue.state = worker.zero.state = TaskState.RESTORING
    send = Output("t.reply", b"k", b"v")
    prepared = worker.prepare(worker.collect(), send)
    transaction = prepared.transaction(GROUP_METADATA)
    assert transaction.records == [send]
    assert transaction.offsets == {(ORDERS, 1): 7, (PAYMENTS, 1): 8}
    assert set(transaction.markers) == {(CHANGELOG, 1)}
    assert marker_of(prepared, worker.one).positions == (InputPosition(ORDERS, 1, 7, 7), InputPosition(PAYMENTS, 1, 8, 8))
    for task in prepared.positions:
        prepared.settle(task)
    assert worker.one.next_offsets == {(ORDERS, 1): 7, (PAYMENTS, 1): 8}
    assert (worker.one.epoch, worker.one.counters) == (1, {})


def test_i9_a_transaction_that_nothing_fences_is_refused(worker: Worker) -> None:
    for task in worker.tasks:
        task.state = TaskState.RESTORING
    with pytest.raises(ValueError, match="not fenced"):
        worker.prepare(worker.collect(), Output("t.reply", b"k", b"v"))


def test_i9_sends_beside_records_carry_the_positions_of_the_touched_tasks(worker: Worker) -> None:
    transaction = worker.prepare(worker.collect(message("orders", 100, placed())), Output("t.reply", b"k", b"v")).transaction(
        None
    )
    assert set(transaction.offsets) == {(ORDERS, 0), (PAYMENTS, 0)}


def test_i9_records_of_tasks_that_do_not_run_or_were_read_before_are_left_alone(worker: Worker) -> None:
    worker.one.state = TaskState.RESTORING
    epoch = worker.collect(
        message("orders", 99, placed("read before")),
        message("orders", 100, placed()),
        message("orders", 7, placed(), partition=1),
        message("orders", 0, placed(), partition=5),
    )
    assert epoch.records_count == 1
    assert epoch.tasks == [worker.zero]


def test_i9_an_epoch_loses_the_records_of_a_revoked_task_and_keeps_the_others(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()), message("orders", 7, placed(order_id="o-2"), partition=1))
    worker.tasks.revoke([(PAYMENTS, 1)])
    left = epoch.only(worker.tasks.running())
    assert left.tasks == [worker.zero]
    assert set(worker.prepare(left).transaction(None).offsets) == {(ORDERS, 0), (PAYMENTS, 0)}


def test_an_epoch_of_tasks_that_all_left_is_empty(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 7, placed(), partition=1))
    left = epoch.only([worker.zero])
    assert (left.records_count, left.stages, left.tasks) == (0, {}, [])


def test_i3_a_position_that_moved_over_markers_of_transactions_only_is_committed_with_a_marker(worker: Worker) -> None:
    positions = {(ORDERS, 0): 103, (PAYMENTS, 0): 50, (ORDERS, 1): 7, (DELTAS, 0): 3}
    epoch = Epoch.of_passed(1, positions, worker.tasks.running())
    assert (epoch.records_count, epoch.tasks) == (0, [worker.zero])
    prepared = worker.prepare(epoch)
    assert prepared.transaction(None).offsets == {(ORDERS, 0): 103, (PAYMENTS, 0): 50}
    assert marker_of(prepared, worker.zero).positions == (InputPosition(ORDERS, 0, 100, 103), InputPosition(PAYMENTS, 0, 50, 50))
    prepared.settle(worker.zero)
    assert worker.zero.next_offsets[ORDERS, 0] == 103
    assert not Epoch.of_passed(2, positions, worker.tasks.running()).tasks
    assert not epoch.only([worker.one]).tasks


def test_records_of_topics_that_no_stage_reads_move_offsets_and_write_no_marker(worker: Worker) -> None:
    (plain,) = worker.tasks.assign([(f"{PREFIX}reply", 0)])
    plain.state, plain.next_offsets = TaskState.RUNNING, {(f"{PREFIX}reply", 0): 0}
    epoch = worker.collect(message("reply", 4, b"anything"))
    transaction = worker.prepare(epoch).transaction(None)
    assert transaction.offsets == {(f"{PREFIX}reply", 0): 5}
    assert transaction.markers == {}


def test_two_stages_of_one_worker_share_the_epoch_and_its_transaction(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()), message("revenue-deltas", 3, None))
    assert set(epoch.stages) == {"settlement", "revenue"}
    transaction = worker.prepare(epoch).transaction(None)
    assert set(transaction.markers) == {(CHANGELOG, 0), (f"{PREFIX}revenue-changelog", 0)}
    assert transaction.offsets[DELTAS, 0] == 4


def test_i5_a_row_above_the_changelogs_limit_is_refused_before_anything_is_produced(worker: Worker) -> None:
    epoch = worker.collect(message("orders", 100, placed()))
    worker.orders.put_many({(0, b"o-1"): OrderState(seen=(("x" * SETTLEMENT_CHANGELOG.max_message_bytes, 0),))})
    with pytest.raises(RecordTooLargeError, match="does not fit settlement-changelog"):
        worker.prepare(epoch)


def totals_in(prepared: Prepared) -> dict[bytes | None, ControlTotals]:
    records = [record for record in each_of(prepared.transaction(GROUP_METADATA).records) if record.topic == TOTALS]
    rows = {record.key: cast("ControlTotals", decode(record.value)) for record in records}
    assert len(rows) == len(records), "one record for each task"
    return rows


def test_the_totals_of_a_task_are_in_the_transaction_whose_marker_has_the_same_counters(worker: Worker) -> None:
    worker.zero.counters = {"consumed": 5, "applied": 4, "dead": 1, "dead|early": 1, "watermark_ms": 7}
    epoch = worker.collect(message("orders", 100, placed()), message("orders", 7, b"?", partition=1))
    worker.settle_rows(epoch)
    worker.effects.count(worker.zero, "accepted|EUR|gross_minor", 100)
    worker.effects.count(worker.zero, "waiting|EUR|gross_minor", 100)
    prepared = worker.prepare(epoch)
    zero, one = totals_in(prepared)[b"settlement/0"], totals_in(prepared)[b"settlement/1"]
    assert zero == control_totals("settlement/0", worker.zero.epoch + 1, marker_of(prepared, worker.zero).counters)
    assert (zero.epoch, zero.consumed, zero.applied, zero.dead) == (marker_of(prepared, worker.zero).epoch, 6, 5, 1)
    assert zero.accounts == (AccountTotals("EUR", "gross_minor", 100, 0, 0, 100, 0, 0),)
    assert (one.consumed, one.dead_by_reason) == (1, {"no_magic_byte": 1})


def test_totals_that_did_not_change_are_not_written_again(worker: Worker) -> None:
    epoch = worker.collect().joined({worker.zero: Tick(0, NOW_MS, frozenset())}, [worker.revenue], PREFIX)
    worker.effects.count(worker.zero, "watermark_ms", 60_000)
    worker.effects.count(worker.zero, "waiting|EUR|gross_minor", 0)
    assert totals_in(worker.prepare(epoch)) == {}
    worker.effects.count(worker.zero, "waiting|EUR|gross_minor", -5)
    worker.effects.count(worker.zero, "unmatched|EUR|gross_minor", 5)
    assert list(totals_in(worker.prepare(epoch))) == [b"settlement/0"]


def test_a_stage_without_money_has_no_control_totals(worker: Worker) -> None:
    customers = running_task(worker.tasks, TOPOLOGY[2], 0, (0,))
    epoch = worker.collect(message("customer-deltas", 0, deltas()))
    worker.effects.count(customers, "consumed", 1)
    worker.tables["customers"] = []
    assert totals_in(worker.prepare(epoch)) == {}


def test_control_totals_have_their_accounts_by_currency_and_measure_and_nothing_of_the_clocks() -> None:
    counters = {
        "windowed|USD|gross_minor": 3, "windowed|EUR|cancelled_minor": 2, "windowed|EUR|orders_count": 1,
        "adjusted|EUR|orders_count": 4,
        "consumed": 9, "applied": 9, "watermark_ms": 5, "duplicates|other_content": 1, "waiting_events": 2,
    }  # fmt: skip
    row = control_totals("revenue/3", 12, counters)
    assert (row.task, row.epoch, row.consumed, row.applied, row.duplicates, row.dead) == ("revenue/3", 12, 9, 9, 0, 0)
    assert row.dead_by_reason == {}
    assert row.accounts == (
        AccountTotals("EUR", "orders_count", 0, 0, 1, 0, 4, 0),
        AccountTotals("EUR", "cancelled_minor", 0, 0, 2, 0, 0, 0),
        AccountTotals("USD", "gross_minor", 0, 0, 3, 0, 0, 0),
    )
