"""F19: a wrong deployment pauses the task that it is wrong for; kills and restarts do not wake it, and mended it is exact."""

from __future__ import annotations

from pathlib import Path

import msgspec

from connectors.ground_truth import truth_of
from connectors.reader import read_topic
from connectors.sources.generator import Dead, Plan, plan
from connectors.sources.publish import publish
from streams.judgement import WINDOW_RECORDS
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.workers import Deployment, Worker, wait_for

START_MS = 1_795_000_000_000
TASK = "settlement/7"
WRONG = {"TEST_TOPOLOGY": "tests.support.topologies:WRONG_FOR_PARTITION_7"}
RAISED = Dead("exception", "ZeroDivisionError")  # type: ignore[arg-type]  # no plan of the generator expects it


def test_f19_a_wrong_deployment_pauses_one_task_through_a_kill_and_a_restart_and_a_probe_brings_it_back(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=3_000, seed=70, start_ms=START_MS, duplicate_ratio=0.0, bad_ratio=0.0)
    publish(whole, broker.cluster, topics)

    def buried() -> set[tuple[str, bytes | None, bytes | None]]:
        letters = [letter for name in ("orders", "payments") for letter in read_topic(broker.cluster, f"{topics}{name}.dlq")]
        return {(letter.topic.removeprefix(topics).removesuffix(".dlq"), letter.key, letter.value) for letter in letters}

    # What is replayed at the end is as old as the plan is long: with this grace it is in time for its windows.
    waits = {"grace_ms": 30 * 60_000}
    with Deployment(tmp_path, broker.cluster, topics, epoch_records_max=600, idle_commit_ms=500, **waits) as tally:
        tally.start("w1", WRONG)
        others = [f"settlement/{number}" for number in range(12) if number != 7]
        owner = wait_for("the task is paused", lambda: paused_on(tally))
        wait_for("the other tasks consume everything", lambda: tally.lag(others) == 0)
        before = buried()
        assert 0 < len(before) <= WINDOW_RECORDS // 2, "more were buried than the line allows"
        page = owner.task_pages()[TASK]
        assert "more than 500 of its last 1,000 records are dead letters (lately ZeroDivisionError " in page["reason"]
        assert page["counters"]["dead"] == page["recent_dead"] == len(before)
        assert f"task {TASK} is paused, the others go on" in owner.text
        tally.start("w2", WRONG)
        wait_for(
            "each has its half", lambda: sorted(len(worker.tasks()) for worker in tally.alive()) == [TASKS // 2 - 1, TASKS // 2]
        )
        owner = wait_for("it is still paused", lambda: paused_on(tally))
        owner.kill()
        heir = wait_for("the other worker has it, and it is still paused", lambda: paused_on(tally))
        assert heir.task_pages()[TASK]["reason"] == page["reason"]
        assert heir.post(f"tasks/{TASK}/resume", probe=10) == (200, f"{TASK} goes on; after 10 records it is judged by these")
        said = "10 of the 10 probed records are dead letters (lately ZeroDivisionError 10)"
        wait_for("the probe says that nothing is mended", lambda: heir.task_pages()[TASK]["reason"] == said)
        assert heir.stop() == 0
        assert len(buried()) == len(before) + 10
        mended = tally.start("w3")
        wait_for("it is still paused", lambda: paused_on(tally) and len(mended.tasks()) == TASKS - 1)
        assert mended.task_pages()[TASK]["reason"] == said
        seen = tally.command("status", code=1)
        listed = next(line for line in seen.splitlines() if line.startswith(TASK))
        assert listed.split()[:3] == [TASK, "w3", "paused"]
        assert said in listed
        assert f"problem: task {TASK} is paused: {said}\n" in seen
        told = tally.command("tasks", "resume", TASK, "--probe", "10")
        assert told == f"{TASK} goes on; after 10 records it is judged by these (w3)\n"
        wait_for("it runs, and the probe is over", lambda: mended.task_pages()[TASK]["counters"].get("applied", 0) > 10)
        dead = buried()
        again = [sent for sent in whole.sent if (sent.topic.name, sent.key, sent.value) in dead]
        assert len(again) == len(dead)
        tally.command("dlq", "replay", "--reason", "ZeroDivisionError", "--rate", "1000")
        first = [msgspec.structs.replace(sent, expected=RAISED) if sent in again else sent for sent in whole.sent]
        verdict = tally.finish(truth_of(Plan(whole.seed, whole.start_ms, [*first, *again])))
    assert verdict.exact, verdict.headline()


def paused_on(tally: Deployment) -> Worker | None:
    """Give the worker that has the task, paused."""
    return next((worker for worker in tally.alive() if worker.tasks("paused") == [TASK]), None)
