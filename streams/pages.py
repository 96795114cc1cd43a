"""What a worker's web server shows: its status, its metrics, and whether it is well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import faust

from streams.engine import Engine
from streams.exposition import CONTENT_TYPE, page
from streams.health import is_live
from streams.lag import Lag
from streams.marker import TopicPartition
from streams.status import status_of
from streams.topology import Topology


def add_pages(app: faust.App, engine: Engine, topology: Topology, lags: Callable[[], Mapping[TopicPartition, Lag]]) -> None:
    """Put the pages on the worker's web server. They read memory only, so they answer whatever the cluster does."""

    @app.page("/status")
    async def status(view: Any, _request: Any) -> Any:
        """Give what this worker does, as JSON."""
        return view.json(status_of(engine))

    @app.page("/metrics")
    async def metrics(view: Any, _request: Any) -> Any:
        """Give the metrics of ``metrics.py``, as Prometheus reads them."""
        return view.bytes(page(engine, topology, lags(), time.time_ns() // 1_000_000), content_type=CONTENT_TYPE)

    @app.page("/health/live")
    async def live(view: Any, _request: Any) -> Any:
        """Fail when the poll loop has not turned for ``live_timeout_ms``: then only a new process helps."""
        silent_s, limit_ms = engine.threads.silent_s, engine.settings.live_timeout_ms
        well = is_live(silent_s, limit_ms)
        said = f"the poll loop turned {silent_s:.1f} s ago" + ("" if well else f", which is more than {limit_ms / 1_000:.0f} s")
        return _answer(view, well=well, said=said)

    @app.page("/health/ready")
    async def ready(view: Any, _request: Any) -> Any:
        """Fail until the first tasks are restored, never after it."""
        well = engine.ownership.readiness.ready
        return _answer(view, well=well, said="ready" if well else "the first tasks are not restored yet")


def _answer(view: Any, *, well: bool, said: str) -> Any:
    return view.json({"ok": well, "said": said}, status=HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)
