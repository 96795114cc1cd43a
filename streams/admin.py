"""Topics on the cluster: made as schemas/topics.py declares them, compared with it, listed, deleted by prefix.

What exists is never changed unless asked (:func:`alter_topics`): another partition count or configuration is told as a sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation, not by its stubs
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from schemas.topics import DAY_MS, Topic
from streams.errors import ClusterError, RefusedError
from streams.settings import Settings
from streams.topic_plan import Durability, Found, differences

REQUEST_TIMEOUT_S = 15.0
"""For one answer of the cluster; a healthy one takes milliseconds."""
VISIBLE_TIMEOUT_S = 30.0
"""For new topics to have leaders, and deleted ones to be gone, in the metadata."""


@dataclass(frozen=True)
class TopicChange:
    """What :func:`apply_topics` did about one topic, and its sentence."""

    name: str
    action: Literal["created", "kept", "differs"]
    sentence: str


@dataclass(frozen=True)
class TopicRow:
    """One line of ``tally topics list``. ``partitions`` and ``records`` are None for a topic that is missing.

    ``records`` is the sum over the partitions of end offset less begin offset: transaction markers count, and
    what compaction took away too.
    """

    name: str
    kind: str
    partitions: int | None
    records: int | None
    policy: str
    meaning: str


def admin_client(settings: Settings) -> AdminClient:
    """Give a client for the functions of this module; it says warnings and worse only.

    Raises:
        NoCluster: no cluster is set and no local broker is up.

    """
    return AdminClient({**settings.cluster.producer(), "client.id": f"{settings.group_id}-{settings.worker_id}", "log_level": 4})


def partition_counts(admin: AdminClient, names: Iterable[str]) -> dict[str, int | None]:
    """Give each topic's number of partitions, None for one that does not exist."""
    known = _metadata(admin).topics
    return {name: len(known[name].partitions) if name in known else None for name in names}


def find_topics(admin: AdminClient, topics: Sequence[Topic], prefix: str) -> tuple[dict[str, Found], int]:
    """Give the declared topics that exist, as they are, by name on the cluster; and how many brokers it has."""
    metadata = _metadata(admin)
    names = [name for topic in topics if (name := topic.named(prefix)) in metadata.topics]
    configs = _configs(admin, names)
    found = {}
    for name in names:
        partitions = metadata.topics[name].partitions
        found[name] = Found(len(partitions), min((len(p.replicas) for p in partitions.values()), default=0), configs[name])
    return found, len(metadata.brokers)


def alter_topics(admin: AdminClient, changes: Mapping[str, Mapping[str, str]]) -> None:
    """Set these configurations of topics, leave all their others as they are, and wait until they are seen.

    Raises:
        ClusterError: the cluster refused one; those before it are set.
    """
    set_it = AlterConfigOpType.SET
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[ConfigEntry(key, value, incremental_operation=set_it) for key, value in config.items()],
        )
        for name, config in changes.items()
    ]
    if resources:
        for resource, future in admin.incremental_alter_configs(resources, request_timeout=REQUEST_TIMEOUT_S).items():
            _done(future, f"alter topic {resource.name}")
        # The controller has it; the broker that is asked next learns of it a moment later.
        deadline = time.monotonic() + VISIBLE_TIMEOUT_S
        while not _has(_configs(admin, list(changes)), changes):
            if time.monotonic() > deadline:
                raise ClusterError(f"altered topics still as before after {VISIBLE_TIMEOUT_S:.0f} s", retriable=True)
            time.sleep(0.05)


def _has(configs: Mapping[str, Mapping[str, str]], wanted: Mapping[str, Mapping[str, str]]) -> bool:
    return all(config.items() <= configs[name].items() for name, config in wanted.items())


def apply_topics(
    admin: AdminClient, topics: Sequence[Topic], prefix: str, durability: Durability | None = None
) -> list[TopicChange]:
    """Create the topics that are missing, wait until every partition has a leader, and compare those that exist.

    Each topic gets its declared partitions and configuration; without ``durability`` one replica per broker, three at most.

    Raises:
        ClusterError: the cluster refused, or the topics had no leaders within 30 s.

    """
    metadata = _metadata(admin)
    made = durability or Durability.on(len(metadata.brokers))
    missing = [topic for topic in topics if topic.named(prefix) not in metadata.topics]
    created = {topic.named(prefix) for topic in missing}
    if missing:
        new = [
            NewTopic(
                topic.named(prefix),
                num_partitions=topic.partitions,
                replication_factor=made.replication_factor,
                config=topic.config | made.config,
            )
            for topic in missing
        ]
        for name, future in admin.create_topics(new, request_timeout=REQUEST_TIMEOUT_S).items():
            if not _done(future, f"create topic {name}", tolerated=KafkaError.TOPIC_ALREADY_EXISTS):
                created.discard(name)  # someone else made it just now: it is compared like any that exists
    metadata = _wait_for(
        admin, lambda seen: all(_led(seen.topics.get(t.named(prefix)), seen) for t in topics), "topics without a leader"
    )
    configs = _configs(admin, [topic.named(prefix) for topic in topics])
    changes = []
    for topic in topics:
        name = topic.named(prefix)
        if name in created:
            changes.append(TopicChange(name, "created", f"{name}: created with {topic.partitions} partitions"))
            continue
        found = differences(topic, len(metadata.topics[name].partitions), configs[name])
        changes.append(
            TopicChange(name, "differs", f"{name}: {found}") if found else TopicChange(name, "kept", f"{name}: as declared")
        )
    return changes


