"""What an epoch writes, record by record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

from streams.effects import Output, Outputs


def each_of(outputs: Iterable[Output | Outputs]) -> Iterator[Output]:
    """Give records one by one."""
    for some in outputs:
        if isinstance(some, Outputs):
            yield from map(Output, repeat(some.topic), some.keys, some.values, repeat(some.partition))
        else:
            yield some
