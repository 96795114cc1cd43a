"""F27 and event time: one partition idle, one minutes behind, events out of order and late, workers killed; final is final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from connectors.ground_truth import truth_of
from connectors.reader import ReadRecord, read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from connectors.sources.sent import APPLIED, DUPLICATE, Sent
from schemas.codec import decode
from schemas.partitioning import partition_of_bytes
from schemas.topics import ORDERS, PAYMENTS
from streams.local_broker import LocalBroker
from streams.topology import TOPOLOGY
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000
GRACE_MS = 5 * 60_000
"""More than events of one partition are out of order by, and less than half of the plan's 20 minutes."""
SETTINGS = {"grace_ms": GRACE_MS, "idle_after_ms": 10_000, "idle_tick_ms": 500, "epoch_records_max": 400, "memory_mb": 12}
IDLE, BEHIND = 5, 3
"""A partition of both inputs that nothing comes to, and one whose second half comes when all others are done."""
WINDOWED = [topic for stage in TOPOLOGY[1:] for topic in stage.writes if hasattr(topic.values[0], "window_end_ms")]


def test_f27_windows_wait_for_the_partition_behind_not_for_the_idle_one_and_are_final_once_whoever_is_killed(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=2_500, seed=27, start_ms=START_MS, late_ratio=0.004)
    sent = [record for record in whole.sent if partition(record) != IDLE]
    behind = [record for record in sent if partition(record) == BEHIND]
    first, withheld = behind[: len(behind) // 2], behind[len(behind) // 2 :]
    early = interleaved(first, [record for record in sent if partition(record) != BEHIND])
    again = [
        next(record for record in first if record.topic is each and record.expected == APPLIED) for each in (ORDERS, PAYMENTS)
    ]
    repeats: list[Sent] = []
    with Deployment(tmp_path, broker.cluster, topics, **SETTINGS) as tally:
        publisher = Publisher(broker.cluster, topics)

        def stay_active() -> None:
            """Repeat an event of each input on the partition that is behind: it is behind, and neither of them is idle.

            Behind orders that come first, payments that were idle until then would be late.
            """
            repeated = [Sent(each.topic, each.key, each.value, DUPLICATE, each.partition) for each in again]
            repeats.extend(repeated)
            publisher.send(repeated)

        one, two = tally.start("w1"), tally.start("w2")
        wait_for("both workers have tasks", lambda: len(one.tasks()) == len(two.tasks()) == TASKS // 2)
        publisher.send(early)  # all at once: a slow machine's pauses between parts of it would be quiet nights
        wait_for("a first epoch", lambda: one.epochs_count() >= 1)
        one.kill()
        tally.start("w1")
        wait_for("the other one goes on", lambda: two.epochs_count() >= 2)
        two.kill()
        tally.start("w2")

        finals: list[ReadRecord] = []

        def windows_are_final() -> bool:
            stay_active()
            finals[:] = [row for row in rows_of(tally, "revenue-by-merchant-1m") if status(row) == "final"]
            return bool(finals) and tally.lag() == 0

        wait_for("windows are final though one partition is idle", windows_are_final)
        publisher.send(withheld)
        publisher.close()
        reached_ms = max(decode(record.value or b"").occurred_at_ms for record in first if record.expected == APPLIED)  # type: ignore[union-attr]
        ended_ms = [decode(row.value).window_end_ms for row in finals]  # type: ignore[union-attr]
        assert max(ended_ms) + GRACE_MS <= reached_ms, "a window was final before the partition that is behind had passed it"
        tally.command("audit")
        wait_for("the last window of each key is final", lambda: all(is_final(tally, topic.name) for topic in WINDOWED))
        tally.command("audit", "--rows")
        truth = truth_of(replace(whole, sent=[*early, *repeats, *withheld]))
        verdict = tally.finish(truth)
    assert verdict.exact, verdict.headline()
    assert verdict.finals_count == 0
    assert truth.late_ids
    assert all(count_finals(rows) == len(newest(rows)) for rows in (rows_of(tally, topic.name) for topic in WINDOWED))


def partition(record: Sent) -> int:
    """Give where a record goes; what has no key may go anywhere."""
    if record.partition is not None:
        return record.partition
    return -1 if record.key is None else partition_of_bytes(record.key, ORDERS.partitions)


def interleaved(some: list[Sent], others: list[Sent]) -> list[Sent]:
    """Give both, each in its own order, mixed as evenly as their numbers allow."""
    places = [
        ((number + 0.5) / len(records), number, record) for records in (some, others) for number, record in enumerate(records)
    ]
    return [record for *_, record in sorted(places, key=lambda place: place[:2])]


def rows_of(tally: Deployment, topic: str) -> list[ReadRecord]:
    return list(read_topic(tally.cluster, tally.prefix + topic))


def status(row: ReadRecord) -> str:
    return decode(row.value).status  # type: ignore[union-attr]


def newest(rows: list[ReadRecord]) -> Mapping[bytes | None, ReadRecord]:
    return {row.key: row for row in rows}


def is_final(tally: Deployment, topic: str) -> bool:
    rows = newest(rows_of(tally, topic))
    return bool(rows) and all(status(row) == "final" for row in rows.values())


def count_finals(rows: list[ReadRecord]) -> int:
    return sum(status(row) == "final" for row in rows)
