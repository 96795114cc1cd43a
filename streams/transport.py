"""Faust's seam: a Transport whose consumer and producer are one engine of epochs.

Topics that the topology's stages read are delivered in batches, one message per epoch and stage;
every other topic (ask and cast, replies, group_by) is delivered record by record as Faust expects,
inside the same epochs. Faust's own commits, fetcher and recovery have nothing left to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import faust
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from faust import current_event
from faust.agents import current_agent
from faust.transport import base
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types.tuples import TP, ConsumerMessage
from mode import Service

from streams.barrier import AgentFailedError
from streams.batch import EngineBatch
from streams.client_side import ReplyReader
from streams.engine import Engine
from streams.errors import WorkerError
from streams.faust_producer import Producer
from streams.marker import TopicPartition
from streams.messages import list_headers
from streams.tasks import Task

if TYPE_CHECKING:
    from streams.app import TallyApp

ACK_LOOK_S = 0.02
"""How often the barrier looks by itself: the last acknowledgement wakes it, but some messages never have their last one."""
STREAMS_GO_ON_S = 60.0
"""For Faust to act on an assignment; milliseconds, unless the worker is still starting. No setting: no work is waited for."""


class BatchSchema(faust.Schema[Any, Any]):
    """For topics that a stage reads: the message's value is the batch already."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Give the function that makes Faust's event of a message."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return app.create_event(None, message.value, message.headers, message)

        return decode


