"""Somebody's cluster instead of the tests' own: named by ``KAFKA_BOOTSTRAP_SERVERS``, allowed by its id, left as it was."""

from __future__ import annotations

import os

from connectors.cluster import Cluster
from streams.admin import admin_client
from streams.own_cluster import cluster_id_of, groups_under, remove
from streams.settings import Settings, load_settings

PREFIX = "t-"


class SomebodysBroker:
    """What tests ask of a broker that they may use and not touch."""

    def __init__(self, settings: Settings) -> None:
        self.bootstrap_servers = settings.bootstrap_servers
        self.cluster: Cluster = settings.cluster


def servers() -> str:
    """Give the address of somebody's cluster, or nothing."""
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")


def cluster_id() -> str:
    """Give its id.

    Raises:
        ClusterError: the cluster does not answer.
    """
    return cluster_id_of(admin_client(load_settings()))


def announcement(of: str) -> str:
    """Say what the tests will make on the cluster with this id."""
    return (
        f"Kafka: cluster {of} at {servers()}, as KAFKA_BOOTSTRAP_SERVERS says. Each test makes topics and "
        f"consumer groups under a prefix of its own, {PREFIX}... or demo-..., and removes them."
    )


def why_skipped(what: str) -> str:
    """Give the reason of a test that needs a broker of its own."""
    return f"needs {what}: a broker of its own, and KAFKA_BOOTSTRAP_SERVERS names somebody's"


def remove_all(prefix: str) -> None:
    """Take away what a test left under its prefix."""
    admin = admin_client(load_settings(prefix=prefix))
    remove(admin, prefix, groups_under(admin, prefix))
