"""What `tally topics apply` will do, before it does it: pure, from the declarations and what the cluster has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from schemas.topics import Topic
from streams.errors import RefusedError

REPLICATION_FACTOR = 3
"""Copies of each partition, so that one broker may be serviced while another one dies."""
MIN_ISR = 2
"""Copies that have a record before its producer hears that it is there: with one, the death of one broker may lose money."""
MIN_ISR_KEY = "min.insync.replicas"


@dataclass(frozen=True)
class Durability:
    """How many brokers have each record of a new topic."""

    replication_factor: int
    min_isr: int

    @classmethod
    def on(cls, brokers: int, replication_factor: int | None = None, min_isr: int | None = None) -> Self:
        """Give what was asked for, else the most that this many brokers can, up to what is safe.

        Raises:
            RefusedError: it cannot be on so many brokers.
        """
        factor = replication_factor or min(REPLICATION_FACTOR, brokers)
        if factor > brokers:
            raise RefusedError(f"--replication-factor {factor} cannot be: the cluster has {brokers} brokers")
        isr = min_isr or (MIN_ISR if factor >= REPLICATION_FACTOR else 1)
        if isr > factor:
            raise RefusedError(f"--min-isr {isr} cannot be with replication factor {factor}: nobody could write")
        return cls(factor, isr)

    @property
    def config(self) -> dict[str, str]:
        """Give the part that is a topic's configuration."""
        return {MIN_ISR_KEY: str(self.min_isr)}


@dataclass(frozen=True)
class Found:
    """A topic as it is on the cluster; ``replicas`` of the partition that has the fewest."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """What will be done about one topic. ``alter`` is what `--alter` sets; a topic with other partitions stays ``wrong``."""

    name: str
    action: Literal["create", "keep", "differs"]
    sentence: str
    alter: Mapping[str, str] = field(default_factory=dict)
    wrong: bool = False


def plan_topics(
    topics: Sequence[Topic], prefix: str, found: Mapping[str, Found], made: Durability, min_isr: int | None = None
) -> list[Step]:
    """Give a step for each topic. ``min_isr`` is what was asked for existing topics too; None leaves theirs."""
    steps = []
    for topic in topics:
        name, there = topic.named(prefix), found.get(topic.named(prefix))
        if there is None:
            config = ", ".join(f"{key}={value}" for key, value in (topic.config | made.config).items())
            new = f"{topic.partitions} partitions, replication factor {made.replication_factor}, {config}"
            steps.append(Step(name, "create", f"create  {name}: {new}"))
            continue
        wanted = topic.config | ({MIN_ISR_KEY: str(min_isr)} if min_isr else {})
        alter = {key: value for key, value in wanted.items() if there.config.get(key) != value}
        said = differences(topic, there.partitions, there.config, wanted)
        step = Step(name, "differs", f"differs {name}: {said}", alter, wrong=there.partitions != topic.partitions)
        steps.append(step if said else Step(name, "keep", f"keep    {name}: as declared"))
    return steps


def differences(topic: Topic, partitions: int, config: Mapping[str, str], wanted: Mapping[str, str] | None = None) -> str:
    """Say how a topic is other than declared (``wanted``: its configuration); empty when it is not."""
    said = []
    if partitions != topic.partitions:
        said.append(
            f"has {partitions} partitions and is declared with {topic.partitions}; keys would go to other tasks, "
            "so move to new topics instead of adding partitions"
        )
    said += [
        f"has {key}={config.get(key)} and is declared with {value}; `tally topics apply --alter` sets it"
        for key, value in (topic.config if wanted is None else wanted).items()
        if config.get(key) != value
    ]
    return "; ".join(said)


def warnings(steps: Sequence[Step], found: Mapping[str, Found], made: Durability, *, alter: bool) -> list[str]:
    """Say, once for all topics together, that they will be less safe than money should be."""
    factors = {name: there.replicas for name, there in found.items()}
    isrs = {name: int(there.config.get(MIN_ISR_KEY) or 1) for name, there in found.items()}
    for step in steps:
        if step.action == "create":
            factors[step.name], isrs[step.name] = made.replication_factor, made.min_isr
        elif alter and MIN_ISR_KEY in step.alter:
            isrs[step.name] = int(step.alter[MIN_ISR_KEY])
    said = []
    if few := [name for name, factor in factors.items() if factor < REPLICATION_FACTOR]:
        said.append(f"{_these(few)} a replication factor below {REPLICATION_FACTOR}: no broker may die while one is serviced")
    if few := [name for name, isr in isrs.items() if isr < MIN_ISR]:
        said.append(f"{_these(few)} {MIN_ISR_KEY} below {MIN_ISR}: the death of one broker may lose what was committed")
    return [f"warning: {sentence}" for sentence in said]


def _these(names: Sequence[str]) -> str:
    return f"{names[0]} has" if len(names) == 1 else f"{len(names)} topics, such as {names[0]}, have"
