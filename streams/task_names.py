"""Names of tasks: of all that a topology has, and of many in a few words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.topology import Stage, Topology


class NamedTask(NamedTuple):
    """A task as the topology has it, whoever owns it."""

    name: str
    stage: Stage
    partition: int


def tasks_in(topology: Topology) -> list[NamedTask]:
    """Give every task, ``settlement/0`` first, stage by stage."""
    return [
        NamedTask(f"{stage.name}/{partition}", stage, partition)
        for stage in topology
        for partition in range(stage.changelog.partitions)
    ]


def tasks_text(tasks: Iterable[tuple[str, str]]) -> str:
    """Give ``(name, state)`` of tasks compactly: ``settlement 0-5 revenue 0-2,5``; a state that is not running stands first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for name, state in tasks:
        stage, _, partition = name.rpartition("/")
        groups.setdefault((state, stage), []).append(int(partition))
    order = {"running": 0, "restoring": 1, "paused": 2, "stopped": 3}
    said = sorted(groups.items(), key=lambda group: (order.get(group[0][0], 4), group[0][1] != "settlement", group[0][1]))
    return " ".join(
        f"{'' if state == 'running' else state + ' '}{stage} {_spans(sorted(partitions))}" for (state, stage), partitions in said
    )


def _spans(numbers: list[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
