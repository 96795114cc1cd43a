"""History through a rule, beside the live version: the same rule gives the same rows, another one those that it changes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient

from connectors.reader import list_topics
from connectors.sources.generator import plan
from connectors.sources.publish import publish
from streams import reprocess
from streams.cli import command
from streams.errors import ClusterError, TallyError
from streams.local_broker import LocalBroker
from streams.settings import Settings
from tests.support.workers import Deployment, wait_for

RULE = {"TALLY_ALERT_ORDERS_MAX": "4"}
"""The changed one: more orders of a customer than this within an hour are an alert."""


def test_the_same_rule_gives_equal_rows_and_another_one_those_that_it_changes(
    broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    publish(plan(orders=800, seed=81, late_ratio=0.0), broker.cluster, topics)
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, prefix=topics)
    with Deployment(tmp_path, broker.cluster, topics, idle_after_ms=1_000, idle_tick_ms=500, idle_delay_ms=1_000) as tally:
        tally.start("w1")
        assert "deployment itself" in run(tally, "reprocess", "drop", "--as", "v1", code=2)
        said = run(tally, "reprocess", "start", "--as", "v2", "--from", "earliest")
        assert "tally worker --as v2" in said
        assert "was started already" in run(tally, "reprocess", "start", "--as", "v2", "--from", "earliest", code=2)

        first = tally.start("w101", {"TALLY_VERSION": "v2"})
        wait_for("v2 has begun", lambda: first.epochs_count() > 0)
        first.kill()
        worker = tally.start("w101", {"TALLY_VERSION": "v2"})
        run(tally, "reprocess", "start", "--as", "v3", "--from", "earliest")
        tally.start("w102", {"TALLY_VERSION": "v3", **RULE})
        wait_until_final(settings, "v2")
        seen = json.loads(run(tally, "reprocess", "compare", "--as", "v2", "--json"))
        assert seen["equal"] is True
        counts = {topic["topic"]: topic["equal"] for topic in seen["topics"]}
        assert all(equal for topic, equal in counts.items() if topic != "revenue-adjustments"), counts
        assert "EQUAL" in run(tally, "reprocess", "compare", "--as", "v2")

        wait_until_final(settings, "v3")
        seen = json.loads(run(tally, "reprocess", "compare", "--as", "v3", "--json", code=1))
        changed = {topic["topic"]: topic for topic in seen["topics"] if topic["rows"]}
        assert list(changed) == ["alerts"], "the rule says nothing of other rows"
        assert changed["alerts"]["only_theirs"] > 0 == changed["alerts"]["only_ours"]

        run(tally, "reprocess", "switch", "--as", "v3")
        assert run(tally, "topics", "current", "alerts") == f"{topics}v3.alerts\n"
        shown = [json.loads(line) for line in run(tally, "tail", "alerts", "--json").splitlines()]
        assert {row["topic"] for row in shown} == {f"{topics}v3.alerts"}
        assert "what readers read" in run(tally, "reprocess", "drop", "--as", "v3", "--yes", code=2)
        run(tally, "reprocess", "switch", "--as", "v1")
        assert run(tally, "topics", "current", "alerts") == f"{topics}alerts\n"

        assert "at work: w101" in run(tally, "reprocess", "drop", "--as", "v2", "--yes", code=2)
        assert worker.stop() == 0
        folder = tmp_path / "home" / "versions" / f"{topics}v2"
        assert folder.exists()
        run(tally, "reprocess", "drop", "--as", "v2", "--yes")
        assert not folder.exists()
        assert [name for name in list_topics(broker.cluster) if name.startswith(f"{topics}v2.")] == []
        groups = AdminClient(broker.cluster.producer()).list_consumer_groups().result().valid
        assert f"{topics}v2.tally" not in {group.group_id for group in groups}
        assert "no version v2" in run(tally, "reprocess", "compare", "--as", "v2", code=2)


def run(tally: Deployment, *arguments: str, code: int = 0) -> str:
    """Run a command as an operator of the deployment would, in this process; give what it printed.

    As an operator would, it is run again where the cluster did not answer, which a busy machine's may do for ten seconds.
    """

    def answered() -> Result | None:
        result = CliRunner().invoke(command, arguments, env=tally.environment("cli"))
        return None if isinstance(result.exception, ClusterError) else result

    result: Result = wait_for(f"the cluster answers {arguments}", answered)
    error = result.exception
    ended = error.exit_code if isinstance(error, TallyError) else result.exit_code
    assert ended == code, (arguments, result.output, error)
    return f"{result.output}{error if isinstance(error, TallyError) else ''}"


def wait_until_final(settings: Settings, version: str) -> None:
    """Wait until the version has read everything, and both it and the live one have closed every window."""
    theirs = settings.model_copy(update={"version": version})
    wait_for(f"{version} has read everything", lambda: reprocess.behind(theirs, reprocess.now_ms()).records == 0)
    wait_for("every window is final", lambda: not any(seen.open_count for seen in reprocess.compare(settings, theirs, 0)))
