"""Somebody's cluster, named by ``KAFKA_BOOTSTRAP_SERVERS``: said what will be made there, and asked; afterwards taken away.

Whoever set the address for another purpose must not find topics of a demo there. So the permission names the cluster by its id,
which cannot be right by accident: ``TALLY_ALLOW_CLUSTER=<cluster id>``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.topics import TOPICS
from streams.admin import REQUEST_TIMEOUT_S, delete_topics
from streams.errors import ClusterError, RefusedError

GROUP_TIMEOUT_S = 60.0
"""For a killed worker's membership to end: Kafka's session of a group is 45 s, and a group with members stays."""
AGAIN_S = 0.5
"""Between two tries to delete a group that still has members."""


def cluster_id_of(admin: AdminClient) -> str:
    """Give the cluster's own id.

    Raises:
        ClusterError: it does not answer.
    """
    try:
        return str(admin.describe_cluster(request_timeout=REQUEST_TIMEOUT_S).result().cluster_id)
    except KafkaException as refused:
        error = refused.args[0]
        said = f"the cluster does not tell its id: {error.str()} ({error.name()}); check KAFKA_BOOTSTRAP_SERVERS, or unset it"
        raise ClusterError(said, retriable=error.retriable()) from refused


def announcement(cluster_id: str, servers: str, prefix: str, group_id: str, *, keep: bool) -> list[str]:
    """Say what a demo will make on somebody's cluster, before it does. Pure."""
    partitions = sum(topic.partitions for topic in TOPICS)
    made = f"{len(TOPICS)} topics with {partitions} partitions under the prefix {prefix}, and the consumer group {group_id}"
    return [
        f"Kafka: cluster {cluster_id} at {servers}, as KAFKA_BOOTSTRAP_SERVERS says; no local broker is started",
        f"it will get {made}; " + ("they stay, as --keep says" if keep else "they are removed at the end (--keep leaves them)"),
    ]


def check_allowed(cluster_id: str, allowed: str) -> None:
    """Go on only on the cluster that was allowed by its id. Pure.

    Raises:
        RefusedError: with what to set.
    """
    if not allowed:
        raise RefusedError(f"nothing was made on cluster {cluster_id}: to go on there, set TALLY_ALLOW_CLUSTER={cluster_id}")
    if allowed != cluster_id:
        raise RefusedError(
            f"nothing was made on cluster {cluster_id}: TALLY_ALLOW_CLUSTER allows {allowed}, another one; "
            f"check KAFKA_BOOTSTRAP_SERVERS, or set TALLY_ALLOW_CLUSTER={cluster_id}"
        )


def remove(admin: AdminClient, prefix: str, groups: Sequence[str]) -> list[str]:
    """Take away the topics under the prefix and the groups, and give the topics' names.

    Raises:
        ClusterError: something is left, and the sentence names it.
    """
    names = delete_topics(admin, prefix)
    deadline_s = time.monotonic() + GROUP_TIMEOUT_S
    for group in groups:
        while (error := _group_error(admin, group)) is not None:
            if not _passes(error) or time.monotonic() > deadline_s:
                raise ClusterError(
                    f"the topics are removed, but the consumer group {group} is left: {error.str()}; "
                    f"`kafka-consumer-groups.sh --delete --group {group}` removes it"
                )
            time.sleep(AGAIN_S)
    return names


def groups_under(admin: AdminClient, prefix: str) -> list[str]:
    """Give the consumer groups whose names start with a prefix.

    Raises:
        ClusterError: the cluster does not tell.
    """
    try:
        listed = admin.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_S).result()
    except KafkaException as refused:
        raise ClusterError(f"the cluster does not list its groups: {refused.args[0].str()}") from refused
    return sorted(group.group_id for group in listed.valid if group.group_id.startswith(prefix))


def _group_error(admin: AdminClient, group: str) -> KafkaError | None:
    try:
        admin.delete_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_S)[group].result()
    except KafkaException as refused:
        error: KafkaError = refused.args[0]
        return None if error.code() == KafkaError.GROUP_ID_NOT_FOUND else error
    return None


def _passes(error: KafkaError) -> bool:
    return bool(error.code() == KafkaError.NON_EMPTY_GROUP or error.retriable())
