"""The local broker starts, answers, comes back, and never outlives whoever started it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from connectors.cluster import Cluster
from schemas.topics import ORDERS, TOPICS
from streams.admin import admin_client, apply_topics, delete_topics, find_topics, list_topics, partition_counts
from streams.broker_supervisor import count_clients
from streams.cli.topics import command as topics_command
from streams.context import read_context, update_context
from streams.errors import BrokerFailed, NotRunnable
from streams.kafka_runtime import DEFINITIONS, KAFKA_VERSION, DockerRuntime, find_runtime
from streams.local_broker import Detached, LocalBroker, answers
from streams.settings import Settings

TALLY = Path(sys.executable).with_name("tally")


def until(come: Callable[[], bool], what: str, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not come():
        assert time.monotonic() < end, f"still not so after {deadline_s} s: {what}"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def admin(broker: LocalBroker, prefix: str) -> Iterator[AdminClient]:
    client = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=prefix))
    yield client
    delete_topics(client, prefix)


def test_applying_twice_creates_once_with_the_declared_configuration(admin: AdminClient, prefix: str) -> None:
    first = apply_topics(admin, TOPICS, prefix)
    assert [change.action for change in first] == ["created"] * len(TOPICS)
    second = apply_topics(admin, TOPICS, prefix)
    assert [(change.action, change.name) for change in second] == [("kept", topic.named(prefix)) for topic in TOPICS]
    assert partition_counts(admin, [f"{prefix}orders", f"{prefix}nothing"]) == {f"{prefix}orders": 12, f"{prefix}nothing": None}


def test_another_partition_count_is_told_and_left_as_it_is(admin: AdminClient, prefix: str) -> None:
    name = ORDERS.named(prefix)
    admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1, config=ORDERS.config)])[name].result(30)
    until(lambda: partition_counts(admin, [name])[name] == 3, "the topic is visible")
    [change] = apply_topics(admin, [ORDERS], prefix)
    assert change.action == "differs"
    assert "has 3 partitions and is declared with 12" in change.sentence
    assert partition_counts(admin, [name]) == {name: 3}


def test_apply_shows_its_plan_changes_nothing_unasked_and_alters_only_what_differs(
    broker: LocalBroker, admin: AdminClient, prefix: str
) -> None:
    name, kept = ORDERS.named(prefix), {"retention.ms": "1000000", "segment.ms": "86400000"}
    config = ORDERS.config | kept
    admin.create_topics([NewTopic(name, num_partitions=12, replication_factor=1, config=config)])[name].result(30)
    until(lambda: partition_counts(admin, [name])[name] == 12, "the topic is visible")

    def apply(*options: str) -> Result:
        environment = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        return CliRunner().invoke(topics_command, ["apply", "--prefix", prefix, *options], env=environment)

    def configured() -> dict[str, str]:
        found, _ = find_topics(admin, TOPICS, prefix)
        return {key: found[name].config[key] for key in (*kept, *ORDERS.config)}

    dry = apply("--dry-run", "--alter")
    assert (dry.exit_code, dry.stdout.count("create  "), dry.stdout.count("differs ")) == (1, len(TOPICS) - 1, 1)
    assert dry.stderr.count("warning: ") == 2
    assert [where for where, count in partition_counts(admin, [t.named(prefix) for t in TOPICS]).items() if count] == [name]
    assert (apply().exit_code, configured()) == (1, config)
    assert apply("--replication-factor", "2").exit_code != 0
    assert (apply("--alter").exit_code, configured()) == (0, ORDERS.config | {"segment.ms": "86400000"})
    again = apply("--alter")
    assert (again.exit_code, again.stdout.count("keep    "), len(again.stdout.splitlines())) == (0, len(TOPICS), len(TOPICS))


def test_the_list_counts_records_and_names_what_is_missing(admin: AdminClient, broker: LocalBroker, prefix: str) -> None:
    apply_topics(admin, [ORDERS], prefix)
    producer = Producer({**broker.cluster.producer(), "partitioner": "murmur2_random"})
    for number in range(5):
        producer.produce(ORDERS.named(prefix), key=f"o-{number}", value=b"x")
    assert producer.flush(30) == 0
    rows = {row.name.removeprefix(prefix): row for row in list_topics(admin, TOPICS, prefix)}
    assert (rows["orders"].partitions, rows["orders"].records, rows["orders"].policy) == (12, 5, "delete after 30 d")
    assert (rows["payments"].partitions, rows["payments"].records) == (None, None)
    assert "tally topics apply" in rows["payments"].policy


def test_deleting_a_prefix_leaves_the_others(admin: AdminClient, prefix: str) -> None:
    apply_topics(admin, [ORDERS], f"{prefix}a.")
    apply_topics(admin, [ORDERS], f"{prefix}b.")
    assert delete_topics(admin, f"{prefix}a.") == [f"{prefix}a.orders"]
    assert partition_counts(admin, [f"{prefix}b.orders"]) == {f"{prefix}b.orders": 12}


@pytest.mark.kafka
@pytest.mark.own_broker("a broker that starts and stops")
def test_a_killed_broker_comes_back_on_its_address_with_its_data(tmp_path: Path) -> None:
    with LocalBroker(tmp_path / "b", heap_mb=256) as own:
        address, pid = own.bootstrap_servers, own.pid
        admin = admin_client(Settings(bootstrap_servers=address))
        apply_topics(admin, [ORDERS], "kept.")
        own.kill()
        assert gone(pid)
        assert not answers(own.cluster, timeout_s=0.2)
        own.start()
        assert own.bootstrap_servers == address
        until(lambda: partition_counts(admin, ["kept.orders"]) == {"kept.orders": 12}, "the topic is there again")
        pid = own.pid
    assert gone(pid)


@pytest.mark.kafka
@pytest.mark.own_broker("a broker that starts and stops")
def test_the_broker_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from streams.local_broker import LocalBroker\n"
        "broker = LocalBroker(pathlib.Path(sys.argv[1]), heap_mb=256); broker.launch()\n"
        "print(broker.pid, broker.supervisor_pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        kafka, supervisor = (int(pid) for pid in owner.stdout.readline().split())
        assert not gone(kafka)
        owner.send_signal(signal.SIGKILL)
    until(lambda: gone(kafka) and gone(supervisor), "Kafka and its supervisor end with their owner")


@pytest.mark.own_broker("a broker on this machine, for its process id")
def test_clients_are_counted_while_they_are_connected(broker: LocalBroker) -> None:
    before = count_clients(broker.broker_port, broker.pid)
    with socket.create_connection(("127.0.0.1", broker.broker_port)):
        until(lambda: count_clients(broker.broker_port, broker.pid) == before + 1, "the connection counts at the broker's end")
        assert count_clients(broker.broker_port, None) >= 1  # and at the client's
    until(lambda: count_clients(broker.broker_port, broker.pid) <= before, "and no more when it is closed")


@pytest.mark.kafka
@pytest.mark.own_broker("a broker that starts and stops")
def test_a_detached_broker_ends_when_no_client_came_and_takes_its_address_out_of_the_context(tmp_path: Path) -> None:
    context = tmp_path / "context.json"
    own = LocalBroker(tmp_path / "b", heap_mb=256)
    own.launch(Detached(idle_s=20.0, context=context))
    try:
        own.wait_until_ready()
        kafka = psutil.Process(own.pid)
        update_context(context, {"bootstrap_servers": own.bootstrap_servers, "pid": own.supervisor_pid, "prefix": "p."})
        until(lambda: gone(kafka.pid), "a broker without a client ends", deadline_s=60)
        until(lambda: read_context(context) == {"prefix": "p."}, "its address is taken out of the context")
    finally:
        own.stop()


@pytest.mark.kafka
@pytest.mark.own_broker("a broker that starts and stops")
def test_a_broker_that_cannot_start_says_its_last_words(tmp_path: Path) -> None:
    own = LocalBroker(tmp_path / "b", heap_mb=256, extra_properties={"num.network.threads": "0"})
    with pytest.raises(BrokerFailed, match=r"num\.network\.threads"):
        own.start()
    assert own.pid == 0


@pytest.mark.kafka
@pytest.mark.own_broker("a broker that starts and stops")
def test_up_twice_is_one_broker_and_down_ends_it(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "KAFKA_"))}
    environment["TALLY_HOME"] = str(tmp_path / "home")

    def tally(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TALLY, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    context = tmp_path / "home" / "context.json"
    update_context(context, {"prefix": "demo-1."})
    try:
        first = tally("broker", "up")
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout.startswith("started: ")
        found = read_context(context)
        assert found["prefix"] == "demo-1."
        assert answers(Cluster(found["bootstrap_servers"]))
        assert tally("broker", "up").stdout == first.stdout.replace("started", "already running")
        assert found == read_context(context)
        status = tally("broker", "status")
        assert status.returncode == 0
        assert re.match(
            rf"running: Kafka {KAFKA_VERSION} at 127.0.0.1:\d+ \(pid \d+, supervisor \d+\), \d+ client", status.stdout
        )
        assert "demo-1.orders: created with 12 partitions" in tally("topics", "apply").stdout
        # Its supervisor killed by hand: down finds Kafka itself.
        os.kill(found["pid"], signal.SIGKILL)
        until(lambda: gone(found["pid"]), "the supervisor is gone")
    finally:
        down = tally("broker", "down")
    assert down.stdout.startswith("stopped")
    assert gone(found["kafka_pid"])
    assert read_context(context) == {"prefix": "demo-1."}
    assert tally("broker", "status").returncode == 1
    refused = tally("topics", "list")
    assert refused.returncode == 2
    assert refused.stderr == "tally: no cluster: run `tally broker up`, or set KAFKA_BOOTSTRAP_SERVERS\n"


def test_a_machine_without_java_and_docker_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(NotRunnable, match=r"install Java 17\+ and Maven, or start a Docker engine") as refused:
        find_runtime("unused")
    assert refused.value.exit_code == 3


def test_an_old_java_counts_as_none_and_docker_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in (("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2"), ("docker", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert find_runtime("tally-x") == DockerRuntime(str(tmp_path / "docker"), "tally-x")


def test_the_pom_names_the_version_and_no_registry() -> None:
    pom = (DEFINITIONS / "pom.xml").read_text()
    assert f"<artifactId>kafka_2.13</artifactId>\n      <version>{KAFKA_VERSION}</version>" in pom
    assert "<repositor" not in pom
