"""Who needs which rights on the cluster: each role's, exactly, from the declared topics and the topology. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from connectors.reader import READER_GROUP
from schemas.topics import BY_NAME, DEAD_LETTERS_DONE, TOPICS, VERSIONS, Kind, Topic
from streams.settings import Settings
from streams.topology import TOPOLOGY, Topology

Resource = Literal["topic", "group", "transactional-id"]
_OPTIONS = {"topic": "--topic", "group": "--group", "transactional-id": "--transactional-id"}
_COMMAND = 'kafka-acls.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" --command-config admin.properties'


class Role(StrEnum):
    """Who connects."""

    WORKER = "worker"
    PRODUCER = "producer"
    READER = "reader"
    OPERATOR = "operator"


@dataclass(frozen=True, order=True)
class Right:
    """One operation on one resource, in Kafka's words; ``prefixed``: on every resource whose name begins so."""

    resource: Resource
    name: str
    operation: str
    prefixed: bool = False

    def __str__(self) -> str:
        """Give it in words: ``Read on topic orders``."""
        words = self.resource.replace("transactional-id", "transactional id")
        return f"{self.operation} on {words} {self.name}{'*' if self.prefixed else ''}"


def rights_of(role: Role, settings: Settings, topology: Topology = TOPOLOGY) -> list[Right]:
    """Give what a role needs and no more; Read and Write contain Describe, as Kafka has it."""
    if role is Role.WORKER:
        return _worker(settings, topology)
    if role is Role.PRODUCER:
        return _on(settings, (topic for topic in TOPICS if topic.kind is Kind.INPUT), "Write")
    if role is Role.READER:
        outputs = (topic for topic in TOPICS if topic.kind is Kind.OUTPUT)
        # The client of a reader asks who coordinates its group, though it never joins one.
        return [*_on(settings, [*outputs, VERSIONS], "Read"), Right("group", READER_GROUP, "Describe")]
    # Whoever sends dead letters back writes inputs and the note that it was done, in one transaction.
    written = (topic for topic in TOPICS if topic.kind is Kind.INPUT or topic in {DEAD_LETTERS_DONE, VERSIONS})
    return [
        *_on(settings, TOPICS, "Create", "Describe", "DescribeConfigs", "AlterConfigs", "Read"),
        *_on(settings, written, "Write"),
        Right("group", READER_GROUP, "Describe"),
        Right("group", settings.group_id, "Describe"),
        Right("transactional-id", settings.inbox_transactional_id, "Write"),
        Right("transactional-id", settings.versions_transactional_id, "Write"),
        *_reprocess(settings),
    ]


def _reprocess(settings: Settings) -> list[Right]:
    """Give what starting and dropping a version needs besides: its first offsets and markers, and that it can go."""
    if not settings.has_version:
        return []
    own = [topic for topic in TOPICS if not topic.shared]
    changelogs = [stage.changelog for stage in TOPOLOGY]
    group = settings.group_id
    return [
        *_on(settings, own, "Delete"), *_on(settings, changelogs, "Write"),
        Right("group", group, "Read"), Right("group", group, "Delete"),
    ]  # fmt: skip


def _worker(settings: Settings, topology: Topology) -> list[Right]:
    reads = {topic for stage in topology for topic in (*stage.reads, stage.changelog)}
    writes = {topic for stage in topology for topic in (*stage.writes, stage.changelog)}
    writes |= {BY_NAME[topic.dead_letters] for topic in reads if topic.dead_letters}
    return [
        *_on(settings, reads, "Read"),
        *_on(settings, writes, "Write"),
        Right("group", settings.group_id, "Read"),
        # Each worker has an id of its own after this beginning.
        Right("transactional-id", f"{settings.group_id}-", "Write", prefixed=True),
    ]


def _on(settings: Settings, topics: Iterable[Topic], *operations: str) -> list[Right]:
    order = {topic.name: place for place, topic in enumerate(TOPICS)}
    sorted_topics = sorted(topics, key=lambda topic: order.get(topic.name, len(order)))
    names = [topic.of(settings.version).named(settings.prefix) for topic in sorted_topics]
    return [Right("topic", name, operation) for name in names for operation in operations]


def commands(rights: Iterable[Right], principal: str) -> list[str]:
    """Give the ``kafka-acls.sh`` commands that grant the rights; the fewest, each readable."""
    operations: dict[tuple[Resource, str, bool], list[str]] = {}
    for right in rights:
        operations.setdefault((right.resource, right.name, right.prefixed), []).append(right.operation)
    names: dict[tuple[Resource, bool, tuple[str, ...]], list[str]] = {}
    for (resource, name, prefixed), wanted in operations.items():
        names.setdefault((resource, prefixed, tuple(wanted)), []).append(name)
    lines = []
    for (resource, prefixed, wanted_of), named in names.items():
        words = ["--add", "--allow-principal", principal]
        words += [word for operation in wanted_of for word in ("--operation", operation)]
        words += [word for name in named for word in (_OPTIONS[resource], name)]
        lines.append(f"{_COMMAND} {shlex.join([*words, *(['--resource-pattern-type', 'prefixed'] if prefixed else [])])}")
    return lines
