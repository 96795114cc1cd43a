"""The catalogue of topics with another number of partitions, for one process: before anything else of ours is imported."""

from __future__ import annotations

import sys

from schemas import topics

HOUSES = ("agents", "streams", "connectors")
"""What they import keeps topics in sets and constants: changed after that, half of a process would know the old count."""


def declare(partitions: int) -> None:
    """Let every topic have so many partitions in this process. The product has one count, in ``schemas/topics.py``.

    Raises:
        RuntimeError: something that knows the topics is imported already.
    """
    known = sorted(name for name in sys.modules if name.partition(".")[0] in HOUSES)
    if known:
        raise RuntimeError(f"{known[0]} is imported already and knows {topics.PARTITIONS} partitions: declare others first")
    topics.PARTITIONS = partitions
    for topic in topics.TOPICS:
        object.__setattr__(topic, "partitions", partitions)  # one object everywhere, so all code that asks it agrees


def program(partitions: int, module: str) -> tuple[str, ...]:
    """Give the command that runs ``main`` of a module in a process in which topics have so many partitions."""
    return (
        sys.executable,
        "-c",
        f"from bench.scale.declare import declare; declare({partitions}); from {module} import main; main()",
    )
