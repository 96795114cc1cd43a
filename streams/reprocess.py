"""History through a changed rule, beside the live version: what starts a version, what compares it, what takes it away.

A version reads the deployment's inputs, in a group of its own, from where :func:`plan_start` says; all that it writes is its
own. Its workers are ordinary ones, so restarts and kills are no matter of this module.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.compare_tables import AGGREGATES
from connectors.compare_versions import COMPARED, Side, TopicCompared, compare_versions
from connectors.markers import Markers
from connectors.reader import ReadRecord, list_topics, offsets_since, ranges_of, read_topic
from schemas.codec import encode
from schemas.events import CurrentVersion, VersionStarted
from schemas.topics import CUSTOMERS_CHANGELOG, INPUTS, LIVE, MARKER_KEY, REVENUE_CHANGELOG, TOPICS, VERSIONS, Topic
from schemas.wire import FIXED, Wire
from streams.admin import admin_client, apply_topics, find_topics
from streams.effects import Output
from streams.errors import ClusterError, MissingTopic, RefusedError
from streams.fleet import committed_offsets, find_members
from streams.lag import LagReader
from streams.marker import TopicPartition, make_marker
from streams.own_cluster import remove
from streams.settings import Settings
from streams.topic_plan import MIN_ISR_KEY, Durability
from streams.topology import Stage, topology_of
from streams.versions import CURRENT_KEY, Versions, commit, note, read_versions

_CHANGELOG_OF = {aggregate.topic: aggregate.changelog for aggregate in AGGREGATES}

BEHIND_MAX_S = 10.0
"""For which a record may wait of a version that has caught up: under load some always wait, for an epoch or two."""


@dataclass(frozen=True)
class Start:
    """A version that may be started: what is said of it, and where its tasks begin to read."""

    started: VersionStarted
    offsets: Mapping[TopicPartition, int]
    records_count: int
    topics: tuple[Topic, ...]


def check_name(settings: Settings) -> None:
    """Refuse what is no version beside the live one. Pure.

    Raises:
        RefusedError: with what to write.
    """
    if not settings.version:
        raise RefusedError("say which version: --as v2")
    if not settings.has_version or settings.version == CURRENT_KEY:
        raise RefusedError(f"{settings.version} cannot be the name of a version beside the live one: choose another, such as v2")


def check_known(version: str, versions: Versions) -> None:
    """Refuse a version that was never started. Pure.

    Raises:
        RefusedError: with those that there are.
    """
    if version not in versions.names:
        raise RefusedError(
            f"there is no version {version}: there are {', '.join(versions.names)}; `tally reprocess start` makes one"
        )


def plan_start(settings: Settings, since_ms: int, lead_ms: int, now_ms: int) -> Start:
    """Look whether a version can be started, and where it will begin to read; nothing is changed.

    Args:
        settings: with the version's name.
        since_ms: windows are to be right from then on, in milliseconds since 1970; 0 is the beginning of the inputs.
        lead_ms: reading begins so much earlier, for the orders that later events speak of.
        now_ms: what time it is.

    Raises:
        RefusedError: it is there, or something else has its names.
        MissingTopic: the deployment has no inputs yet.
        ReadError: the cluster does not answer.
    """
    check_name(settings)
    cluster, version = settings.cluster, settings.version
    there = list_topics(cluster)
    missing = [name for topic in INPUTS if (name := topic.named(settings.prefix)) not in there]
    if missing:
        raise MissingTopic(f"the cluster has no topic {', '.join(missing)}: run `tally topics apply`, or check --prefix")
    known = read_versions(cluster, settings.prefix).started.get(version)
    if known is not None:
        raise RefusedError(
            f"{version} was started already, so nothing was changed: run its workers (`tally worker --as {version}`), or take "
            f"it away first (`tally reprocess drop --as {version}`)"
        )
    used = sorted(name for name in there if name.startswith(settings.own_prefix) and _has_records(settings, name))
    if used:
        raise RefusedError(f"topics that {version} would make have records already, such as {used[0]}: choose another name")
    read_from_ms = max(since_ms - lead_ms, 0)
    offsets, left = dict[TopicPartition, int](), 0
    for topic in INPUTS:
        name = topic.named(settings.prefix)
        bounds = ranges_of(cluster, name, committed_only=False)
        begins = offsets_since(cluster, name, read_from_ms) if read_from_ms else {}
        for partition, bound in bounds.items():
            at = offsets[name, partition] = max(begins.get(partition, 0), bound.begin)
            left += bound.end - at
    own = tuple(topic.of(version) for topic in TOPICS if not topic.shared)
    return Start(VersionStarted(version, since_ms, read_from_ms, now_ms), offsets, left, own)


def start(settings: Settings, plan: Start) -> list[str]:
    """Make the topics, then say in one transaction that the version is there, where its tasks begin, and with which state.

    A task whose offsets no marker speaks of does not start; so each gets its first marker here, of an empty state. Started
    again after a failure it goes on: nothing counts before that transaction. Gives the topics' names.

    Raises:
        ClusterError: the cluster refused, or did not answer.
        RefusedError: another hand was at it.
    """
    admin = admin_client(settings)
    changes = apply_topics(admin, [*plan.topics, VERSIONS], settings.prefix, _durability(admin, settings))
    markers = {
        (changelog, partition): Output(changelog, MARKER_KEY, _first_marker(settings, stage, partition, plan.offsets), partition)
        for stage in topology_of(settings.version)
        if set(stage.reads) <= set(INPUTS)
        for changelog in [stage.changelog.named(settings.prefix)]
        for partition in range(stage.changelog.partitions)
    }
    commit(settings, note(settings, settings.version, plan.started), markers, plan.offsets)
    return [change.name for change in changes if change.action == "created"]


def _first_marker(settings: Settings, stage: Stage, partition: int, offsets: Mapping[TopicPartition, int]) -> bytes:
    inputs = [(topic.named(settings.prefix), partition) for topic in stage.reads]
    return encode(make_marker(0, "reprocess", {where: (offsets[where], offsets[where]) for where in inputs}, {}))


def _durability(admin: AdminClient, settings: Settings) -> Durability | None:
    """Give what the deployment's inputs have: a copy is to be as safe."""
    found, _ = find_topics(admin, INPUTS, settings.prefix)
    like = next(iter(found.values()), None)
    return None if like is None else Durability(like.replicas, int(like.config.get(MIN_ISR_KEY) or 1))


