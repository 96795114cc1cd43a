"""Quantiles of many numbers from a few counters that can be added: DDSketch's buckets, right to one percent. Pure.

Bucket and value are Datadog's mapping (Masson, Rim, Lee: DDSketch, VLDB 2019). The buckets are fixed,
so counters of any two sketches may be added, in any order, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping

from ddsketch.mapping import LogarithmicMapping

RELATIVE_ERROR = 0.01
_MAPPING = LogarithmicMapping(RELATIVE_ERROR)
_NOTHING = -1
"""The bucket of zero and what is below it; one millisecond and more have a bucket from 0 on."""


def bucket_of(value: int) -> int:
    """Give the number of the bucket that ``value`` falls into."""
    return _MAPPING.key(value) if value > 0 else _NOTHING


def quantiles(counts: Mapping[int, int], asked: tuple[float, ...]) -> tuple[int, ...]:
    """Give the numbers that the ``asked`` shares (0 to 1) of all numbers do not exceed, each right to one percent.

    ``counts`` says how many numbers each bucket has: one or more together.
    """
    buckets = sorted((bucket, count) for bucket, count in counts.items() if count)
    total = sum(count for _, count in buckets)
    found = []
    for share in asked:
        rank, passed = share * (total - 1), 0
        for bucket, count in buckets:
            passed += count
            if passed > rank:
                found.append(0 if bucket == _NOTHING else round(_MAPPING.value(bucket)))
                break
    return tuple(found)
