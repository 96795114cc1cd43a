"""What comes while a worker agrees with its group on what it owns, and is taken by nobody, is read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import TopicPartition

from streams.group import GroupConsumer, Polled
from streams.room import Room

WHERE = ("orders", 3)


class Record:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return WHERE[0]

    def partition(self) -> int:
        return WHERE[1]

    def offset(self) -> int:
        return self._offset

    def __len__(self) -> int:
        return 10


class FakeConsumer:
    """One partition; as with librdkafka, its position is where it gives the next record, and after a seek nobody's."""

    def __init__(self, records: Iterable[int]) -> None:
        self.records = list(records)
        self.next = self.records[0]
        self.at = -1001

    def consume(self, count: int, wait_s: float) -> list[Any]:
        del wait_s
        given = [offset for offset in self.records if offset >= self.next][:count]
        if given:
            self.at = self.next = given[-1] + 1
        return [Record(offset) for offset in given]

    def seek(self, place: TopicPartition) -> None:
        self.at, self.next = -1001, place.offset

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, self.at) for place in places]

    def pause(self, places: object) -> None: ...

    def resume(self, places: object) -> None: ...

    def memberid(self) -> str:
        return "w1"

    def consumer_group_metadata(self) -> object:
        return object()


def group_on(consumer: FakeConsumer) -> GroupConsumer:
    group = object.__new__(GroupConsumer)
    group.__dict__.update(_consumer=consumer, _polled=Polled(), _owned={WHERE}, member_id="w1", metadata=None)
    group.room = Room(records_max=1, share_bytes=1 << 20)
    return group


def test_a_record_that_comes_while_all_is_paused_is_read_again() -> None:
    class Once(FakeConsumer):
        came = 0

        def consume(self, count: int, wait_s: float) -> list[Any]:
            self.came += 1
            return super().consume(count, wait_s) if self.came != 2 else []

    group = group_on(Once([7, 8, 9]))
    group.synchronise()
    assert group.positions([WHERE]) == {}
    assert [message.offset() for message in group.poll(0.0).messages] == [7]
