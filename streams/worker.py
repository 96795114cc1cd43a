"""Run one worker: start its app, end it well on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import suppress

from streams.app import TallyApp, create_app
from streams.errors import WorkerError
from streams.settings import Settings
from streams.topology import TOPOLOGY, Topology

log = logging.getLogger(__name__)

GC_THRESHOLDS = (20_000, 20, 50)
"""Of Python's collector of cycles, by generation. An epoch is tens of thousands of events, states and rows that live until its
commit and are no cycles; with Python's own 700 the collector walked over them again and again: 12 to 26 % of all CPU."""
SWITCH_INTERVAL_S = 0.000_2
"""Until a thread that holds Python's lock is asked for it. The loop and Kafka's thread let go of it in hundreds of calls (Polars,
RocksDB, the client), and with Python's own 5 ms each waited so long to have it back (bench/README.md, "Learnt")."""


def run_worker(settings: Settings, topology: Topology = TOPOLOGY) -> None:
    """Run until SIGTERM or SIGINT; raise what made the worker stop otherwise."""
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.run(_run(settings, topology))


async def _run(settings: Settings, topology: Topology) -> None:
    app = create_app(settings, topology)
    gc.freeze()  # what is imported stays
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("worker %s joins group %s on %s", settings.worker_id, settings.group_id, settings.bootstrap_servers)
    starting = loop.create_task(app.start())
    waits = {loop.create_task(stop.wait()), loop.create_task(app.failed.wait())}
    done, _ = await asyncio.wait({starting, *waits}, return_when=asyncio.FIRST_COMPLETED)
    if starting in done and starting.exception() is None:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    try:
        await _end(app, starting)
    finally:
        if app.engine.threads.stuck:
            _end_at_once(app)
    log.info("worker %s has left the group", settings.worker_id)


def _end_at_once(app: TallyApp) -> None:
    """End the process though a thread is inside Kafka's client, or stores are open: the interpreter would wait for them."""
    well = app.failure is None and app.engine.ownership.left
    if not well:
        log.error("%s", app.failure or "the cluster did not answer: what was open is settled by it, and redone by others")
    logging.shutdown()
    os._exit(0 if well else getattr(app.failure, "exit_code", WorkerError.exit_code))


async def _end(app: TallyApp, starting: asyncio.Task[None]) -> None:
    """Stop the app, also one that still waits for its first assignment, and raise what went wrong."""
    error = app.failure
    if starting.done():
        error = error or starting.exception()
    else:
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
    await app.stop()
    if error is not None:
        raise error
