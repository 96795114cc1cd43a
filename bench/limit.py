"""The limit: what Kafka's client alone does with the same records. The one definition of it.

It consumes the inputs (CRC checks on, read_committed), writes records of the sizes and to the
partitions that the product wrote for them, consumes the deltas among these too, and commits one
transaction with the input offsets for each batch. It decodes nothing, keeps nothing, decides nothing.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figures, Watch, own_watch
from bench.shape import Size, StageShape, load
from connectors.cluster import Cluster
from schemas.topics import BY_NAME, TOPICS
from streams.settings import Settings

STALL_S = 60.0
"""Without a record for so long something is broken; a transaction of a dead process is gone after 11 s."""
ATTEMPT_S = 30.0
"""Of one blocking call."""
SETTLE_S = 2.0
"""Between the assignment and the first record: two heartbeats, after which the member's epoch stays as it is.
The product restores its stores in this time, and neither is measured."""
ABORTS_MAX = 10
"""Of one batch. A member's epoch that moves meanwhile makes its transaction fail; it is done again, as the product does."""


class LimitError(Exception):
    """The limit cannot be measured; the sentence says why."""


class Spec(msgspec.Struct, frozen=True):
    """What the limit's process is told. Batch and waiting are the product's settings."""

    bootstrap_servers: str
    input_prefix: str
    output_prefix: str
    shape_file: str
    broker_pid: int
    group_protocol: str
    epoch_records_max: int
    epoch_wait_ms: int
    transaction_timeout_ms: int

    @classmethod
    def of(cls, settings: Settings, *, output_prefix: str, shape_file: Path, broker_pid: int) -> Spec:
        """Give the spec for the inputs and the settings of a product run."""
        return cls(
            settings.bootstrap_servers, settings.prefix, output_prefix, str(shape_file), broker_pid, settings.group_protocol,
            settings.epoch_records_max, settings.epoch_wait_ms, settings.transaction_timeout_ms,
        )  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """What the limit's process prints; ``epochs_count`` is committed transactions, ``aborts_count`` aborted ones."""

    figures: Figures
    epochs_count: int
    aborts_count: int


class Writer:
    """Writes the product's records of one stage, in step with how much of the stage's input was consumed."""

    def __init__(self, stage: StageShape, output_prefix: str) -> None:
        self.stage = stage
        self.consumed = 0
        self.written: Counter[str] = Counter()
        self._records = {
            topic: [(output_prefix + topic, _payload(size), _key(size), size.partition, _headers(size)) for size in sizes]
            for topic, sizes in stage.writes.items()
        }

    def due(self, consumed: int) -> Iterator[list[tuple[Any, ...]]]:
        """Give the records that stand for ``consumed`` more input records, topic by topic; all of them at the end."""
        self.consumed += consumed
        for topic, records in self._records.items():
            upto = len(records) * self.consumed // self.stage.read_records
            yield records[self.written[topic] : upto]
            self.written[topic] = upto


