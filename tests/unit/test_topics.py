"""Every topic as declared: kinds, limits and dead letters fit together, and so does the topology."""

from __future__ import annotations

import re

import pytest

from agents.settlement.decide import MAX_EVENTS_PER_ORDER, MAX_ID_CHARACTERS
from schemas.events import TaskMarker
from schemas.keys import row_key
from schemas.topics import (
    BY_NAME,
    DEAD_LETTERS_DONE,
    INPUTS,
    MARKER_KEY,
    MAX_INPUT_BYTES,
    PARTITIONS,
    TOPICS,
    VERSIONS,
    Kind,
    Topic,
)  # fmt: skip
from streams.topology import TOPOLOGY, topology_of


def by_name(topic: Topic) -> str:
    return topic.name


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_a_topic_has_a_kafka_name_a_meaning_and_explicit_configuration(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", topic.name)
    assert topic.meaning
    assert topic.key
    assert topic.values
    assert topic.partitions == PARTITIONS
    assert topic.config["max.message.bytes"] == str(topic.max_message_bytes)
    policy = "compact" if topic.retention_ms is None else "compact,delete" if topic.is_table else "delete"
    assert topic.config["cleanup.policy"] == policy
    assert ("retention.ms" in topic.config) == (topic.retention_ms is not None)
    assert topic.named("p.") == f"p.{topic.name}"


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(TOPICS)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.kind is Kind.INPUT], ids=by_name)
def test_an_input_takes_the_brokers_time_and_has_a_dead_letter_topic_with_room_for_headers(topic: Topic) -> None:
    assert topic.config["message.timestamp.type"] == "LogAppendTime"
    dead = BY_NAME[topic.dead_letters or ""]
    assert dead.kind is Kind.DLQ
    assert dead.values == topic.values
    assert dead.max_message_bytes >= topic.max_message_bytes + MAX_INPUT_BYTES
    assert dead.retention_ms is not None
    assert topic.retention_ms is not None
    assert dead.retention_ms >= topic.retention_ms


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.kind is not Kind.INPUT], ids=by_name)
def test_only_inputs_have_dead_letters_and_times_of_the_broker(topic: Topic) -> None:
    assert topic.dead_letters is None
    assert "message.timestamp.type" not in topic.config


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.kind is Kind.CHANGELOG], ids=by_name)
def test_a_changelog_is_compacted_keeps_tombstones_for_seven_days_and_carries_markers(topic: Topic) -> None:
    assert topic.config["cleanup.policy"] == "compact"
    assert topic.config["delete.retention.ms"] == str(7 * 24 * 3_600 * 1_000)
    assert TaskMarker in topic.values


def test_every_changelog_takes_the_largest_state_of_an_order() -> None:
    largest_bytes = MAX_EVENTS_PER_ORDER * 6 * MAX_ID_CHARACTERS * 4
    assert BY_NAME["settlement-changelog"].max_message_bytes > largest_bytes * 5 // 4


def test_every_topic_is_an_edge_of_the_topology() -> None:
    used = {topic.name for stage in TOPOLOGY for topic in (*stage.reads, *stage.writes, stage.changelog)}
    used |= {topic.dead_letters for stage in TOPOLOGY for topic in stage.reads if topic.dead_letters}
    assert used | {DEAD_LETTERS_DONE.name, VERSIONS.name} == set(BY_NAME), "only operators' own topics are no stage's"


@pytest.mark.parametrize("topic", TOPICS, ids=by_name)
def test_a_version_shares_the_inputs_and_what_is_said_of_versions_and_all_else_is_its_own(topic: Topic) -> None:
    shared = topic in {*INPUTS, VERSIONS}
    assert topic.of("v2").named("p.") == (f"p.{topic.name}" if shared else f"p.v2.{topic.name}")
    assert topic.of("") == topic.of("v1") == topic


def test_the_topology_of_a_version_reads_the_same_inputs_and_meets_the_live_one_nowhere_else() -> None:
    own, live = ({topic.named("p.") for stage in each for topic in (*stage.reads, *stage.writes, stage.changelog)}
                 for each in (topology_of("v2"), TOPOLOGY))  # fmt: skip
    assert own & live == {topic.named("p.") for topic in INPUTS}
    assert len(own) == len(live)
    assert topology_of("v1") is TOPOLOGY


def test_what_was_done_about_a_dead_letter_is_known_for_longer_than_the_letter_is_kept() -> None:
    for dead in (topic for topic in TOPICS if topic.kind is Kind.DLQ):
        assert (DEAD_LETTERS_DONE.retention_ms or 0) > (dead.retention_ms or 0), "else a replayed letter is offered again"


@pytest.mark.parametrize("stage", TOPOLOGY, ids=lambda stage: stage.name)
def test_inputs_outputs_and_state_of_a_stage_fit_together(stage: object) -> None:
    assert stage in TOPOLOGY
    (found,) = (each for each in TOPOLOGY if each is stage)
    assert len({topic.partitions for topic in (*found.reads, found.changelog)}) == 1
    assert found.changelog.kind is Kind.CHANGELOG
    for spec in found.keeps:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
        assert not MARKER_KEY.startswith(spec.name.encode())


def test_a_row_key_is_readable_and_escapes_what_parts_its_fields() -> None:
    start_ms = 1_795_453_440_000
    assert row_key("m-17", "EUR", window_start_ms=start_ms) == "m-17|EUR|2026-11-23T17:04Z"
    assert row_key("a|b%", "EUR", window_start_ms=start_ms) == "a%7Cb%25|EUR|2026-11-23T17:04Z"
    assert row_key("a", "|b", window_start_ms=0) != row_key("a|", "b", window_start_ms=0)
    assert row_key("Käse\n", "EUR", window_start_ms=0) == "K%C3%A4se%0A|EUR|1970-01-01T00:00Z"


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.is_table], ids=by_name)
def test_an_aggregate_row_has_window_status_and_revision_behind_its_dimensions(topic: Topic) -> None:
    fields = list(topic.values[0].__struct_encode_fields__)
    dimensions = topic.key.partition("|window_start")[0].split("|")
    assert fields[: len(dimensions) + 4] == [*dimensions, "window_start", "window_end", "status", "revision"]
