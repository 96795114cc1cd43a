"""F17, F19: every kind of bad record between good ones of its partition, on real Kafka: buried whole, neighbours applied."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from agents.ports import Limits
from agents.settlement.lifecycle import due_ms
from agents.settlement.state import ORDER_STATE, TIMERS, Timer
from connectors.cluster import Cluster
from connectors.reader import ReadRecord, latest_per_key, read_topic
from schemas.codec import encode
from schemas.events import OrderLine
from schemas.partitioning import partition_of
from schemas.topics import MARKER_KEY, PARTITIONS
from streams.local_broker import LocalBroker
from tests.support.chains import chains
from tests.support.workers import Deployment
from tests.unit.orders import after, captured, placed

PARTITION = 5
ERROR_HEADERS = (
    "__streams.errors.exception",
    "__streams.errors.message",
    "__streams.errors.stacktrace",
    "__streams.errors.topic",
    "__streams.errors.partition",
    "__streams.errors.offset",
    "__tally.errors.class",
    "__tally.errors.reason",
    "__tally.errors.at",
    "__tally.errors.attempt",
    "__tally.errors.agent",
)
Headers = list[tuple[str, bytes | None]]
ORIGINAL: Headers = [("trace", b"1"), ("empty", None), ("trace", b"\xff\x00"), ("", b"no name"), ("größe", b""), ("trace", b"1")]
BURIED_BEFORE: Headers = [
    ("first", b"1"),
    ("__streams.errors.offset", b"4711"),
    ("__tally.errors.attempt", b"2"),
    ("__tally.errors.reason", b"another"),
    ("last", None),
]


def _order_ids(ending: str) -> Iterator[str]:
    """Orders that belong into the partition, by the last character of their ids."""
    ids = (f"o-{number}{ending}" for number in count())
    return (order_id for order_id in ids if partition_of(order_id, PARTITIONS) == PARTITION)


GOOD_IDS, FRAGILE = _order_ids("1"), next(_order_ids("7"))
MISMATCHED = next(_order_ids("9"))
VALUE = encode(placed())


@dataclass(frozen=True)
class Bad:
    """A record that must be buried: what it is sent as, and what its dead letter must say."""

    reason: str
    value: bytes | None
    message: str
    error_class: str = "undecodable"
    exception: str = "Undecodable"
    key: bytes | None = b"o-1"
    headers: tuple[tuple[str, bytes | None], ...] = tuple(ORIGINAL)
    kept: tuple[tuple[str, bytes | None], ...] = tuple(ORIGINAL)
    attempt: int = 1


BAD = [
    Bad("no_magic_byte", b'{"json": true}', r"begins with 7b226a736f, not with 00", headers=(), kept=()),
    Bad("unknown_schema_id", b"\0" + (999).to_bytes(4, "big") + VALUE[5:], r"schema id 999 is not in the catalogue"),
    Bad("truncated", VALUE[:-1], rf"OrderPlaced ends too early, after {len(VALUE) - 1} bytes", key=None),
    Bad("trailing_bytes", VALUE + b"\0\0\0", r"3 bytes are left after OrderPlaced", key=b"\xff\xfe raw \x00"),
    Bad("invalid_utf8", VALUE.replace(b"shop", b"sh\xff\xfe"), r"a string of OrderPlaced is not UTF-8", key=b""),
    Bad("null_value", None, r"the value is null"),
    Bad("unexpected_type", encode(captured()), r"orders does not carry PaymentCaptured"),
    Bad(
        "amount_mismatch",
        encode(placed("mismatch", order_id=MISMATCHED, lines=(OrderLine("sku", 1, 99),))),
        r"^the order's amount is not the sum of its lines$",
        error_class="rule",
        exception="amount_mismatch",
        key=MISMATCHED.encode(),
    ),
    Bad(
        "ZeroDivisionError",
        encode(placed("raises", order_id=FRAGILE)),
        r"^decide raised ZeroDivisionError: decide was made to fail$",
        error_class="exception",
        exception="ZeroDivisionError",
        key=FRAGILE.encode(),
    ),
    Bad(
        "no_magic_byte",
        b"sent again as it was buried",
        r"not with 00",
        headers=tuple(BURIED_BEFORE),
        kept=(BURIED_BEFORE[0], BURIED_BEFORE[-1]),
        attempt=3,
    ),
]
GOOD = [placed(f"placed-{number}", order_id=next(GOOD_IDS)) for number in range(len(BAD) + 1)]


def test_i4_every_kind_of_bad_record_is_buried_whole_and_its_neighbours_are_applied(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    began_ms = _now_ms()
    sent = _send(broker.cluster, f"{topics}orders")
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=4) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:DECIDE_RAISES"})
        tally.wait_consumed("orders")
        assert worker.tasks("stopped") == []
        assert worker.stop() == 0, worker.text[-3000:]
    letters = list(read_topic(broker.cluster, f"{topics}orders.dlq"))
    assert len(letters) == len(BAD), "a record was buried twice, or not at all"
    found = {int(dict(letter.headers)["__streams.errors.offset"] or b""): letter for letter in letters}
    for offset, (bad, came) in sent.items():
        _check(found[offset], bad, came, began_ms)
    changelog = latest_per_key(read_topic(broker.cluster, f"{topics}settlement-changelog"))
    assert {key: row.value for key, row in changelog.items() if key != MARKER_KEY} == _right_states()
    assert chains(broker.cluster, topics, "settlement-changelog")[PARTITION][-1].counters == _right_counters()


def _send(cluster: Cluster, topic: str) -> dict[int, tuple[Bad, ReadRecord]]:
    """Send good, bad, good, ... bad, good to one partition; give the bad ones by offset, as the broker has them."""
    producer = Producer({**cluster.producer(), "enable.idempotence": True})
    for good, bad in zip(GOOD, [*BAD, None], strict=True):
        producer.produce(topic, encode(good), good.order_id.encode(), PARTITION, headers=[("trace", b"good")])
        if bad is not None:
            producer.produce(topic, bad.value, bad.key, PARTITION, headers=list(bad.headers))
    assert producer.flush(30) == 0
    came = sorted(read_topic(cluster, topic), key=lambda record: record.offset)
    assert [record.offset for record in came] == list(range(2 * len(BAD) + 1))
    return {record.offset: (bad, record) for bad, record in zip(BAD, came[1::2], strict=True)}


def _check(letter: ReadRecord, bad: Bad, came: ReadRecord, began_ms: int) -> None:
    """Compare one dead letter with what was sent, and with what the broker had of it."""
    assert (letter.key, letter.value) == (bad.key, bad.value) == (came.key, came.value)
    assert letter.timestamp_ms == came.timestamp_ms
    originals = len(bad.kept)
    assert letter.headers[:originals] == bad.kept
    assert tuple(name for name, _ in letter.headers[originals:]) == ERROR_HEADERS
    said = {name: (value or b"").decode() for name, value in letter.headers[originals:]}
    assert re.search(bad.message, said.pop("__streams.errors.message")), bad
    stacktrace = said.pop("__streams.errors.stacktrace")
    assert (f"{bad.exception}: " in stacktrace) if bad.error_class == "exception" else stacktrace == ""
    assert began_ms <= came.timestamp_ms <= int(said.pop("__tally.errors.at")) <= _now_ms()
    assert said == {
        "__streams.errors.exception": bad.exception,
        "__streams.errors.topic": came.topic,
        "__streams.errors.partition": str(PARTITION),
        "__streams.errors.offset": str(came.offset),
        "__tally.errors.class": bad.error_class,
        "__tally.errors.reason": bad.reason,
        "__tally.errors.attempt": str(bad.attempt),
        "__tally.errors.agent": "settlement",
    }


def _right_states() -> dict[bytes, bytes]:
    """The rows of the good orders and their timers, as bytes: state is canonical."""
    rows = {}
    for event in GOOD:
        state, key = after(event), event.order_id.encode()
        rows[b"order_state/" + key] = bytes([ORDER_STATE.version]) + msgspec.msgpack.encode(state)
        due_at_ms = due_ms(state, Limits()) or 0
        rows[b"timers/" + due_at_ms.to_bytes(8, "big") + key] = bytes([TIMERS.version]) + msgspec.msgpack.encode(Timer())
    return rows


def _right_counters() -> dict[str, int]:
    reasons = Counter(f"dead|{bad.reason}" for bad in BAD)
    amount_minor = sum(event.amount_minor for event in GOOD)
    books = {
        f"{account}|EUR|{measure}": amount
        for account in ("accepted", "booked")
        for measure, amount in (("orders_count", len(GOOD)), ("gross_minor", amount_minor))
    }
    clock = {"newest_ms|orders": max(event.occurred_at_ms for event in GOOD)}
    return {"consumed": len(GOOD) + len(BAD), "applied": len(GOOD), "dead": len(BAD), **reasons, **books, **clock}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
