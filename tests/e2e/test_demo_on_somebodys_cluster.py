"""The demo on a cluster that is not its own: asks by the cluster's id, and leaves nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.local_broker import LocalBroker
from streams.own_cluster import cluster_id_of, groups_under
from tests.e2e.demos import prefix_in, started

SMALL = ("--orders", "300", "--workers", "1", "--no-kill", "--rate", "2000")


def left(admin: AdminClient, prefix: str) -> list[str]:
    """Topics and groups under a prefix."""
    return [*(name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)), *groups_under(admin, prefix)]


@pytest.mark.parametrize("allowed", ["", "another-cluster"])
def test_without_permission_nothing_is_made_and_the_sentence_says_what_to_set(
    allowed: str, broker: LocalBroker, tmp_path: Path
) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    admin = AdminClient(broker.cluster.producer())
    cluster_id = cluster_id_of(admin)
    with started(tmp_path / "home", broker.cluster, *SMALL, environment={"TALLY_ALLOW_CLUSTER": allowed}, **pipes) as demo:
        out, said = (stream.decode() for stream in demo.communicate(timeout=60))
        [prefix] = {word.rstrip(",") for word in out.split() if word.startswith("demo-") and word.endswith(",")}
        assert left(admin, prefix) == []
    assert demo.returncode == 2, said
    assert f"cluster {cluster_id} at {broker.bootstrap_servers}" in out
    assert said.strip().endswith(f"set TALLY_ALLOW_CLUSTER={cluster_id}")
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_an_allowed_demo_takes_away_what_it_made_unless_it_is_to_keep_it(keep: bool, broker: LocalBroker, tmp_path: Path) -> None:
    admin = AdminClient(broker.cluster.producer())
    options = (*SMALL, "--keep") if keep else SMALL
    with started(tmp_path / "home", broker.cluster, *options, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as demo:
        said = demo.communicate(timeout=120)[0].decode()
        assert demo.returncode == 0, said
        prefix = prefix_in(said)
        assert prefix
        found = left(admin, prefix)
    last = said.strip().splitlines()[-1]
    if keep:
        assert f"{prefix}orders" in found
        assert f"{prefix}tally" in found
        assert last.endswith(f"--prefix {prefix}")
    else:
        assert found == []
        assert last.endswith(f"topics and the group {prefix}tally removed")
