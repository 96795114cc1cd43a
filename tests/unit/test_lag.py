"""A worker's look at how far behind it is: never waited for by an epoch, and forgotten when nobody answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.lag import Lag, LagReader, LagWatch, offsets_of
from streams.marker import TopicPartition
from streams.questions import LATEST
from streams.tasks import Task
from tests.unit.messages import SETTLEMENT

ORDERS = ("orders", 0)


class Reader:
    """Answers as the test says; ``answers`` holds it back."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.away = False
        self.asked: list[Mapping[TopicPartition, int]] = []
        self.closed = threading.Event()

    def read(self, next_offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, Lag]:
        self.asked.append(next_offsets)
        self.answers.wait(30)
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return {where: Lag(1, 5) for where in next_offsets}

    def close(self) -> None:
        self.closed.set()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it looks at is set on threads
            await asyncio.sleep(0.001)


def test_lags_are_known_while_the_cluster_answers_and_forgotten_while_it_does_not() -> None:
    async def script() -> None:
        reader = Reader()
        task = Task(SETTLEMENT, 0, (ORDERS,), None, next_offsets={ORDERS: 7})
        watch = LagWatch([task], lambda: cast("LagReader", reader), every_s=0.001)
        running = asyncio.ensure_future(watch.run())
        await until(lambda: watch.lags == {ORDERS: Lag(1, 5)})
        assert reader.asked[0] == {ORDERS: 7}
        reader.away = True
        await until(lambda: watch.lags == {})
        reader.away = False
        await until(lambda: watch.lags)
        reader.answers.clear()
        await until(lambda: watch.lags == {})
        reader.answers.set()
        await until(lambda: watch.lags)
        running.cancel()
        await asyncio.wait({running})
        assert reader.closed.is_set()

    asyncio.run(script())


def test_a_worker_without_tasks_asks_nothing() -> None:
    async def script() -> None:
        reader = Reader()
        watch = LagWatch([], lambda: cast("LagReader", reader), every_s=0.0)
        running = asyncio.ensure_future(watch.run())
        for _ in range(100):
            await asyncio.sleep(0)
        assert (watch.lags, reader.asked) == ({}, [])
        running.cancel()

    asyncio.run(script())


def test_the_end_of_a_worker_does_not_wait_for_a_look_that_nobody_answers() -> None:
    reader = Reader()
    reader.answers.clear()

    async def script() -> None:
        task = Task(SETTLEMENT, 0, (ORDERS,), None, next_offsets={ORDERS: 7})
        watch = LagWatch([task], lambda: cast("LagReader", reader))
        running = asyncio.ensure_future(watch.run())
        await until(lambda: reader.asked)
        running.cancel()
        await asyncio.wait({running})
        assert not reader.closed.is_set(), "it is still used"

    asyncio.run(script())
    reader.answers.set()


class Answering:
    """An admin client whose answers to the question for offsets are these, one after the other."""

    def __init__(self, *answers: int | KafkaError) -> None:
        self.answers = list(answers)

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        answer = self.answers.pop(0)
        future: Future[Any] = Future()
        if isinstance(answer, int):
            future.set_result(SimpleNamespace(offset=answer))
        else:
            future.set_exception(KafkaException(answer))
        return dict.fromkeys(asked, future)


def test_a_leader_that_is_on_its_way_is_asked_again_and_a_refusal_is_not() -> None:
    late = Answering(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), KafkaError(KafkaError.LEADER_NOT_AVAILABLE), 7)
    assert offsets_of(late, [("orders", 1)], LATEST) == {("orders", 1): 7}  # type: ignore[arg-type]
    refusing = Answering(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), 7)
    with pytest.raises(KafkaException):
        offsets_of(refusing, [("orders", 1)], LATEST)  # type: ignore[arg-type]
    assert refusing.answers == [7]
