"""A batch: what can be read is decided, what cannot is buried alone, and every record is counted once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Message

from agents.outcomes import DUPLICATE, Decision, Duplicate, Rejected
from schemas.codec import REASONS, encode
from schemas.events import OrderCancelled, OrderPlaced, PaymentCaptured, PaymentFailed, PaymentRefunded
from schemas.topics import ORDER_STATUS, ORDERS, ORDERS_DLQ, PAYMENTS, PAYMENTS_DLQ, REVENUE_DELTAS, Topic
from streams.arrivals import Reader
from streams.batch import EngineBatch, PoisonedInternalTopicError, StageRecords
from streams.dead_letters import Headers, headers_bytes
from streams.effects import Effects, RecordTooLargeError
from streams.tasks import Task, Tasks
from streams.topology import TOPOLOGY, Stage
from tests.support.columns import NEEDS_EXTENSION
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, REVENUE, SETTLEMENT, message, running_task
from tests.unit.orders import captured, deltas, placed

NOW_MS = 1_795_000_012_345
GOOD = encode(placed())

UNREADABLE: dict[str, bytes | None] = {
    "null_value": None,
    "no_magic_byte": b"{}",
    "unknown_schema_id": b"\0" + (999).to_bytes(4, "big") + GOOD[5:],
    "truncated": GOOD[:-1],
    "trailing_bytes": GOOD + b"\0",
    "invalid_utf8": GOOD.replace(b"shop", b"sh\xff\xfe"),
    "unexpected_type": encode(captured()),
}


def begun(stage: Stage, messages: list[Message]) -> tuple[EngineBatch, Effects, dict[int, Task]]:
    tasks = Tasks(TOPOLOGY, PREFIX)
    partitions = {each.partition() or 0 for each in messages}
    owners = {partition: running_task(tasks, stage, partition, (0,) * len(stage.reads)) for partition in partitions}
    effects = Effects()
    return EngineBatch(StageRecords(stage, PREFIX, messages, owners), effects, lambda: NOW_MS), effects, owners


def keep(_: object, event: Any) -> Decision[str]:
    return Decision(event.event_id)


@pytest.mark.parametrize("reason", UNREADABLE)
def test_i4_what_cannot_be_read_is_buried_alone_and_its_neighbours_go_on(reason: str) -> None:
    batch, effects, owners = begun(
        SETTLEMENT,
        [message("orders", 0, placed("before")), message("orders", 1, UNREADABLE[reason]), message("orders", 2, placed("after"))],
    )
    decisions = [batch.attempt(row, keep, None) for row in batch.rows]
    assert decisions == [Decision("before"), Decision("after")]
    (dead,) = each_of(effects.outputs)
    assert (dead.topic, dead.key, dead.value) == (ORDERS_DLQ.named(PREFIX), b"o-1", UNREADABLE[reason])
    assert dict(dead.headers or [])["__tally.errors.reason"] == reason.encode()
    assert dict(dead.headers or [])["__tally.errors.class"] == b"undecodable"
    assert effects.counters[owners[0]] == {"consumed": 3, "applied": 2, "dead": 1, f"dead|{reason}": 1}


def test_every_reason_of_the_codec_is_buried_above_but_those_that_need_a_fuzzer_or_a_registry() -> None:
    assert set(UNREADABLE) == set(REASONS) - {"malformed", "incompatible_schema"}


def test_i4_every_record_is_applied_duplicate_or_dead_and_the_counters_add_up_per_task() -> None:
    def decide(_: None, event: OrderPlaced) -> Decision[None] | Duplicate | Rejected:
        match event.event_id:
            case "again":
                return DUPLICATE
            case "wrong":
                return Rejected("a_rule", "it is broken")
            case "bug":
                raise ZeroDivisionError("by hand")
        return Decision(None)

    kinds = ["good", "again", "wrong", "bug", "good", "again"]
    messages = [
        message("orders", offset, placed(kind), partition=partition) for partition in (3, 4) for offset, kind in enumerate(kinds)
    ]
    batch, effects, owners = begun(SETTLEMENT, [*messages, message("payments", 0, None, partition=4)])
    for row in batch.rows:
        batch.attempt(row, decide, None)

    common = {"applied": 2, "duplicates": 2, "dead|a_rule": 1, "dead|ZeroDivisionError": 1}
    assert effects.counters == {
        owners[3]: {"consumed": 6, "dead": 2, **common},
        owners[4]: {"consumed": 7, "dead": 3, "dead|null_value": 1, **common},
    }
    for counter in effects.counters.values():
        assert counter["consumed"] == counter["applied"] + counter["duplicates"] + counter["dead"]
    assert [output.topic for output in each_of(effects.outputs)].count(PAYMENTS_DLQ.named(PREFIX)) == 1
    assert len(effects.outputs) == 5


@pytest.mark.parametrize("value", [UNREADABLE["invalid_utf8"], GOOD], ids=["it cannot be read", "decide raises"])
def test_i5_a_record_that_is_buried_does_not_keep_its_batch_in_memory_until_cycles_are_collected(value: bytes) -> None:
    def decide(_: None, event: OrderPlaced) -> Decision[None]:
        raise KeyError(event.order_id)

    gc.disable()
    try:
        batch, effects, _ = begun(SETTLEMENT, [message("orders", 0, value)])
        for row in batch.rows:
            assert batch.attempt(row, decide, None) is None
        assert len(effects.outputs) == 1
        gone = weakref.ref(batch)
        row = batch = None  # type: ignore[assignment]
        assert gone() is None
    finally:
        gc.enable()


def test_i8_a_decide_that_raises_buries_its_record_with_the_exception_and_where_it_came_from() -> None:
    def decide(_: None, event: OrderPlaced) -> Decision[None]:
        raise KeyError(event.order_id)

    batch, effects, _ = begun(
        SETTLEMENT, [message("orders", 41, placed(), key=b"raw key", timestamp_ms=77, headers=[("trace", b"1")])]
    )
    assert batch.attempt(batch.rows[0], decide, None) is None
    (dead,) = each_of(effects.outputs)
    assert (dead.key, dead.value, dead.timestamp_ms, dead.partition) == (b"raw key", GOOD, 77, -1)
    assert (dead.headers or [])[0] == ("trace", b"1")
    headers = dict(dead.headers or [])
    assert headers["__streams.errors.exception"] == b"KeyError"
    assert headers["__streams.errors.message"] == b"decide raised KeyError: 'o-1'"
    assert b"raise KeyError(event.order_id)" in (headers["__streams.errors.stacktrace"] or b"")
    assert headers["__streams.errors.topic"] == b"t.orders"
    assert headers["__streams.errors.offset"] == b"41"
    assert headers["__tally.errors.class"] == b"exception"
    assert headers["__tally.errors.at"] == str(NOW_MS).encode()
    assert headers["__tally.errors.agent"] == b"settlement"


def test_each_input_topic_refuses_the_record_types_of_the_other() -> None:
    batch, effects, _ = begun(SETTLEMENT, [message("orders", 0, captured()), message("payments", 0, placed())])
    assert batch.rows == []
    assert [output.topic for output in each_of(effects.outputs)] == [ORDERS_DLQ.named(PREFIX), PAYMENTS_DLQ.named(PREFIX)]
    assert {dict(output.headers or [])["__tally.errors.reason"] for output in each_of(effects.outputs)} == {b"unexpected_type"}


def test_i8_a_poisoned_internal_topic_stops_the_task_instead_of_losing_money() -> None:
    with pytest.raises(PoisonedInternalTopicError, match=r"t\.revenue-deltas/2 at offset 9: .*null.* has no dead-letter topic"):
        begun(REVENUE, [message("revenue-deltas", 9, None, partition=2)])
    delta = deltas()
    batch, _, _ = begun(REVENUE, [message("revenue-deltas", 9, delta, partition=2)])
    with pytest.raises(PoisonedInternalTopicError, match="decide raised"):
        batch.attempt(batch.rows[0], lambda _, event: event.no_such_field, None)


def test_i1_a_redo_is_a_batch_of_its_own_and_decodes_nothing_twice() -> None:
    tasks = Tasks(TOPOLOGY, PREFIX)
    owners = {0: running_task(tasks, SETTLEMENT, 0, (0, 0))}
    records = StageRecords(SETTLEMENT, PREFIX, [message("orders", 0, placed()), message("orders", 1, None)], owners)
    first, second = Effects(), Effects()
    aborted = EngineBatch(records, first, lambda: NOW_MS)
    aborted.attempt(aborted.rows[0], keep, None)
    aborted.emit(ORDER_STATUS, b"k", placed())

    redone = EngineBatch(records, second, lambda: NOW_MS)
    aborted.attempt(aborted.rows[0], keep, None)  # an agent that was still at it
    assert redone.rows is aborted.rows
    assert second.counters[owners[0]] == {"consumed": 2, "dead": 1, "dead|null_value": 1}
    assert len(second.outputs) == 1
    assert first.counters[owners[0]]["applied"] == 2


def test_i7_rows_stand_in_order_of_arrival_per_partition() -> None:
    messages = [message("orders", offset, placed(f"{offset}"), partition=offset % 2) for offset in range(6)]
    batch, _, _ = begun(SETTLEMENT, messages)
    assert [(row.partition, row.event.event_id) for row in batch.rows] == [(offset % 2, str(offset)) for offset in range(6)]


def test_only_keeps_the_records_of_the_tasks_that_are_left() -> None:
    messages = [message("orders", offset, placed(f"{offset}"), partition=offset % 3) for offset in range(6)]
    tasks = Tasks(TOPOLOGY, PREFIX)
    owners = {partition: running_task(tasks, SETTLEMENT, partition, (0, 0)) for partition in range(3)}
    left = StageRecords(SETTLEMENT, PREFIX, messages, owners).only([owners[1]])
    assert [row.event.event_id for row in left.arrived.rows] == ["1", "4"]
    assert left.tasks == {1: owners[1]}


def test_i3_records_of_a_task_that_was_renewed_are_not_taken_over_by_its_successor() -> None:
    tasks = Tasks(TOPOLOGY, PREFIX)
    before = running_task(tasks, SETTLEMENT, 0, (100, 0))
    records = StageRecords(SETTLEMENT, PREFIX, [message("orders", 100, placed())], {0: before})
    after = tasks.renew(before)
    left = records.only([after])
    assert (left.messages, left.tasks) == ([], {})


@NEEDS_EXTENSION
def test_enough_records_come_in_columns_and_what_is_not_clearly_good_is_read_alone_where_the_extension_is_built() -> None:
    overlong = encode(placed("odd")).replace(b"\x06odd", b"\x86\x00odd", 1)  # a longer length than need be: no column takes it
    messages = [
        message("orders", 5, placed("a"), partition=1),
        message("payments", 6, captured()),
        message("orders", 7, b"raw"),
        message("orders", 8, overlong, partition=1),
        message("payments", 9, placed("b")),
    ]
    batch, effects, _ = begun(replace(SETTLEMENT, columns_from=5), messages)
    assert batch.columns is not None
    assert batch.columns.frames[OrderPlaced].select("at", "partition", "event_id").rows() == [(0, 1, "a")]
    assert batch.columns.frames[PaymentCaptured]["at"].to_list() == [1]
    assert [len(batch.columns.frames[kind]) for kind in (OrderCancelled, PaymentFailed, PaymentRefunded)] == [0, 0, 0]
    assert {at: row.event.event_id for at, row in batch.columns.others.items()} == {3: "odd"}
    assert [row.event for row in batch.rows_at([0, 1, 3])] == [row.event for row in batch.rows]
    assert sum(len(dead) for dead in effects.dead.values()) == 2
    assert begun(replace(SETTLEMENT, columns_from=6), messages)[0].columns is None


@NEEDS_EXTENSION
def test_columns_that_were_read_ahead_are_taken_over_only_for_the_very_same_records_where_the_extension_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, messages = (
        replace(SETTLEMENT, columns_from=2),
        [message("orders", offset, placed(f"e-{offset}")) for offset in range(4)],
    )
    ahead = StageRecords(stage, PREFIX, messages, {})
    ahead.read()
    read: list[int] = []
    columns_of = Reader.columns_of

    def counted(reader: Reader, some: Sequence[Message]) -> Any:
        read.append(len(some))
        return columns_of(reader, some)

    monkeypatch.setattr(Reader, "columns_of", counted)
    for kept in (messages[:], messages[1:]):
        records = StageRecords(stage, PREFIX, kept, {})
        records.take_over(ahead)
        columns = records.arrived.columns
        assert columns is not None
        assert len(columns.frames[OrderPlaced]) == len(kept)
    assert read == [3]


def test_emit_writes_under_the_prefix_and_leaves_the_partition_to_the_key_unless_told() -> None:
    batch, effects, _ = begun(SETTLEMENT, [message("orders", 0, placed())])
    delta = deltas()
    batch.emit(REVENUE_DELTAS, b"m-1", delta)
    batch.emit(REVENUE_DELTAS, b"m-1", delta, 7)
    name = REVENUE_DELTAS.named(PREFIX)
    assert [(output.topic, output.key, output.value, output.partition) for output in each_of(effects.outputs)] == [
        (name, b"m-1", encode(delta), -1),
        (name, b"m-1", encode(delta), 7),
    ]


def test_i5_a_record_above_its_topics_limit_is_refused_before_it_is_produced() -> None:
    batch, effects, _ = begun(SETTLEMENT, [message("orders", 0, placed())])
    too_large = deltas("m" * REVENUE_DELTAS.max_message_bytes)
    with pytest.raises(RecordTooLargeError, match=r"does not fit revenue-deltas, which takes 4194352: nothing was written"):
        batch.emit(REVENUE_DELTAS, b"m-1", too_large)
    assert effects.outputs == []


@pytest.mark.parametrize("topic", [ORDERS, PAYMENTS])
@pytest.mark.parametrize("says", ["little", "the whole record", "more than the record"])
def test_i5_the_largest_input_fits_its_dead_letter_topic_whatever_the_exception_says(topic: Topic, says: str) -> None:
    def decide(_: None, event: Any) -> Decision[None]:
        raise ValueError({"little": "", "the whole record": repr(event), "more than the record": "\U0001f600" * 10**6}[says])

    filling = "c" * (topic.max_message_bytes - 300)
    event = placed(customer_id=filling) if topic is ORDERS else captured(method=filling)
    batch, effects, owners = begun(SETTLEMENT, [message(topic.name, 0, event)])
    batch.attempt(batch.rows[0], decide, None)
    assert len(effects.outputs) == 1
    assert effects.counters[owners[0]]["dead"] == 1


def test_i5_a_record_larger_than_any_topic_takes_is_cut_and_buried_and_never_stops_its_task() -> None:
    value, key = b"?" * 5_000_000, b"k" * 10_000
    headers: Headers = [("trace", b"1"), ("blob", b"x" * 100)]
    batch, effects, owners = begun(
        SETTLEMENT, [message("orders", 7, value, key=key, headers=headers), message("orders", 8, placed("after"))]
    )
    assert [row.event.event_id for row in batch.rows] == ["after"]
    (dead,) = each_of(effects.outputs)
    assert dead.key == key
    assert dead.value
    assert value.startswith(dead.value)
    assert (dead.headers or [])[:2] == headers
    size = len(key) + len(dead.value) + headers_bytes(dead.headers or [])
    assert ORDERS_DLQ.max_message_bytes - 1_000 < size < ORDERS_DLQ.max_message_bytes
    said = (dict(dead.headers or [])["__tally.errors.cut"] or b"").decode()
    kept = f"kept {len(dead.value):,} of 5,000,000 bytes of the value, 10,000 of 10,000 of the key, 2 of 2 headers"
    assert said == f"{kept}; the whole stands on its topic"
    assert effects.counters[owners[0]]["dead"] == 1
