"""What both programs of the peer on Quix Streams have in common: the application, topics, and what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from quixstreams import Application, message_context
from quixstreams.state import DEFAULT_STATE_STORE_NAME
from quixstreams.state.rocksdb import RocksDBOptions

from agents.ports import Limits
from bench.peers.rule_book import told
from schemas import codec
from schemas.events import Record
from schemas.topics import Topic

TOLD = told()
LIMITS = Limits(**TOLD.limits)
COMMIT_S = 0.5
POLL_S = 0.02
"""It asks for 10,000 records and waits so long for all of them; what is there of one topic waits for the others meanwhile."""
CACHE_BYTES = 192 << 20
"""Of blocks, over all stores; a gigabyte by default, which would be no fair share of memory."""
WRITE_BUFFER_BYTES = 8 << 20
"""Of one store, of which there are twelve in each program; 64 MiB by default."""


class Out(NamedTuple):
    """A record to be sent."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: dict[str, bytes] | None = None


def out(topic: Topic, key: bytes, row: Record, partition: int | None = None) -> Out:
    """Give the record of a row; without ``partition`` murmur2 of the key decides."""
    return Out(topic, key, codec.encode(row), partition)


def application(name: str) -> Application:
    """Give an application of the one group. Its transactional id is made up by Quix Streams, anew at each start."""
    return Application(
        broker_address=TOLD.bootstrap,
        consumer_group=f"{TOLD.prefix}quix",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_S,
        consumer_poll_timeout=POLL_S,
        state_dir=f"{TOLD.state}/{name}",
        rocksdb_options=RocksDBOptions(block_cache_size=CACHE_BYTES, write_buffer_size=WRITE_BUFFER_BYTES),
        consumer_extra_config={"fetch.queue.backoff.ms": 10, "session.timeout.ms": TOLD.session_timeout_ms},
        producer_extra_config={
            "linger.ms": 50,
            "batch.size": 262_144,
            # One request, as we have it: librdkafka may count a first batch that was refused as delivered with the second.
            "max.in.flight": 1,
            # Nobody but the broker ends the transaction of a program that died: the next one has another id.
            "transaction.timeout.ms": TOLD.transaction_timeout_ms,
        },
        loglevel="WARNING",
    )


def inputs_of(app: Application, topic: Topic) -> Any:
    """Give the dataframe of a topic, its values as bytes."""
    return app.dataframe(app.topic(TOLD.prefix + topic.name, value_deserializer="bytes"))


class Task(Protocol):
    """What is held in memory of one partition; all of it is in the state too."""

    state: Any
    """That of the record that is worked on: it is of a transaction."""


T = TypeVar("T", bound=Task)


def run(
    app: Application, inputs: Any, begin: Callable[[int, Any], T], work: Callable[[T, Any, bytes | None, int, Any], Iterator[Out]]
) -> None:
    """Run until SIGTERM: give each record with the task of its partition to ``work``, and send what it says.

    It is sent by the producer of the transaction: ``to_topic`` does the same, but takes no partition.
    """
    inputs.register_store()
    processing, stream_id = inputs.processing_context, inputs.stream_id
    tasks: dict[int, tuple[Any, T]] = {}

    def work_and_send(value: Any, key: bytes | None, timestamp: int, headers: Any) -> None:
        partition = message_context().partition
        state = processing.checkpoint.get_store_transaction(stream_id=stream_id, partition=partition).as_state()
        store = processing.state_manager.get_store(stream_id, DEFAULT_STATE_STORE_NAME).partitions[partition]
        held = tasks.get(partition)
        if held is None or held[0] is not store:  # it was given away and is back: somebody else went on with it meanwhile
            held = tasks[partition] = store, begin(partition, state)
        task = held[1]
        task.state = state
        for topic, out_key, content, out_partition, out_headers in work(task, value, key, timestamp, headers):
            processing.producer.produce(TOLD.prefix + topic.name, content, out_key, out_headers, out_partition)

    inputs.update(work_and_send, metadata=True)
    app.run()
