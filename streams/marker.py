"""Task markers: what each epoch leaves in the changelog, and what they prove when a task starts (invariant I3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import InputPosition, TaskMarker
from streams.judgement import FRESH, Judgement, Probe, from_bytes, to_bytes

FORMAT_VERSION = 2
"""Since 2 a marker may say that its task is paused, which no reader may overlook."""

TopicPartition = tuple[str, int]


@dataclass(frozen=True)
class Resume:
    """The task may start at these offsets."""

    offsets: dict[TopicPartition, int]


@dataclass(frozen=True)
class Refuse:
    """The task must not start; ``reason`` is a sentence."""

    reason: str


@dataclass(frozen=True)
class Later:
    """The task cannot start now, for something that passes by itself; ``reason`` is a sentence."""

    reason: str


def make_marker(
    epoch: int,
    worker: str,
    positions: Mapping[TopicPartition, tuple[int, int]],
    counters: Mapping[str, int],
    judgement: Judgement = FRESH,
) -> TaskMarker:
    """Give the marker of one epoch; ``positions`` are (first, next) offsets per input partition."""
    probe = judgement.probe or Probe(0, 0)
    return TaskMarker(
        format_version=FORMAT_VERSION,
        epoch=epoch,
        worker=worker,
        positions=tuple(InputPosition(topic, partition, *offsets) for (topic, partition), offsets in sorted(positions.items())),
        counters=dict(counters),
        recent=to_bytes(judgement.recent),
        paused=judgement.paused,
        probe_records=probe.records,
        probe_left=probe.left,
        probe_dead=probe.dead,
    )


def judgement_of(marker: TaskMarker) -> Judgement:
    """Give how the task stands that the marker speaks of."""
    probe = Probe(marker.probe_records, marker.probe_left, marker.probe_dead) if marker.probe_left else None
    return Judgement(from_bytes(marker.recent), marker.paused, probe)


def judge_start(
    marker: TaskMarker | None,
    committed: Mapping[TopicPartition, int | None],
    log_starts: Mapping[TopicPartition, int],
) -> Resume | Refuse:
    """Compare the newest marker with the committed offsets of a task's inputs; never guess with money.

    ``committed`` has every input partition, None where nothing is committed; ``log_starts`` their
    first offsets. Both agree, or both are missing (first start), or the task is refused.
    """
    if marker is None:
        without = {where: offset for where, offset in committed.items() if offset is not None}
        if without:
            return Refuse(
                f"offsets are committed ({_said(without)}), but the changelog has no marker: it was deleted or belongs to "
                "another deployment. Restore the changelog, or reset the group's offsets and every output topic together"
            )
        return Resume(dict(log_starts))
    if marker.format_version > FORMAT_VERSION:
        return Refuse(f"the marker has format {marker.format_version}, this worker reads {FORMAT_VERSION}: upgrade the worker")
    marked = {(position.topic, position.partition): position.next_offset for position in marker.positions}
    if marked != dict(committed):
        return Refuse(
            f"{_why(marker, committed)}: the marker of epoch {marker.epoch} (by {marker.worker}) says {_said(marked)}, the "
            f"group's committed offsets are {_said(committed)}. Set the group's offsets to the marker's if the changelog is "
            "right, and start the task again"
        )
    lost = {where: offset for where, offset in marked.items() if offset < log_starts[where]}
    if lost:
        return Refuse(
            f"the next records to read ({_said(lost)}) are gone, the topics begin at {_said(log_starts)}: retention passed "
            "the task. What was between is lost to this task; recover it from the producers before going on"
        )
    return Resume(marked)


def _why(marker: TaskMarker, committed: Mapping[TopicPartition, int | None]) -> str:
    """Name what happened, as far as the two sides tell."""
    first = {(position.topic, position.partition): position.first_offset for position in marker.positions}
    marked = {(position.topic, position.partition): position.next_offset for position in marker.positions}
    if committed.keys() != marked.keys():
        return "the task's inputs are not those of its marker"
    if None in committed.values():
        return "the group's offsets expired or were deleted"
    if dict(committed) == first:
        return "a transaction was torn: its marker was committed and its offsets were not"
    if all((at or 0) >= marked[where] for where, at in committed.items()):
        return "the offsets are ahead of the changelog: they were reset, or the changelog lost its end"
    return "the offsets were reset"


def _said(offsets: Mapping[TopicPartition, int | None]) -> str:
    return ", ".join(f"{topic}/{partition}={'none' if at is None else at}" for (topic, partition), at in sorted(offsets.items()))
