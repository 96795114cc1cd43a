"""A line of a worker's log has what is known of what it concerns, and stays one line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from mode import Service

from streams.errors import WorkerFencedError
from streams.logs import CLIENT, Repeats, client_log, concerning, end_in_json, set_up
from streams.settings import Settings
from streams.threads import Threads
from streams.transaction import Aborted
from tests.support.waiting import wait_for
from tests.unit.test_engine import World, in_world, order

LOG = logging.getLogger("streams.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The process's own handlers come back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def logged(log_format: str = "json", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    set_up(Settings(worker_id="w1", log_format=log_format), "INFO", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_that_a_part_of_faust_starts_and_stops_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    class Part(Service):
        async def on_start(self) -> None:
            self.log.info("says what it has to say")

    async def live() -> None:
        async with Part():
            pass

    monkeypatch.setattr(Service, "mundane_level", "info")
    stream = logged()
    asyncio.run(live())
    assert [line["message"] for line in lines(stream)] == ["[^Part]: says what it has to say"]


def test_a_terminal_gets_text_and_everything_else_gets_json() -> None:
    for log_format, stream, is_json in (
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("text", io.StringIO(), False),
    ):
        logged(log_format, stream)
        LOG.info("said")
        assert stream.getvalue().startswith("{") is is_json, (log_format, stream)


def test_a_line_says_when_how_bad_who_and_what() -> None:
    stream = logged()
    LOG.warning("a %s with\nтwo lines", "message")
    [line] = lines(stream)
    time = line.pop("time")
    assert (len(time), time[-1]) == (len("2026-11-23T17:04:05.678Z"), "Z")
    assert line == {"level": "WARNING", "logger": "streams.test", "worker": "w1", "message": "a message with\nтwo lines"}


def test_a_line_has_task_epoch_and_offset_where_they_are_known() -> None:
    stream = logged()
    with concerning(epoch=7, task="settlement/1"):
        LOG.info("inside")
        LOG.info("of another", extra={"task": "settlement/2", "offset": {"orders/2": 5}})
    LOG.info("outside")
    found = [{name: line[name] for name in ("task", "epoch", "offset") if name in line} for line in lines(stream)]
    assert found == [{"task": "settlement/1", "epoch": 7}, {"task": "settlement/2", "epoch": 7, "offset": {"orders/2": 5}}, {}]


def test_what_is_said_on_kafkas_thread_concerns_the_epoch_that_called_it() -> None:
    stream = logged()

    async def script() -> None:
        threads = Threads(30.0)
        with concerning(epoch=7):
            await threads.on_kafka(lambda: LOG.info("in the client"))
        await threads.on_kafka(lambda: LOG.info("later"))
        threads.shutdown()

    asyncio.run(script())
    assert [line.get("epoch") for line in lines(stream)] == [7, None]


def test_the_engines_lines_concern_their_epoch_and_task(tmp_path: Path) -> None:
    stream = logged()

    async def script(world: World) -> None:
        world.cluster.outcomes = [Aborted("ILLEGAL_GENERATION: somebody joined")]
        await world.process(order(1, 7))
        await world.engine.ownership.stop(world.zero, "it is broken")

    in_world(tmp_path, script)
    found = [(line["logger"], line.get("epoch"), line.get("task")) for line in lines(stream)]
    assert ("streams.engine", 1, "settlement/1") in found
    assert ("streams.ownership", None, "settlement/0") in found


def test_an_exception_is_part_of_its_line() -> None:
    stream = logged()
    try:
        raise ZeroDivisionError("1/0")  # noqa: TRY301
    except ZeroDivisionError:
        LOG.exception("it failed")
    [line] = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert "ZeroDivisionError: 1/0" in line["exception"]


def test_the_end_of_a_worker_is_a_line_too_with_the_exit_code_that_it_has_in_text() -> None:
    for error, code, said in (
        (WorkerFencedError("somebody took over"), 4, "somebody took over"),
        (ValueError("a defect"), 1, "the worker ends by a defect"),
    ):
        stream = logged()
        with pytest.raises(SystemExit) as ended, end_in_json():
            raise error
        [line] = lines(stream)
        assert (ended.value.code, line["level"], line["message"]) == (code, "CRITICAL", said)


def test_a_value_that_json_does_not_know_is_said_as_text() -> None:
    stream = logged()
    LOG.info("said", extra={"offset": {"orders/1": {1}}})
    assert lines(stream)[0]["offset"] == {"orders/1": "{1}"}


def test_kafkas_client_speaks_in_json_where_the_log_does() -> None:
    logged("text")
    assert client_log() == {}
    stream = logged("json")
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", **client_log()})
    wait_for("the client says that nobody listens", lambda: consumer.poll(0.1) is None and stream.getvalue())
    consumer.close()
    assert {(line["logger"], line["worker"]) for line in lines(stream)} == {("librdkafka", "w1")}


def test_a_broker_that_is_away_is_said_once_by_each_client_and_then_counted() -> None:
    stream = logged("json")
    for milliseconds in range(0, 60_050, 50):
        for client in ("w1#consumer-1", "w1#producer-2"):
            record = CLIENT.makeRecord(
                CLIENT.name, logging.ERROR, "", 0, "FAIL [%s] refused (after %sms)", (client, milliseconds), None
            )
            record.created = 1_000.0 + milliseconds / 1_000
            CLIENT.handle(record)
    said = [line["message"] for line in lines(stream)]
    assert [line for line in said if "consumer" in line] == [
        "FAIL [w1#consumer-1] refused (after 0ms)",
        "FAIL [w1#consumer-1] refused (after 30000ms); 599 more like it before",
        "FAIL [w1#consumer-1] refused (after 60000ms); 599 more like it before",
    ]
    assert len(said) == 6


def test_a_line_that_comes_rarely_is_always_said_and_another_at_once() -> None:
    repeats = Repeats(every_s=30)
    assert [repeats.heard("a", at_s) for at_s in (0, 30, 60)] == [0, 0, 0]
    assert [repeats.heard(line, 61) for line in ("a", "b", "a", "b")] == [None, 0, None, None]
    assert [repeats.heard(line, 91) for line in ("a", "b", "a")] == [2, 1, None]
    assert repeats.heard("a", 1_000) == 1, "what was left out before a long silence is said too"


def test_not_more_lines_are_remembered_than_a_limit() -> None:
    repeats = Repeats(every_s=30, lines_max=2)
    assert [repeats.heard(line, 0) for line in ("a", "b", "a", "b")] == [0, 0, None, None]
    assert repeats.heard("a", 30) == 1, "one that is known takes no room"
    assert [repeats.heard(line, 31) for line in ("b", "c", "a")] == [1, 0, 0], "a third line, and all is forgotten"
