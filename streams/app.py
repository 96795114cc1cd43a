"""The Faust app of a worker: the topology's agents on Faust's surface, the engine under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import faust
from faust.types.tuples import TP

from agents.ports import AgentFunction, TableSpec
from streams.agent_restarts import Supervisor
from streams.batch import EngineBatch
from streams.engine import Engine
from streams.identity import Identity
from streams.in_columns import with_columns
from streams.kill_points import KillPoint
from streams.lag import LagReader, LagWatch
from streams.own_epoch import Agent
from streams.pages import add_pages
from streams.settings import Settings
from streams.tables import EngineTable
from streams.takeover_facts import say_takeover
from streams.task_pages import add_task_pages
from streams.topology import TOPOLOGY, Topology, topology_of
from streams.transport import BatchSchema


class TallyApp(faust.App):
    """A Faust app whose transport is the engine."""

    def __init__(self, *args: Any, engine: Engine, leads: TP, **kwargs: Any) -> None:
        self.engine = engine
        self._leads = leads
        self.created_ms = int(time.time() * 1000)
        self.lag_watch = LagWatch(engine.tasks, lambda: LagReader(engine.settings.cluster, engine.settings.group_id))
        self.identity = Identity(engine.settings.worker_id, engine.settings.state_folder)
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.streams_go_on = asyncio.Event()
        super().__init__(*args, **kwargs)

    @property
    def is_client(self) -> bool:
        """Whether this process only sends and asks, as Faust's command line does: it owns nothing, and fences nobody."""
        return self.client_only or not self.started

    def is_leader(self) -> bool:
        """Tell whether this worker is the one that ``on_leader=True`` means: the owner of the first stage's partition 0."""
        return self._leads in self.consumer.assignment()

    def fail(self, error: BaseException) -> None:
        """Note what stopped the engine first; whoever runs the app ends it."""
        self.failure = self.failure or error
        self.failed.set()

    def _crash(self, reason: BaseException) -> None:
        """A service of Faust's crashed, a timer or a page: its streams end, so the worker must."""
        super()._crash(reason)
        self.fail(reason)

    def on_rebalance_start(self) -> None:
        """Ownership changes: Faust will empty its queues."""
        self.streams_go_on.clear()
        super().on_rebalance_start()

    def on_rebalance_end(self) -> None:
        """It has."""
        super().on_rebalance_end()
        self.streams_go_on.set()

    async def on_first_start(self) -> None:
        """Take the worker's identity before anything is opened."""
        if not self.is_client:
            self.identity.take()
            self.add_future(self.lag_watch.run())
            self.add_future(say_takeover(self.engine))
        self.conf.datadir.mkdir(parents=True, exist_ok=True)
        await super().on_first_start()

    async def stop(self) -> None:
        """Finish the epoch, commit, leave the group, close the stores; then stop Faust's services."""
        await self.engine.drain()
        await super().stop()
        self.identity.release()


class AppRuntime:
    """Implements :class:`agents.ports.Runtime` on a Faust app."""

    def __init__(self, app: TallyApp, topology: Topology, prefix: str) -> None:
        settings = app.engine.settings
        self.app = app
        self.limits = settings.limits
        self._reads = {stage.name: [topic.named(prefix) for topic in stage.reads] for stage in topology}

    def table(self, spec: TableSpec[Any]) -> EngineTable[Any]:
        """Give the table; the stage in ``topology.py`` must declare it."""
        return self.app.engine.table(spec)

    def agent(self, name: str) -> Any:
        """Run an async function over the batches of the stage called ``name``."""

        def declare(function: AgentFunction) -> AgentFunction:
            async def over_batches(stream: Any) -> None:
                await function(_batches(stream))
                if not self.app.engine.stopping.is_set():
                    raise RuntimeError(f"agent {name} returned: it must go over its stream for as long as the worker runs")

            topic = self.app.topic(*self._reads[name], schema=BatchSchema())
            self.app.agent(topic, name=name)(over_batches)
            return function

        return declare


async def _batches(stream: Any) -> AsyncIterator[EngineBatch]:
    """Give the batches; the agent is done with one when it comes back for the next.

    Faust acknowledges a message also when the agent raised, and may do so late, from the garbage
    collector; so the engine does not ask Faust whether a batch is done.
    """
    async for batch in stream:
        if batch.finished.done():
            continue  # of an attempt that is over
        yield batch
        if not batch.finished.done():
            batch.finished.set_result(None)


def create_app(settings: Settings, topology: Topology = TOPOLOGY) -> TallyApp:
    """Give the worker's Faust app, not started."""
    topology = with_columns(topology_of(settings.version, topology), settings.memory_mb)
    engine = Engine(settings, topology, KillPoint.from_environment())
    app = TallyApp(
        settings.group_id,
        engine=engine,
        leads=TP(topology[0].reads[0].named(settings.prefix), 0),
        broker=";".join(f"tally://{server}" for server in settings.bootstrap_servers.split(",")),
        autodiscover=False,
        datadir=str(settings.state_folder / "faust"),
        web_host=settings.web_host,
        web_port=settings.status_port,
        topic_disable_leader=True,
        stream_recovery_delay=0.0,
        Agent=Agent,
        agent_supervisor=Supervisor,
        reply_to=f"{settings.transactional_id}-replies",
    )
    runtime = AppRuntime(app, topology, settings.prefix)
    for stage in topology:
        stage.declare(runtime)
    # Agents beside the stages can be asked. Their reply topic is made at once, or the first question waits 45 s for it.
    app.conf.reply_create_topic = len(app.agents) > len(topology)
    add_pages(app, engine, topology, lambda: app.lag_watch.lags)
    add_task_pages(app, engine.pauses)
    return app