def _has_records(settings: Settings, name: str) -> bool:
    return any(bounds.end for bounds in ranges_of(settings.cluster, name, committed_only=False).values())


class Behind(NamedTuple):
    """How far a version is behind: records of the inputs that it has to read, and for how long one waits, at any stage.

    ``seconds`` is None where an open transaction hides the record.
    """

    records: int
    seconds: float | None


def behind(settings: Settings, now_ms: int) -> Behind:
    """Give how far a version is behind.

    Raises:
        ClusterError: the cluster does not answer.
    """
    reader = LagReader(settings.cluster, settings.group_id)
    try:
        inputs = [
            (topic.named(settings.prefix), partition)
            for stage in topology_of(settings.version)
            for topic in stage.reads
            for partition in range(topic.partitions)
        ]
        lags = reader.read(committed_offsets(settings, inputs))
    except KafkaException as refused:
        raise ClusterError(f"the cluster did not tell how far {settings.version} is: {refused.args[0].str()}") from refused
    finally:
        reader.close()
    inputs_of = {topic.named(settings.prefix) for topic in INPUTS}
    seconds = [lag.seconds(now_ms) for lag in lags.values()]
    known = [each for each in seconds if each is not None]
    records = sum(lag.records for (name, _), lag in lags.items() if name in inputs_of)
    return Behind(records, max(known, default=0.0) if len(known) == len(seconds) else None)


def compare(
    ours: Settings, theirs: Settings, since_ms: int, wire_of: Callable[[ReadRecord], Wire] = lambda _: FIXED
) -> Iterator[TopicCompared]:
    """Compare every output of two versions, one topic after the other, to where each ended when its reading began.

    Raises:
        ReadError: the cluster does not answer, or a topic is not there.
        Undecodable: a row cannot be read.
    """
    one, other = _reader_of(ours, wire_of), _reader_of(theirs, wire_of)
    for topic in COMPARED:
        yield compare_versions(topic, one(topic), other(topic), since_ms)