class Limit:
    """One run over the inputs from their beginning."""

    def __init__(self, spec: Spec, stages: tuple[StageShape, ...]) -> None:
        self._spec = spec
        self._watch: Watch = own_watch(spec.broker_pid)
        self._writers = [Writer(stage, spec.output_prefix) for stage in stages]
        self._topics = {self._named(topic, stages): writer for writer in self._writers for topic in writer.stage.reads}
        self._producer = Producer(producer_config(spec))
        self._consumer = Consumer(consumer_config(spec))
        self._positions: dict[tuple[str, int], int] = {}
        self.epochs_count = 0
        self.aborts_count = 0

    def run(self) -> Figures:
        """Consume everything, write everything, and give the figures.

        Raises:
            LimitError: the inputs gave nothing for a minute, or a record with an error.
            KafkaException: the cluster refused.
        """
        self._producer.init_transactions(ATTEMPT_S)
        self._join()
        begin = self._watch.now()
        self._consumer.resume(self._consumer.assignment())
        inputs_done = begin
        deadline = begin.at_s + STALL_S
        while left := self._records_left():
            # Never more than is there, or the last batch would wait for records that do not come.
            messages = self._consumer.consume(min(left, self._spec.epoch_records_max), self._spec.epoch_wait_ms / 1000)
            if messages:
                self._epoch(messages)
                if inputs_done is begin and self._writers[0].consumed == self._writers[0].stage.read_records:
                    inputs_done = self._watch.now()
                deadline = time.monotonic() + STALL_S
            elif time.monotonic() > deadline:
                raise LimitError(f"the limit's consumer got nothing for {STALL_S:.0f} s with {left} records left")
        end = self._watch.now()
        self._consumer.close()
        return Figures.between(self._writers[0].stage.read_records, begin, inputs_done, end, end.rss_bytes)

    def _join(self) -> None:
        """Own every partition, paused, with the group at rest. What came only after that would stay paused."""
        self._consumer.subscribe(sorted(self._topics), on_assign=self._on_assign)
        wanted_count = sum(BY_NAME[topic].partitions for writer in self._writers for topic in writer.stage.reads)
        deadline = time.monotonic() + STALL_S
        settled_at_s = deadline
        while time.monotonic() < settled_at_s:
            if self._consumer.consume(1, 0.1):
                raise LimitError("a paused consumer gave a record: librdkafka broke its contract")
            if settled_at_s == deadline and len(self._consumer.assignment()) == wanted_count:
                settled_at_s = time.monotonic() + SETTLE_S
        owned_count = len(self._consumer.assignment())
        if owned_count < wanted_count:
            raise LimitError(f"the limit's consumer was given {owned_count} of {wanted_count} partitions within {STALL_S:.0f} s")

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._spec.group_protocol == "consumer":
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        consumer.pause(partitions)

    def _named(self, topic: str, stages: tuple[StageShape, ...]) -> str:
        """Give the full name: what a stage writes is the limit's own, the rest are the product's inputs."""
        own = any(topic in stage.writes for stage in stages)
        return (self._spec.output_prefix if own else self._spec.input_prefix) + topic

    def _records_left(self) -> int:
        """Records that are there, or still being written, and not consumed; a later stage's grow while this goes on."""
        written: Counter[str] = Counter()
        for writer in self._writers:
            written += writer.written
        left = 0
        for writer in self._writers:
            internal = [written[topic] for topic in writer.stage.reads if any(topic in w.stage.writes for w in self._writers)]
            left += (sum(internal) if internal else writer.stage.read_records) - writer.consumed
        return left

    def _epoch(self, messages: list[Message]) -> None:
        consumed = Counter(message.topic() for message in messages)
        failed = [error for message in messages if (error := message.error()) is not None]
        if failed:
            raise LimitError(f"the limit's consumer got an error instead of a record: {failed[0].str()}")
        due = [records for topic, count in consumed.items() for records in self._topics[topic or ""].due(count)]
        moved = self._moved()
        for attempt in range(ABORTS_MAX):
            try:
                self._commit(due, moved)
            except KafkaException as error:
                if not error.args[0].txn_requires_abort() or attempt == ABORTS_MAX - 1:
                    raise
                self._producer.abort_transaction(ATTEMPT_S)
                self.aborts_count += 1
            else:
                self.epochs_count += 1
                return

    def _commit(self, due: list[list[tuple[Any, ...]]], moved: list[TopicPartition]) -> None:
        self._producer.begin_transaction()
        for records in due:
            self._produce(records)
        self._producer.send_offsets_to_transaction(moved, self._consumer.consumer_group_metadata(), ATTEMPT_S)
        self._producer.commit_transaction(ATTEMPT_S)

    def _produce(self, records: list[tuple[Any, ...]]) -> None:
        produce = self._producer.produce
        for topic, value, key, partition, headers in records:
            while True:
                try:
                    if headers is None:
                        produce(topic, value, key, partition)
                    else:
                        produce(topic, value, key, partition, headers=headers)
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break

    def _moved(self) -> list[TopicPartition]:
        """Give the positions that this batch moved."""
        moved = []
        for place in self._consumer.position(self._consumer.assignment()):
            where = (place.topic, place.partition)
            if place.offset >= 0 and self._positions.get(where) != place.offset:
                self._positions[where] = place.offset
                moved.append(place)
        return moved


def producer_config(spec: Spec) -> dict[str, Any]:
    """Give the producer's configuration: what ``streams/transaction.py`` sets (a test compares them), and the back-off.

    librdkafka tries AddOffsetsToTxn again with this back-off while the coordinator still ends the transaction before
    (confluentinc/confluent-kafka-python #967); its own 100 ms, doubling, would be most of the limit's time.
    """
    return {
        **Cluster(spec.bootstrap_servers).producer(),
        "client.id": f"{spec.output_prefix}limit",
        "transactional.id": f"{spec.output_prefix}limit",
        "transaction.timeout.ms": spec.transaction_timeout_ms,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "message.max.bytes": max(topic.max_message_bytes for topic in TOPICS),
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 100,
    }


def consumer_config(spec: Spec) -> dict[str, Any]:
    """Give the consumer's configuration: what ``streams/group.py`` sets, from the beginning on."""
    protocol = (
        {"group.protocol": "consumer", "group.remote.assignor": "range"}
        if spec.group_protocol == "consumer"
        else {"partition.assignment.strategy": "range"}
    )
    return {
        **Cluster(spec.bootstrap_servers).consumer(),
        "client.id": f"{spec.output_prefix}limit",
        **protocol,
        "group.id": f"{spec.output_prefix}limit",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "fetch.wait.max.ms": spec.epoch_wait_ms,
    }


@cache
def _bytes(size: int) -> bytes:
    """Bytes that no compression would shorten; one object for each size."""
    return random.Random(size).randbytes(size)


def _payload(size: Size) -> bytes | None:
    return None if size.value_bytes < 0 else _bytes(size.value_bytes)


def _key(size: Size) -> bytes | None:
    return None if size.key_bytes < 0 else _bytes(size.key_bytes)


def _headers(size: Size) -> list[tuple[str, bytes]] | None:
    """One header of the size of all: only dead letters have any."""
    return [("h", _bytes(size.header_bytes - 1))] if size.header_bytes else None


@click.command()
@click.argument("spec_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(spec_file: Path) -> None:
    """Measure the limit as SPEC_FILE says (JSON, the fields of Spec) and print the figures as JSON.

    bench/main_job.py makes the file and runs this in a process of its own. Exit code 1: it could not be measured.

    \b
    Example:
      python -m bench.limit /tmp/limit-spec.json
    """  # noqa: D301 - \b is click's word for "keep these lines"
    spec = msgspec.json.decode(spec_file.read_bytes(), type=Spec)
    limit = Limit(spec, load(Path(spec.shape_file)))
    gc.freeze()  # the records to write are no garbage: looking at them would be the limit's cost
    try:
        figures = limit.run()
    except (LimitError, KafkaException) as error:
        click.echo(f"limit: {error}", err=True)
        sys.exit(1)
    click.echo(msgspec.json.encode(Result(figures, limit.epochs_count, limit.aborts_count)))


if __name__ == "__main__":
    main()
