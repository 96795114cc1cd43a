"""One byte budget: its shares, and how many records a batch may take within its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from schemas.topics import MAX_CHANGELOG_BYTES
from streams.budget import MEBIBYTE, MEMORY_MB_MAX, MEMORY_MB_MIN, Budget, fetch_config
from streams.group import GroupConsumer
from streams.room import MESSAGE_COPIES, RECORD_BYTES, WRITTEN_COPIES, Room, record_bytes
from streams.settings import Settings
from streams.taking import take


@pytest.mark.parametrize("memory_mb", [MEMORY_MB_MIN, 64, 512, 16_384])
def test_the_shares_are_positive_and_add_up_to_the_budget(memory_mb: int) -> None:
    budget = Budget.of(memory_mb)
    shares = [budget.producer_bytes, budget.stores_bytes, budget.epoch_bytes, budget.consumer_bytes, budget.restore_bytes]
    assert min(shares) > 0
    assert memory_mb * MEBIBYTE - 7 <= sum(shares) <= memory_mb * MEBIBYTE
    assert budget.write_buffer_bytes < budget.stores_bytes, "write buffers stand in the cache"


@pytest.mark.parametrize("memory_mb", [MEMORY_MB_MIN, 64, 512])
def test_the_largest_changelog_record_fits_the_producers_queue(memory_mb: int) -> None:
    config = Budget.of(memory_mb).producer_config()
    assert config["queue.buffering.max.kbytes"] * 1024 > MAX_CHANGELOG_BYTES
    assert config["queue.buffering.max.messages"] >= 1


@pytest.mark.parametrize("memory_mb", [MEMORY_MB_MIN, 512, MEMORY_MB_MAX])
def test_kafkas_client_takes_its_shares_of_every_budget_that_can_be_set(memory_mb: int) -> None:
    budget, nowhere = Budget.of(memory_mb), {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    for share_bytes in (budget.consumer_bytes, budget.restore_bytes // 2):
        Consumer({**nowhere, "group.id": "g", **fetch_config(share_bytes)}).close()
    Producer({**nowhere, **budget.producer_config()})


@pytest.mark.parametrize("share_bytes", [1 << 20, 8 << 20, 64 << 20])
def test_what_is_fetched_ahead_stays_within_its_share(share_bytes: int) -> None:
    config = fetch_config(share_bytes)
    assert config["queued.max.messages.kbytes"] * 1024 <= share_bytes // 2
    assert config["fetch.queue.backoff.ms"] <= 10, "a queue that was full is filled again at once"
    assert config["max.partition.fetch.bytes"] <= config["fetch.max.bytes"] <= max(share_bytes // 8, 1_000_000)


class Backlog:
    """A consumer that always has more records of one size, and notes how many it was asked for."""

    def __init__(self, sizes: Callable[[int], int], available: int = 10**9) -> None:
        self.sizes, self.available = sizes, available
        self.given = 0
        self.asked: list[int] = []

    def consume(self, count: int, wait_s: float) -> list[bytes]:
        assert wait_s == 0 or (wait_s > 0 and count == 1), "what is waited for may be large: one at a time"
        self.asked.append(count)
        found = [b"x" * self.sizes(self.given + number) for number in range(min(count, self.available - self.given))]
        self.given += len(found)
        return found


def taken(backlog: Any, room: Room) -> list[bytes]:
    return take(backlog, room, 0.1)  # type: ignore[return-value]


def test_small_records_fill_the_batch_up_to_its_count() -> None:
    assert len(taken(Backlog(lambda _: 100), Room(1 << 30, 8_000))) == 8_000


def test_large_records_fill_it_up_to_its_bytes_and_one_is_always_taken() -> None:
    room = Room(16 << 20, 8_000)
    batch = taken(Backlog(lambda _: 1_000_000), room)
    assert len(batch) == (16 << 20) // (RECORD_BYTES + MESSAGE_COPIES * 1_000_000) == 4
    assert len(taken(Backlog(lambda _: 90_000_000), room)) == 1


def test_small_ones_before_large_ones_do_not_let_all_the_large_ones_in() -> None:
    sizes: Callable[[int], int] = lambda number: 100 if number < 8 else 1_000_000  # noqa: E731
    batch = taken(Backlog(sizes), Room(16 << 20, 8_000))
    assert sum(map(len, batch)) * MESSAGE_COPIES < 5 * (16 << 20), "a step is at most twice what is known"


def test_a_batch_ends_when_nothing_more_came_in_time_or_ownership_changed() -> None:
    backlog = Backlog(lambda _: 100, available=5)
    assert len(taken(backlog, Room(1 << 30, 8_000))) == 5
    assert backlog.asked == [1, 2, 6, 10, 1], "two came of six, then none of ten, and then one was waited for"
    changed = Backlog(lambda _: 100)
    assert len(take(changed, Room(1 << 30, 8_000), 0.1, stop=lambda: True)) == 1  # type: ignore[arg-type]


def test_what_epochs_wrote_makes_the_next_ones_smaller_at_once_and_larger_slowly() -> None:
    room = Room(16 << 20, 8_000)
    before = len(taken(Backlog(lambda _: 100), room))
    room.learn(10, 10 * 100_000)
    assert len(taken(Backlog(lambda _: 100), room)) == int((16 << 20) / (RECORD_BYTES + WRITTEN_COPIES * 100_000 + 400)) < before
    room.learn(10, 0)
    assert room.written_bytes == 50_000
    room.learn(0, 5_000)
    assert room.written_bytes == 50_000, "an epoch without records says nothing"


def test_a_backlog_is_a_poll_that_fills_half_of_what_there_is_room_for() -> None:
    small = Room(1 << 30, 8_000)
    assert [small.is_half_full(count, count * 100) for count in (0, 3_999, 4_000, 8_000)] == [False, False, True, True]
    narrow = Room(16 << 20, 8_000)
    room = (16 << 20) // (RECORD_BYTES + MESSAGE_COPIES * 100_000)
    assert [narrow.is_half_full(count, count * 100_000) for count in (room // 2 - 1, room // 2 + 1)] == [False, True]


@pytest.mark.parametrize(("memory_mb", "in_columns", "found"), [(256, True, 300), (255, True, 2_560), (512, False, 2_560)])
def test_an_epoch_has_more_records_in_columns_where_the_budget_was_measured_to_have_room(
    memory_mb: int, found: int, *, in_columns: bool
) -> None:
    assert record_bytes(memory_mb, in_columns=in_columns) == found


def test_i5_three_epochs_are_in_memory_together_and_each_has_a_third_of_the_share() -> None:
    settings = Settings(memory_mb=64, bootstrap_servers="127.0.0.1:1")
    group = GroupConsumer(settings)
    try:
        assert 3 * group.room.share_bytes <= settings.budget.epoch_bytes < 3 * group.room.share_bytes + 3
    finally:
        group.close()
