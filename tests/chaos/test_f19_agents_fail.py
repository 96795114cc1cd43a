"""F19, I8: an agent or a decision that raises loses nothing: redone, buried, or one task paused with a sentence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec

from connectors.ground_truth import truth_of
from connectors.reader import ReadRecord, read_group_offsets, read_topic
from connectors.sources.generator import Dead, Plan, Sent, plan
from connectors.sources.publish import Publisher, publish
from schemas.codec import decode
from streams.local_broker import LocalBroker
from tests.support.chains import chains
from tests.support.counts import TASKS
from tests.support.topologies import decide_raises_for
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def test_f19_i8_an_agent_that_raises_once_after_writing_is_redone(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=3_000, seed=19, start_ms=START_MS)
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=500) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:RAISING_ONCE"})
        publish(whole, broker.cluster, topics)
        verdict = tally.finish(truth_of(whole))
        assert worker.text.count("agent settlement: RuntimeError: raised once, after writing to a table") == 1
        assert worker.text.count(" failed (1 of 3)") == 1
    assert verdict.exact, verdict.headline()


def test_f19_i8_a_task_that_an_agent_cannot_work_on_is_paused_and_the_others_go_on(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=2_000, seed=20, start_ms=START_MS)
    half = len(whole.sent) // 2
    publisher = Publisher(broker.cluster, topics)
    publisher.send(whole.sent[:half])
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=1_000) as tally:
        worker = tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:RAISING_FOR_PARTITION_3"})
        wait_for("settlement/3 is paused", lambda: worker.tasks("paused") == ["settlement/3"])
        assert "cannot work on partition 3" in worker.task_pages()["settlement/3"]["reason"]
        publisher.send(whole.sent[half:])
        publisher.close()
        others = [f"settlement/{number}" for number in range(12) if number != 3]
        wait_for("the other tasks consume what was sent after the pause", lambda: tally.lag(others) == 0)
        assert len(worker.tasks()) == TASKS - 1
        committed = read_group_offsets(broker.cluster, tally.group_id)
        (pause,) = chains(broker.cluster, topics, "settlement-changelog")[3]
        assert "cannot work on partition 3" in pause.paused
        assert all(position.first_offset == position.next_offset for position in pause.positions)
        assert [committed[f"{topics}{name}", 3] for name in ("orders", "payments")] == [0, 0], "the paused task went on"
        assert worker.stop() == 0
        # Mended: the right agent takes over, somebody lets the task go on, and everything is exact.
        mended = tally.start("w1")
        wait_for("settlement/3 is still paused", lambda: mended.tasks("paused") == ["settlement/3"])
        assert mended.post("tasks/settlement/3/resume") == (200, "settlement/3 goes on")
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f19_i8_records_on_which_decide_raises_are_buried_alone_and_in_order(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    sent = plan(orders=1_500, seed=21, start_ms=START_MS)
    whole = Plan(sent.seed, sent.start_ms, [buried_if_decide_raises(record) for record in sent.sent])
    publish(whole, broker.cluster, topics)
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=500) as tally:
        tally.start("w1", {"TEST_TOPOLOGY": "tests.support.topologies:DECIDE_RAISES"})
        verdict = tally.finish(truth_of(whole))
    # Every row of every order, and every dead letter with its reason: the neighbours of what was buried are right.
    assert verdict.exact, verdict.headline()
    letters = [
        letter
        for name in ("orders.dlq", "payments.dlq")
        for letter in read_topic(broker.cluster, topics + name)
        if header(letter, "__tally.errors.class") == "exception"
    ]
    assert len(letters) == sum(record.expected == RAISED for record in whole.sent) > 500
    assert all(header(letter, "__tally.errors.reason") == "ZeroDivisionError" for letter in letters)
    assert all("decide was made to fail" in header(letter, "__streams.errors.stacktrace") for letter in letters)
    # Per key, in the order of arrival: a key's letters stand in one partition, with their offsets rising.
    by_key: dict[tuple[str, bytes | None], list[int]] = {}
    for letter in letters:
        by_key.setdefault((letter.topic, letter.key), []).append(int(header(letter, "__streams.errors.offset")))
    assert max(len(offsets) for offsets in by_key.values()) >= 3
    assert all(before < after for offsets in by_key.values() for before, after in pairwise(offsets))


RAISED = Dead("exception", "ZeroDivisionError")  # type: ignore[arg-type]  # no plan of the generator expects it


def buried_if_decide_raises(record: Sent) -> Sent:
    """Give the record with what becomes of it when decide is made to raise: all that can be decoded gets as far as that."""
    if isinstance(record.expected, Dead) and record.expected.error_class in {"undecodable", "envelope"}:
        return record
    event = decode(record.value)
    return msgspec.structs.replace(record, expected=RAISED) if decide_raises_for(event) else record  # type: ignore[arg-type]


def header(letter: ReadRecord, name: str) -> str:
    return (dict(letter.headers)[name] or b"").decode()
