"""A cluster that lets nobody in unasked: each role does its work with exactly the rights that `tally topics acls` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, Producer

from connectors.ground_truth import truth_of
from connectors.judge import judge
from connectors.reader import ReadError, read_topic
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from schemas.topics import ORDERS, SETTLEMENT_CHANGELOG, TOPICS
from streams.acls import Right, Role
from streams.admin import admin_client
from streams.cli import topics
from streams.errors import MissingRightsError
from streams.fleet import find_members
from streams.inbox.desk import Desk
from streams.newest_markers import newest_markers
from streams.preflight import check_rights
from streams.settings import Settings, load_settings
from streams.topology import TOPOLOGY
from streams.waiting import Waiting
from tests.support.secured import Door, SecuredBroker, secured_broker
from tests.support.waiting import wait_for
from tests.support.workers import Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.own_broker("a broker with users and rights")]
START_MS = 1_795_000_000_000
PREFIX = "secured."


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


@pytest.fixture(scope="module")
def doors(secured: SecuredBroker) -> dict[Role, Door]:
    """A user for each role, with the rights that are printed for it, and the topics, made by the operator."""
    found = {role: secured.door(f"tally-{role}") for role in Role}
    for role in Role:
        secured.allow(f"tally-{role}", printed(role))
    applied = tally(found[Role.OPERATOR], "apply")
    assert applied.count("created with 12 partitions") == len(TOPICS), applied
    return found


def tally(door: Door, *arguments: str) -> str:
    """Run a command of `tally topics` as somebody."""
    environment = {"KAFKA_BOOTSTRAP_SERVERS": door.cluster.bootstrap_servers, "KAFKA_CONFIG_FILE": str(door.file)}
    done = CliRunner().invoke(topics.command, [*arguments, "--prefix", PREFIX], env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def printed(role: Role) -> list[Right]:
    """The rights as the command prints them."""
    rows = json.loads(CliRunner().invoke(topics.command, ["acls", "--role", role.value, "--prefix", PREFIX, "--json"]).output)
    return [
        Right(row["resource_type"], row["resource_name"], row["operation"], row["pattern_type"] == "prefixed") for row in rows
    ]


def settings_of(door: Door) -> Settings:
    return load_settings(
        bootstrap_servers=door.cluster.bootstrap_servers, client_config_file=str(door.file), prefix=PREFIX, worker_id="probe"
    )


def missing(door: Door) -> str:
    """What a worker that comes in by this door says is missing."""
    try:
        check_rights(settings_of(door), TOPOLOGY, Waiting(lambda: None))
    except MissingRightsError as error:
        return str(error)
    return ""


def test_the_whole_job_runs_with_exactly_the_rights_that_are_printed(
    secured: SecuredBroker, doors: dict[Role, Door], tmp_path: Path
) -> None:
    whole = plan(orders=300, seed=8, start_ms=START_MS)
    login = {"KAFKA_CONFIG_FILE": str(doors[Role.WORKER].file)}
    with Deployment(tmp_path, secured.owner, PREFIX) as deployment:
        door = replace(deployment.cluster, bootstrap_servers=doors[Role.WORKER].cluster.bootstrap_servers)
        worker = deployment.start("w1", {**login, "KAFKA_BOOTSTRAP_SERVERS": door.bootstrap_servers})
        publish(whole, doors[Role.PRODUCER].cluster, PREFIX)
        verdict = deployment.finish(truth_of(whole))
        assert "s3cr" not in worker.text
    assert verdict.exact, verdict.headline()
    rows = list(read_topic(doors[Role.READER].cluster, f"{PREFIX}revenue-by-merchant-1m"))
    assert len({row.key for row in rows}) == verdict.revenue.expected_count
    assert judge(doors[Role.OPERATOR].cluster, PREFIX, f"{PREFIX}tally", truth_of(whole)).exact
    operator = settings_of(doors[Role.OPERATOR])
    assert f"{PREFIX}orders" in tally(doors[Role.OPERATOR], "list")
    assert newest_markers(operator.cluster, operator.group_id, [(SETTLEMENT_CHANGELOG.named(PREFIX), 0)])
    assert find_members(admin_client(operator), operator) == []
    assert Desk(operator, by="operator").done == {}


def refused_to_write(door: Door, topic: str) -> list[KafkaError]:
    """Send one record; give why it was not taken."""
    errors: list[KafkaError | None] = []
    producer = Producer({**door.cluster.producer(), "delivery.timeout.ms": 2_000, "linger.ms": 0, "log_level": 0})
    producer.produce(topic, b"not an event", b"k", on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    assert len(errors) == 1
    return [error for error in errors if error is not None]


def test_nobody_can_do_the_work_of_another(secured: SecuredBroker, doors: dict[Role, Door]) -> None:
    assert refused_to_write(doors[Role.WORKER], ORDERS.named(PREFIX)), "it may read them, so it is told at once"
    assert refused_to_write(doors[Role.READER], ORDERS.named(PREFIX))
    assert not refused_to_write(doors[Role.PRODUCER], ORDERS.named(PREFIX))
    with pytest.raises(ReadError):
        list(read_topic(doors[Role.PRODUCER].cluster, f"{PREFIX}order-status"))
    with pytest.raises(ReadError):
        list(read_topic(doors[Role.READER].cluster, ORDERS.named(PREFIX)))
    assert missing(doors[Role.READER]).count(" on ") == len(printed(Role.WORKER))


CLASSES: dict[str, Callable[[Right], bool]] = {
    "reading": lambda right: right.resource == "topic" and right.operation == "Read",
    "writing": lambda right: right.resource == "topic" and right.operation == "Write",
    "changelogs": lambda right: right.name.endswith("-changelog"),
    "the group": lambda right: right.resource == "group",
    "the group and the transactional ids": lambda right: right.resource != "topic",
    "everything": lambda _: True,
}


@pytest.mark.parametrize("taken", CLASSES.values(), ids=CLASSES.keys())
def test_a_worker_says_every_right_that_is_missing_at_once(
    taken: Callable[[Right], bool], secured: SecuredBroker, doors: dict[Role, Door]
) -> None:
    rights = printed(Role.WORKER)
    door = secured.door("tally-limited")
    secured.allow("tally-limited", rights)
    wait_for("nothing is missing", lambda: not missing(door))
    secured.allow("tally-limited", [right for right in rights if not taken(right)])
    said = f"the cluster does not allow this worker: {'; '.join(str(right) for right in rights if taken(right))}. `tally"
    wait_for(f"it says {said}", lambda: missing(door).startswith(said))


def test_a_worker_without_rights_ends_with_2_and_one_sentence(
    secured: SecuredBroker, doors: dict[Role, Door], tmp_path: Path
) -> None:
    door = secured.door("tally-nobody")
    with Deployment(tmp_path, door.cluster, PREFIX) as deployment:
        worker = deployment.start("w1", {"KAFKA_CONFIG_FILE": str(door.file)})
        assert worker.process.wait(30) == 2, worker.text
        deployment.workers.clear()
    for right in printed(Role.WORKER):
        assert str(right) in worker.text