def _reader_of(settings: Settings, wire_of: Callable[[ReadRecord], Wire]) -> Callable[[Topic], Side]:
    """Give what gives the rows of a version's topics; how far it is in event time is asked before any row."""
    reached_ms = _watermarks_ms(settings)

    def side(topic: Topic) -> Side:
        changelog = _CHANGELOG_OF.get(topic)

        def is_over(partition: int, end_ms: int) -> bool:
            return changelog is not None and end_ms + settings.grace_ms <= reached_ms.get((changelog.name, partition), 0)

        name = topic.of(settings.version).named(settings.prefix)
        return Side(read_topic(settings.cluster, name), is_over, wire_of)

    return side


def _watermarks_ms(settings: Settings) -> dict[TopicPartition, int]:
    """Give how far the tasks of the windows are in event time, before their rows are read."""
    markers = Markers(settings.cluster, settings.own_prefix, (REVENUE_CHANGELOG, CUSTOMERS_CHANGELOG))
    markers.read_on()
    return {place: marker.counters.get("watermark_ms", 0) for place, marker in markers.newest.items()}


def switch(settings: Settings, versions: Versions, lag: Behind, now_ms: int, *, force: bool) -> None:
    """Let readers read this version from now on: one record.

    Raises:
        RefusedError: it is not there, or has not read everything yet.
        ClusterError: the cluster did not take it.
    """
    check_known(settings.version, versions)
    if not force and (lag.seconds is None or lag.seconds > BEHIND_MAX_S):
        waits = "for how long is not known" if lag.seconds is None else f"one for {lag.seconds:.0f} s"
        raise RefusedError(
            f"{settings.version} has {lag.records:,} records of the inputs to read, {waits}, so readers would see less than they "
            f"do now: wait until `tally status --as {settings.version}` shows that it has caught up, or say --force"
        )
    current = settings.model_copy(update={"version": LIVE})  # the switch has no offsets; it needs no group of a version
    commit(current, note(settings, CURRENT_KEY, CurrentVersion(settings.version, now_ms)), {}, {})


@dataclass(frozen=True)
class Drop:
    """What a version has on the cluster."""

    topics: tuple[str, ...]
    group: str


def plan_drop(settings: Settings, versions: Versions) -> Drop:
    """Look what would go with a version; nothing is changed.

    Raises:
        RefusedError: it is the live or the current one, is not there, is at work, or another deployment has such names.
        ReadError, ClusterError: the cluster does not answer.
    """
    if settings.version == LIVE:
        raise RefusedError(f"{LIVE} is the deployment itself: it is not dropped by this")
    check_name(settings)
    names = sorted(name for name in list_topics(settings.cluster) if name.startswith(settings.own_prefix))
    if settings.version not in versions.started and not names:
        check_known(settings.version, versions)
    if settings.version == versions.current:
        raise RefusedError(f"{settings.version} is what readers read: `tally reprocess switch --as {LIVE}` (or another) first")
    members = [member.worker for member in find_members(admin_client(settings), settings)]
    if members:
        raise RefusedError(f"workers of {settings.version} are at work: {', '.join(members)}; stop them first")
    if strange := [name for name in names if is_input(name.removeprefix(settings.own_prefix))]:
        raise RefusedError(
            f"{strange[0]} is an input, so a deployment of the prefix {settings.own_prefix} lives there: look first"
        )
    return Drop(tuple(names), settings.group_id)


def is_input(rest: str) -> bool:
    """Tell whether a name, behind a version's beginning, is an input of any prefix: a version has none of its own. Pure."""
    return any(f".{rest}".endswith(f".{topic.name}") for topic in INPUTS)


def drop(settings: Settings, plan: Drop) -> bool:
    """Delete the version's topics and group, then what is said of it; tell whether stores of it were on this machine.

    Raises:
        ClusterError: something is left; run again.
    """
    if plan.topics:
        remove(admin_client(settings), settings.own_prefix, [plan.group])
    folder = settings.version_folder
    had_stores = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    live = settings.model_copy(update={"version": LIVE})
    if VERSIONS.named(settings.prefix) in list_topics(settings.cluster):
        commit(live, note(settings, settings.version, None), {}, {})
    return had_stores


def now_ms() -> int:
    """Give the time by this machine's clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
