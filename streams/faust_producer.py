"""What Faust sends: into the engine's next transaction, or by itself when this process is no worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from faust.agents import current_agent
from faust.transport.producer import Producer as FaustProducer
from faust.types.tuples import TP, RecordMetadata

from schemas.partitioning import partition_of
from streams.client_side import PlainSender
from streams.effects import Output
from streams.own_epoch import Delivery

if TYPE_CHECKING:
    from streams.app import TallyApp


class Producer(FaustProducer):
    """What Faust sends goes into the engine's next transaction."""

    app: TallyApp
    _plain: PlainSender | None = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002
    ) -> Delivery:
        """Put a record into the next transaction; the awaitable is done when it has committed."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or [])
        output = Output(topic, key, value, -1 if partition is None else partition, pairs or None, int((timestamp or 0) * 1000))
        delivery = Delivery()
        metadata = RecordMetadata(topic, output.partition, TP(topic, output.partition), -1, timestamp, 1)

        def settle(committed: asyncio.Future[None]) -> None:
            if delivery.done():
                return
            if committed.cancelled():
                delivery.cancel()
            elif error := committed.exception():
                delivery.set_exception(error)
            else:
                delivery.set_result(metadata)

        if self.app.is_client:
            self._plain = self._plain or PlainSender(self.app.engine.settings.cluster.producer())
            sent = self._plain.send(output, asyncio.get_running_loop())
        else:
            sent = self.app.engine.sends.put(output, by_agent=current_agent() is not None)
        sent.add_done_callback(settle)
        return delivery

    async def on_stop(self) -> None:
        """Wait for what a client has sent; a worker's sends are the engine's."""
        await super().on_stop()
        if self._plain is not None:
            await asyncio.to_thread(self._plain.close)

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send a record and wait for its transaction.

        Raises:
            WaitsForItselfError: inside an agent.
        """
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Hand over what Faust has buffered."""
        if self.buffer.state == "running":
            await self.buffer.flush()

    def key_partition(self, topic: str, key: bytes | None) -> TP:
        """Give the partition of a key on one of Faust's own topics."""
        return TP(topic, partition_of((key or b"").decode("utf-8", "replace"), self.app.conf.topic_partitions))

    async def create_topic(
        self, topic: str, partitions: int, replication: int, *, config: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Create a topic of Faust's own, unless it exists."""

        def create() -> None:
            admin = AdminClient(self.app.engine.settings.cluster.producer())
            if topic not in admin.list_topics(timeout=30).topics:
                texts = {name: str(value) for name, value in (config or {}).items()}
                admin.create_topics([NewTopic(topic, partitions, replication or -1, config=texts)])[topic].result(30)

        await asyncio.get_running_loop().run_in_executor(None, create)

    def supports_headers(self) -> bool:
        """Headers are passed on; ask and reply need them."""
        return True
