"""Where the orders of a frame are, and when they are due: columns as tables and timers take them. Pure."""

from __future__ import annotations

from itertools import islice

import polars as pl

from agents.ports import Keys
from agents.settlement.timers import Due


def keys_of(orders: pl.DataFrame) -> Keys:
    """Give where the states of orders are, which are sorted by partition."""
    keys, begin, found = orders["order_id"].cast(pl.Binary).to_list(), 0, {}
    for count, partition in orders["partition"].rle().struct.unnest().iter_rows():
        found[partition] = keys[begin : begin + count]
        begin += count
    return found


def due_of(orders: pl.DataFrame, name: str) -> Due:
    """Give when orders, sorted by partition, are due by a column, and where they are."""
    times_ms = iter(orders[name])
    return {partition: (list(islice(times_ms, len(some))), some) for partition, some in keys_of(orders).items()}
