"""Faust stays Faust on the engine: questions, casts, sinks and group_by beside the batched stages, in the same epochs."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams.local_broker import LocalBroker
from tests.support.counts import TASKS
from tests.support.workers import Deployment, Worker, wait_for

START_MS = 1_795_000_000_000
SURFACE = {"TEST_TOPOLOGY": "tests.support.faust_surface:WITH_FAUST"}


@pytest.fixture
def deployment(broker: LocalBroker, topics: str, tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        yield tally


def page(worker: Worker, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.web_port}{path}", timeout=30) as answer:
        return json.load(answer)


def test_faust_agents_on_plain_topics_answer_beside_the_stages(broker: LocalBroker, topics: str, deployment: Deployment) -> None:
    whole = plan(orders=1_000, seed=51, start_ms=START_MS)
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    publish(whole, broker.cluster, topics)
    assert [page(worker, f"/square/{amount}") for amount in (3, 12)] == [9, 144]
    page(worker, "/sums")
    wait_for("group_by has brought every number", lambda: page(worker, "/seen")["seen"].get("odd") == 25)
    seen = page(worker, "/seen")
    assert seen == {"seen": {"squares": 2, "odd": 25, "even": 30}, "sunk": [9, 144]}
    verdict = deployment.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_i8_a_question_on_which_an_agent_raises_once_is_delivered_again_and_answered_once(deployment: Deployment) -> None:
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    assert page(worker, "/square/13") == 169
    assert worker.text.count("agent squares: ZeroDivisionError: once") == 1
    assert page(worker, "/seen") == {"seen": {"squares": 2}, "sunk": [169]}
    assert worker.stop() == 0, worker.text[-3000:]


def faust_command(deployment: Deployment, *arguments: str) -> str:
    """Run Faust's own command line beside the workers."""
    command = [sys.executable, "-m", "faust", "-A", "tests.support.faust_cli", *arguments]
    done = subprocess.run(command, env=deployment.environment("cli"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_fausts_command_line_asks_and_sends_beside_the_workers_and_fences_none(deployment: Deployment, topics: str) -> None:
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    assert "the square is 144" in faust_command(deployment, "square", "12")
    faust_command(deployment, "send", f"{topics}numbers", '{"amount": 3, "parity": ""}')
    wait_for("what was sent is processed", lambda: page(worker, "/seen")["seen"] == {"squares": 2})
    assert page(worker, "/seen")["sunk"] == [144, 9]
    assert worker.stop() == 0, worker.text[-3000:]


def test_sensors_are_told_of_messages_events_sends_rebalances_and_pages(
    broker: LocalBroker, topics: str, deployment: Deployment
) -> None:
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    assert page(worker, "/square/5") == 25
    publish(plan(orders=100, seed=53, start_ms=START_MS), broker.cluster, topics)
    wait_for("the stages have worked", lambda: page(worker, "/told").get("done revenue-deltas", 0) > 0)
    told = page(worker, "/told")
    assert told["in numbers"] == told["event numbers"] == told["done numbers"] == 1
    assert told["send numbers"] == told["sent numbers"] == 1
    assert told["rebalanced"] >= 1
    assert told["page"] >= 1
    batches = told.get("event orders", 0) + told.get("event payments", 0)
    assert 0 < batches < 50, "one event per epoch of a stage, not per record"


def test_what_is_for_the_leader_runs_on_one_worker_and_moves_to_the_next(deployment: Deployment) -> None:
    first = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(first.tasks()) >= TASKS)
    wait_for("the leader's timer runs", lambda: page(first, "/leads")["led"] > 0)
    second = deployment.start("w2", SURFACE)
    halves = [6, 6]
    wait_for("each owns its half", lambda: [sum("settlement" in name for name in w.tasks()) for w in (first, second)] == halves)
    wait_for("one leads", lambda: sum(page(worker, "/leads")["leads"] for worker in (first, second)) == 1)
    leader, other = (first, second) if page(first, "/leads")["leads"] else (second, first)
    led, before = page(other, "/leads")["led"], page(leader, "/leads")["led"]
    wait_for("the leader goes on", lambda: page(leader, "/leads")["led"] > before + 2)
    assert page(other, "/leads")["led"] == led
    assert leader.stop() == 0, leader.text[-3000:]
    wait_for("the other one leads", lambda: page(other, "/leads")["leads"] and page(other, "/leads")["led"] > led)
    assert other.stop() == 0, other.text[-3000:]


@pytest.mark.parametrize("how", ["ask", "send"])
def test_i9_an_agent_that_waits_for_its_own_epoch_is_refused_with_a_sentence(deployment: Deployment, how: str) -> None:
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    said = page(worker, f"/selfish/{how}")
    assert said.startswith("an agent cannot wait for")
    assert "ask from a timer, a web page or the command line" in said
    assert worker.stop() == 0, worker.text[-3000:]


def test_what_is_sent_to_a_topic_that_is_not_there_fails_alone(broker: LocalBroker, topics: str, deployment: Deployment) -> None:
    whole = plan(orders=300, seed=52, start_ms=START_MS)
    worker = deployment.start("w1", SURFACE)
    wait_for("every task runs", lambda: len(worker.tasks()) >= TASKS)
    assert page(worker, "/nowhere") == "nothing can be sent to t-nobody-made-this: it does not exist: make it first"
    publish(whole, broker.cluster, topics)
    verdict = deployment.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()