class Fetcher(Service):
    """Faust starts and stops a fetcher; the engine polls by itself, also before there is an assignment."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)


class Consumer(FaustConsumer):
    """Delivers what the engine polled, and waits until the agents are done with it."""

    app: TallyApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._assigned: set[TP] = set()
        self._plain: set[int] = set()
        self._failed_plain: dict[int, AgentFailedError] = {}
        self._replies: ReplyReader | None = None

    @property
    def engine(self) -> Engine:
        """The worker's engine."""
        return self.app.engine

    async def on_start(self) -> None:
        """Connect the engine and begin to run epochs; polling goes on without any assignment."""
        if self.app.is_client:
            name = f"{self.app.conf.reply_to}-reader"
            loop = asyncio.get_running_loop()
            self._replies = ReplyReader(
                self.engine.settings.cluster.consumer(), name, self._deliver_reply, loop, self.app.created_ms
            )
            return
        self.engine.barrier.deliver_batch = self._deliver_batch
        self.engine.barrier.deliver_plain = self._deliver_plain
        self.engine.announce = self._announce
        await self.engine.start()
        self.add_future(self._run())

    async def _run(self) -> None:
        try:
            await self.engine.run()
        except Exception as error:
            self.app.fail(error)
            raise

    async def on_stop(self) -> None:
        """Nothing is left: the app has drained the engine before it stops its services."""
        if self._replies is not None:
            await asyncio.to_thread(self._replies.close)

    # From the engine to Faust.

    async def _announce(self, owned: set[TopicPartition]) -> None:
        """Tell Faust what is owned, and wait until its streams go on: before that it empties their queues."""
        self._assigned = {TP(*where) for where in owned}
        self.app.on_rebalance_start()
        await self.on_partitions_assigned(set(self._assigned), self.app.consumer_generation_id)
        await asyncio.wait_for(self.app.streams_go_on.wait(), STREAMS_GO_ON_S)

    async def _deliver_batch(self, batch: EngineBatch) -> None:
        self._forget_acked()
        await self.callback(self._batch_message(batch))

    async def _deliver_plain(self, records: Sequence[tuple[Task, Message]]) -> None:
        """Deliver record by record and wait until Faust has acknowledged each one that somebody reads.

        Also when an agent has failed: records of this attempt that were still waiting for it would come twice.

        Raises:
            AgentFailedError: an agent raised.
            WorkerError: records were not acknowledged long after that.
        """
        self._forget_acked()
        self._failed_plain = {}
        messages = [self._message(record, record.value(), record.key()) for _, record in records]
        self._plain = {id(message) for message in messages}
        for message in messages:
            await self.callback(message)
        idle = {topic: self._never_read(topic) for topic in {message.topic for message in messages}}
        deadline_s = None
        while any(self._is_in_hand(message, idle[message.topic]) for message in messages):
            if self._failed_plain:
                now_s = asyncio.get_running_loop().time()
                limit_s = self.engine.settings.call_timeout_s
                deadline_s = deadline_s or now_s + limit_s
                if now_s > deadline_s:
                    raise WorkerError(f"records are in agents' hands {limit_s:.0f} s after one has failed: starting anew")
            self._waiting_for_ack = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._waiting_for_ack}, timeout=ACK_LOOK_S)
        failures, self._failed_plain, self._plain = self._failed_plain, {}, set()
        for failure in failures.values():
            raise failure

    async def _deliver_reply(self, record: Message) -> None:
        await self.callback(self._message(record, record.value(), record.key()))

    def _is_in_hand(self, message: ConsumerMessage, never_read: int) -> bool:
        return message.refcount > never_read and not message.acked and id(message) not in self._failed_plain

    def _never_read(self, topic: str) -> int:
        """Count the channels of a topic that get its messages and nobody iterates, as the one of Faust's reply consumer."""
        index: Mapping[str, set[Any]] = self.app.topics._topic_name_index  # type: ignore[attr-defined]  # noqa: SLF001
        return sum(not channel.is_iterator for channel in index.get(topic, ()))

    def _forget_acked(self) -> None:
        """Faust notes every acknowledged offset for commits that it never makes here."""
        self._acked.clear()
        self._acked_index.clear()

    def _message(self, record: Message, value: Any, key: Any) -> ConsumerMessage:
        kind, timestamp_ms = record.timestamp()
        tp = TP(record.topic() or "", record.partition() or 0)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset() or 0,
            timestamp_ms / 1000,
            kind,
            dict(list_headers(record)),  # type: ignore[arg-type]  # its type knows no null header
            key,
            value,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _batch_message(self, batch: EngineBatch) -> ConsumerMessage:
        """Give a batch as Faust's message: that of its first record, or else one that stands where its first task reads on."""
        if batch.messages:
            return self._message(batch.messages[0], value=batch, key=None)
        task, value = batch.tasks[batch.partitions[0]], cast("Any", batch)
        tp, offset, now_s = TP(*task.inputs[0]), task.next_offsets[task.inputs[0]], time.time()
        generation_id = self.app.consumer_generation_id
        return ConsumerMessage(
            *tp, offset, now_s, TIMESTAMP_CREATE_TIME, {}, None, value, None, tp=tp, generation_id=generation_id
        )

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent raised: what its epoch wrote is thrown away and its records are delivered again."""
        agent, event = current_agent(), current_event()
        name = "?" if agent is None else agent.name
        self.engine.barrier.agent_failed(name, exc)
        if event is not None and id(event.message) in self._plain:
            # Its own acknowledgement may come late, from the garbage collector: it holds what was raised.
            self._failed_plain[id(event.message)] = AgentFailedError(name, exc)

    # What Faust asks of a consumer.

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        await (self.engine.subscribe(topics) if self._replies is None else self._replies.read(topics))

    def assignment(self) -> set[TP]:
        """Give the owned partitions."""
        return set(self._assigned)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Epochs commit by themselves; a commit of acknowledged messages alone would break invariant I1."""
        return False

    async def wait_empty(self) -> None:
        """Epochs end by themselves."""

    async def perform_seek(self) -> None:
        """Tasks start where their marker says."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Tasks start where their marker says."""
        return {}

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Create a topic of Faust's own."""
        await self.app.producer.create_topic(topic, partitions, replication, **kwargs)

    def highwater(self, tp: TP) -> int:
        """Give the end of a partition as far as known."""
        task = self.engine.tasks.by_input.get((tp.topic, tp.partition))
        return task.next_offsets.get((tp.topic, tp.partition), 0) if task else 0

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Give the ends of partitions as far as known."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Faust's recovery asks this for tables of its own; there are none."""
        return dict.fromkeys(partitions, 0)

    async def position(self, tp: TP) -> int | None:
        """Give the next offset of a partition."""
        return self.highwater(tp)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refuse: a task's position is part of its state."""
        raise NotImplementedError(f"positions of {sorted(partitions)} belong to their tasks; use a fresh group to read again")

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError(f"the position of {partition} belongs to its task; {offset} cannot be set")

    def topic_partitions(self, topic: str) -> int | None:
        """Give the number of owned partitions' topic, if any is owned."""
        return len({tp.partition for tp in self._assigned if tp.topic == topic}) or None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Give the partition of a key."""
        return partition if partition is not None else self.app.producer.key_partition(topic, key or b"").partition

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing to verify: Faust recovers no tables here."""

    def close(self) -> None:
        """The engine leaves the group when it is drained."""

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:  # noqa: ARG002
        return False

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ARG002, ASYNC109
        return {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ARG002, ASYNC109
        """Nothing: the engine delivers."""
        return
        yield

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:  # noqa: ARG002
        return self._message(record, record.value(), record.key())


class Transport(base.Transport):
    """``tally://host:port``: Faust on the engine."""

    Consumer = Consumer
    Producer = Producer
    Fetcher = Fetcher
    driver_version = "tally"
    default_port = 9092
