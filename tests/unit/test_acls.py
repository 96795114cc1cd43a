"""Rights of each role: exact, from the topology, and the same as commands."""

from __future__ import annotations

import shlex

import pytest

from schemas.topics import TOPICS, Kind
from streams.acls import Right, Role, commands, rights_of
from streams.errors import MissingRightsError
from streams.preflight import missing_on_topics
from streams.settings import Settings
from streams.topology import TOPOLOGY

SETTINGS = Settings(prefix="p.", app_id="shop")


def names(role: Role, operation: str, resource: str = "topic") -> set[str]:
    return {right.name for right in rights_of(role, SETTINGS) if (right.operation, right.resource) == (operation, resource)}


def test_a_worker_reads_what_its_stages_read_and_keep_and_writes_all_but_the_inputs() -> None:
    kinds = {topic.named("p."): topic.kind for topic in TOPICS}
    read = {name for name, kind in kinds.items() if kind in {"input", "internal", "changelog"}}
    read -= {"p.dead-letters-done", "p.versions"}
    assert names(Role.WORKER, "Read") == read
    written = {topic.named("p.") for stage in TOPOLOGY for topic in (*stage.writes, stage.changelog)}
    assert names(Role.WORKER, "Write") == written | {"p.orders.dlq", "p.payments.dlq"}
    assert names(Role.WORKER, "Read", "group") == {"p.shop"}
    assert [right for right in rights_of(Role.WORKER, SETTINGS) if right.prefixed] == [
        Right("transactional-id", "p.shop-", "Write", prefixed=True)
    ]
    assert Settings(prefix="p.", app_id="shop", worker_id="w1").transactional_id.startswith("p.shop-")


def test_the_others_have_what_their_names_say() -> None:
    inputs, outputs = ({topic.named("p.") for topic in TOPICS if topic.kind is kind} for kind in (Kind.INPUT, Kind.OUTPUT))
    assert (names(Role.PRODUCER, "Write"), len(rights_of(Role.PRODUCER, SETTINGS))) == (inputs, len(inputs))
    assert (names(Role.READER, "Read"), names(Role.READER, "Write")) == (outputs | {"p.versions"}, set())
    assert names(Role.OPERATOR, "Write") == inputs | {"p.dead-letters-done", "p.versions"}
    assert names(Role.OPERATOR, "Write", "transactional-id") == {"p.shop/inbox", "p.shop/versions"}
    assert names(Role.OPERATOR, "Create") == {topic.named("p.") for topic in TOPICS}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("prefix", ["", "p."])
def test_without_a_prefix_too_no_right_is_on_everything_and_none_is_there_twice(role: Role, prefix: str) -> None:
    rights = rights_of(role, Settings(prefix=prefix))
    assert len(set(rights)) == len(rights)
    assert all(right.name and right.name != "*" for right in rights)
    assert not any(right.prefixed for right in rights if right.resource == "topic")


@pytest.mark.parametrize("role", Role)
def test_the_commands_grant_the_rights_and_nothing_else(role: Role) -> None:
    rights = rights_of(role, SETTINGS)
    granted = set()
    for line in commands(rights, "User:CN=some one"):
        words = shlex.split(line)
        assert words[:3] == ["kafka-acls.sh", "--bootstrap-server", "$KAFKA_BOOTSTRAP_SERVERS"]
        pairs = list(zip(words[6::2], words[7::2], strict=True))
        assert pairs[0] == ("--allow-principal", "User:CN=some one")
        prefixed = ("--resource-pattern-type", "prefixed") in pairs
        operations = [value for option, value in pairs if option == "--operation"]
        resources = [(option[2:], value) for option, value in pairs if option in {"--topic", "--group", "--transactional-id"}]
        granted |= {(*resource, operation, prefixed) for resource in resources for operation in operations}
    assert granted == {(right.resource, right.name, right.operation, right.prefixed) for right in rights}


def test_what_a_cluster_does_not_tell_is_not_missing() -> None:
    needed = [Right("topic", "a", "Read"), Right("topic", "a", "Write"), Right("topic", "b", "Read"), Right("group", "g", "Read")]
    assert missing_on_topics(needed, {"a": frozenset({"Read", "Describe"}), "b": None}) == [needed[1]]
    assert missing_on_topics(needed, {"a": frozenset(), "b": frozenset()}) == needed[:3]
    assert missing_on_topics(needed, {}) == []


def test_a_worker_says_in_one_sentence_what_is_missing_and_how_to_allow_it() -> None:
    error = MissingRightsError(["Read on topic orders", "Write on transactional id tally-*"])
    assert error.exit_code == 2
    assert str(error) == (
        "the cluster does not allow this worker: Read on topic orders; Write on transactional id tally-*. "
        "`tally topics acls --role worker` prints the commands that allow it"
    )


def test_a_version_needs_rights_on_its_own_topics_and_on_the_same_inputs() -> None:
    settings = Settings(prefix="p.", app_id="shop", version="v2")
    rights = set(rights_of(Role.WORKER, settings))
    assert {right.name for right in rights if right.resource == "topic" and not right.name.startswith("p.v2.")} == {
        "p.orders", "p.payments",
    }  # fmt: skip
    assert Right("transactional-id", "p.v2.shop-", "Write", prefixed=True) in rights
    operator = {right for right in rights_of(Role.OPERATOR, settings) if right.operation == "Delete"}
    assert Right("group", "p.v2.shop", "Delete") in operator
    assert all(right.name.startswith("p.v2.") for right in operator)
