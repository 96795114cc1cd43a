"""The chain of markers in a changelog: each epoch of a task begins where the one before ended, whoever wrote it."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

from connectors.cluster import Cluster
from connectors.reader import end_offsets, read_topic
from schemas.codec import decode
from schemas.events import TaskMarker
from schemas.topics import MARKER_KEY
from streams.topology import TOPOLOGY
from tests.support.waiting import wait_for

CHANGELOGS = tuple(stage.changelog.name for stage in TOPOLOGY)


def chains(cluster: Cluster, prefix: str, changelog: str) -> dict[int, list[TaskMarker]]:
    """Give the committed markers of each partition of a changelog that was not compacted yet."""
    found: dict[int, list[TaskMarker]] = {}
    for record in read_topic(cluster, prefix + changelog):
        if record.key == MARKER_KEY:
            marker = decode(record.value)
            assert isinstance(marker, TaskMarker)
            found.setdefault(record.partition, []).append(marker)
    return found


def assert_unbroken(cluster: Cluster, prefix: str) -> None:
    """Fail where an epoch was written twice, skipped, or by somebody who no longer owned the task."""
    for changelog in CHANGELOGS:
        for partition, markers in chains(cluster, prefix, changelog).items():
            for before, after in pairwise(markers):
                where = f"{changelog}/{partition}: epoch {before.epoch} by {before.worker}, then {after.epoch} by {after.worker}"
                assert after.epoch == before.epoch + 1, where
                ended = {(p.topic, p.partition): p.next_offset for p in before.positions}
                begun = {(p.topic, p.partition): p.first_offset for p in after.positions}
                assert ended == begun, f"{where}: ended at {ended}, begun at {begun}"


def owners(cluster: Cluster, prefix: str) -> dict[int, list[str]]:
    """Give, for each settlement task, the workers that committed events of it, one after the other."""
    return {
        partition: [worker for worker, _ in groupby(marker.worker for marker in markers if _events_count(marker))]
        for partition, markers in chains(cluster, prefix, "settlement-changelog").items()
    }


def is_settled(cluster: Cluster, topic_name: str) -> bool:
    """Tell whether all that a topic has can be read: a commit is answered before its markers stand on every partition."""
    return end_offsets(cluster, topic_name) == end_offsets(cluster, topic_name, committed_only=False)


def _events_count(marker: TaskMarker) -> int:
    return sum(position.next_offset - position.first_offset for position in marker.positions)


def changelog_counts(cluster: Cluster, prefix: str) -> Counter[str]:
    """Give how many committed records the changelog of each task has, once the last transaction's markers stand everywhere."""
    for changelog in CHANGELOGS:
        wait_for(f"no transaction is open on {changelog}", lambda: is_settled(cluster, prefix + changelog))  # noqa: B023 - at once
    return Counter(
        f"{changelog.removesuffix('-changelog')}/{record.partition}"
        for changelog in CHANGELOGS
        for record in read_topic(cluster, prefix + changelog)
    )
