"""Whether a worker decides in columns: where the extension is built, and its memory has room for them."""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import replace

from schemas import extension
from streams.topology import Topology

log = logging.getLogger(__name__)

MEMORY_MB_MIN = 128
"""Of the budget; Polars itself takes 50 MB beside it, and a smaller budget is a wish for a small process."""

THREADS = "1"
"""Of Polars. An epoch is small for it: handing parts of one to several threads costs more than they gain (bench/README.md)."""


def with_columns(topology: Topology, memory_mb: int) -> Topology:
    """Give the topology with columns where the stages take them, or without any; say which in the log."""
    if not any(stage.columns_from for stage in topology):
        return topology
    if not extension.is_built():
        log.info("records are decided one by one. %s", extension.way())
    elif memory_mb < MEMORY_MB_MIN:
        log.info("records are decided one by one: columns need TALLY_MEMORY_MB of %d, and it is %d", MEMORY_MB_MIN, memory_mb)
    else:
        log.info("many records at once are decided in columns. %s", extension.way())
        os.environ.setdefault("POLARS_MAX_THREADS", THREADS)
        importlib.import_module("streams.column_arrivals")  # now, and not within the first epoch: it takes a second
        return topology
    return tuple(replace(stage, columns_from=0) for stage in topology)
