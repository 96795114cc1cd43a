"""What a version is called, which one readers read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from connectors.compare_versions import Difference, TopicCompared
from schemas.codec import decode
from schemas.events import CurrentVersion, VersionStarted
from schemas.topics import BY_NAME, ORDER_STATUS, ORDERS, ORDERS_DLQ, REVENUE_CHANGELOG
from streams.cli.reprocess import as_plain, command, said
from streams.cli.shared import refuse_version
from streams.cli.tail import find_topic
from streams.errors import MissingTopic, RefusedError
from streams.reprocess import Behind, check_known, check_name, is_input, switch
from streams.settings import Settings
from streams.versions import Versions, note, read_by

V2 = Settings(prefix="p.", version="v2", worker_id="w1", home=Path("home"))
LIVE = Settings(prefix="p.", worker_id="w1", home=Path("home"))
KNOWN = Versions({"v2": VersionStarted("v2", 0, 0, 1)}, "v2")


def test_all_names_of_a_version_are_its_own() -> None:
    def names(settings: Settings) -> set[str]:
        return {settings.group_id, settings.transactional_id, settings.inbox_transactional_id, str(settings.state_folder)}

    assert names(V2) == {"p.v2.tally", "p.v2.tally-w1", "p.v2.tally/inbox", "home/versions/p.v2/w1"}
    assert names(LIVE) == {"p.tally", "p.tally-w1", "p.tally/inbox", "home/state/p.w1"}
    assert names(LIVE.model_copy(update={"version": "v1"})) == names(LIVE)
    assert V2.versions_transactional_id == LIVE.versions_transactional_id, "one hand for all versions of a deployment"


@pytest.mark.parametrize("name", ["V2", "v2.", "a b", "../x", "abcdefghijklm"])
def test_a_name_that_would_not_fit_before_a_topics_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="version"):
        Settings(version=name)


@pytest.mark.parametrize("name", ["", "v1", "current"])
def test_the_live_version_and_words_with_a_meaning_are_no_versions(name: str) -> None:
    with pytest.raises(RefusedError):
        check_name(Settings(version=name))
    check_name(V2)


def test_readers_read_outputs_of_the_current_version_unless_they_ask_for_another() -> None:
    assert read_by(ORDER_STATUS, "", KNOWN).named("p.") == "p.v2.order-status"
    assert read_by(ORDER_STATUS, "v1", KNOWN).named("p.") == "p.order-status"
    assert read_by(ORDER_STATUS, "", Versions()).named("p.") == "p.order-status"
    assert read_by(ORDERS, "v2", KNOWN).named("p.") == "p.orders"
    for topic in (ORDERS_DLQ, REVENUE_CHANGELOG):
        assert read_by(topic, "", KNOWN).named("p.") == f"p.{topic.name}", "the inbox and the state stay whose they are"
        assert read_by(topic, "v2", KNOWN).named("p.") == f"p.v2.{topic.name}"


def test_tail_finds_the_topic_of_the_current_version_and_says_when_it_is_not_there() -> None:
    there = ["p.order-status", "p.v2.order-status"]
    assert find_topic("order-status", LIVE, there, KNOWN)[0] == "p.v2.order-status"
    assert find_topic("order-status", LIVE, there)[0] == "p.order-status"
    with pytest.raises(MissingTopic, match=r"p\.v2\.order-status"):
        find_topic("order-status", LIVE, ["p.order-status"], KNOWN)


def test_what_is_noted_is_read_back_and_a_version_that_is_gone_leaves_a_tombstone() -> None:
    record = note(V2, "current", CurrentVersion("v2", 7))
    assert (record.topic, record.key, decode(record.value)) == ("p.versions", b"current", CurrentVersion("v2", 7))
    assert note(V2, "v2", None).value is None


def test_a_version_that_was_never_started_is_refused_with_those_that_there_are() -> None:
    check_known("v1", Versions())
    check_known("v2", KNOWN)
    with pytest.raises(RefusedError, match="there is no version v9: there are v1, v2"):
        check_known("v9", KNOWN)


@pytest.mark.parametrize("seconds", [None, 11.0])
def test_a_version_that_has_not_caught_up_is_not_switched_to(seconds: float | None) -> None:
    with pytest.raises(RefusedError, match="v2 has 9 records of the inputs to read"):
        switch(V2, KNOWN, Behind(9, seconds), 1, force=False)


def test_commands_of_the_live_version_refuse_another() -> None:
    refuse_version(LIVE, "acts")
    with pytest.raises(RefusedError, match="TALLY_VERSION is v2"):
        refuse_version(V2, "acts")


def test_a_difference_is_said_by_its_fields_or_as_the_row_that_one_lacks() -> None:
    names = "v1", "v2"
    assert said(Difference("a", {"x": 1, "y": 2}, {"x": 1, "y": 3}), names) == "y 2 in v1, 3 in v2"
    assert said(Difference("a", None, {"x": 1}), names) == 'only v2: {"x": 1}'
    assert said(Difference("a", {"x": 1}, None), names) == 'only v1: {"x": 1}'


def test_the_json_counts_all_and_shows_as_many_rows_as_were_asked_for() -> None:
    several = TopicCompared(ORDER_STATUS, 5, 0, 1, [Difference(key, {"x": 1}, None) for key in "abc"])
    plain = as_plain([several], ("v1", "v2"), {"v1": 0, "v2": 9}, 0, 2)
    assert (plain["equal"], plain["lag_records"]) == (False, {"v1": 0, "v2": 9})
    [topic] = plain["topics"]
    assert (topic["topic"], topic["equal"], topic["only_ours"], topic["before"]) == ("order-status", 5, 3, 1)
    assert len(topic["rows"]) == 2


def test_start_says_what_is_no_time_and_no_duration() -> None:
    for options in (["--from", "yesterday"], ["--from", "earliest", "--lead", "a week"]):
        result = CliRunner().invoke(command, ["start", "--as", "v2", *options])
        assert result.exit_code == 2
        assert "write" in result.output


def test_an_input_under_a_versions_name_is_another_deployments() -> None:
    assert [name for name in BY_NAME if is_input(name)] == ["orders", "payments"]
    assert is_input("staging.orders")
    assert not is_input("unmatched-payments")