def delete_topics(admin: AdminClient, prefix: str) -> list[str]:
    """Delete every topic whose name starts with ``prefix``, wait until they are gone, and give their names.

    Raises:
        RefusedError: the prefix is empty. Kafka's own topics (``__...``) are never deleted.
        ClusterError: the cluster refused, or the topics were still there after 30 s.

    """
    if not prefix:
        raise RefusedError("topics are only deleted under a prefix: an empty one would mean every topic of the cluster")
    names = sorted(name for name in _metadata(admin).topics if name.startswith(prefix) and not name.startswith("__"))
    if names:
        for name, future in admin.delete_topics(names, request_timeout=REQUEST_TIMEOUT_S).items():
            _done(future, f"delete topic {name}", tolerated=KafkaError.UNKNOWN_TOPIC_OR_PART)
        _wait_for(admin, lambda seen: not any(name in seen.topics for name in names), "deleted topics still there")
    return names


def list_topics(admin: AdminClient, topics: Sequence[Topic], prefix: str) -> list[TopicRow]:
    """Give one row for each declared topic, as it is on the cluster; missing ones too."""
    counts = partition_counts(admin, [topic.named(prefix) for topic in topics])
    found = {name: count for name, count in counts.items() if count is not None}
    records, configs = _records(admin, found, time.monotonic() + VISIBLE_TIMEOUT_S), _configs(admin, list(found))
    rows = []
    for topic in topics:
        name = topic.named(prefix)
        policy = _policy(configs[name]) if name in found else "missing: `tally topics apply` makes it"
        rows.append(TopicRow(name, str(topic.kind), counts[name], records.get(name), policy, topic.meaning))
    return rows


def _metadata(admin: AdminClient) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as refused:
        raise _cluster_error("list the topics", refused) from refused


def _wait_for(admin: AdminClient, come: Callable[[ClusterMetadata], bool], otherwise: str) -> ClusterMetadata:
    deadline = time.monotonic() + VISIBLE_TIMEOUT_S
    while not come(metadata := _metadata(admin)):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{otherwise} after {VISIBLE_TIMEOUT_S:.0f} s: look at the brokers' logs, and try again", retriable=True
            )
        time.sleep(0.05)
    return metadata


def _led(topic: TopicMetadata | None, metadata: ClusterMetadata) -> bool:
    return topic is not None and bool(topic.partitions) and all(p.leader in metadata.brokers for p in topic.partitions.values())


def _done(future: Future[Any], what: str, *, tolerated: int | None = None) -> bool:
    """Wait for one answer; False when it is the error that the caller can live with."""
    try:
        future.result(timeout=REQUEST_TIMEOUT_S + 5)
    except KafkaException as refused:
        if refused.args[0].code() == tolerated:
            return False
        raise _cluster_error(what, refused) from refused
    return True


def _cluster_error(what: str, refused: KafkaException) -> ClusterError:
    error: KafkaError = refused.args[0]
    return ClusterError(f"the cluster did not {what}: {error.str()} ({error.name()})", retriable=error.retriable())


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(asked, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            entries = future.result(timeout=REQUEST_TIMEOUT_S + 5)
        except KafkaException as refused:
            raise _cluster_error(f"describe topic {resource.name}", refused) from refused
        found[resource.name] = {key: entry.value for key, entry in entries.items()}
    return found


_SETTLING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}


def _records(admin: AdminClient, partitions: Mapping[str, int], deadline: float) -> dict[str, int]:
    all_of_them = [TopicPartition(name, number) for name, count in partitions.items() for number in range(count)]
    total = dict.fromkeys(partitions, 0)
    if not all_of_them:
        return total
    end, begin = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    for spec, sign in ((end, 1), (begin, -1)):
        for partition, future in admin.list_offsets(dict.fromkeys(all_of_them, spec), request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                total[partition.topic] += sign * future.result(timeout=REQUEST_TIMEOUT_S + 5).offset
            except KafkaException as refused:
                if refused.args[0].code() in _SETTLING and time.monotonic() < deadline:
                    time.sleep(0.1)
                    return _records(admin, partitions, deadline)  # a topic made a moment ago has no leader yet
                raise _cluster_error(f"tell the offsets of {partition.topic}", refused) from refused
    return total


def _policy(config: Mapping[str, str]) -> str:
    kept = config["cleanup.policy"]
    if kept == "compact":
        return f"compact, tombstones {int(config['delete.retention.ms']) / DAY_MS:g} d"
    retention_ms = int(config["retention.ms"])
    return f"{kept} after {retention_ms / DAY_MS:g} d" if retention_ms >= 0 else f"{kept}, never"
