"""The peers of `make bench-peers`: how each is built, started and configured. Each does the main job under its own prefix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec

from agents.ports import Limits
from bench.limit import Spec
from bench.main_topology import MAIN_WORKER
from bench.memory import SMALL_BUDGET_MB
from bench.peers.build import PEERS_FOLDER, maven_build, pom_versions, venv_build, venv_versions
from bench.peers.rule_book import Told
from bench.product import ROOT, ProductError, Worker, running, running_worker
from bench.report import SETTINGS
from schemas.catalogue import NEWEST
from schemas.currencies import DECIMALS
from schemas.topics import REVENUE_DELTAS, TOPICS
from streams.admin import admin_client, apply_topics
from streams.kafka_runtime import find_java
from streams.settings import Settings

JAVA_RULES = PEERS_FOLDER / "java-rules" / "peer"
KAFKA_STREAMS = PEERS_FOLDER / "kafka-streams"
FLINK = PEERS_FOLDER / "flink"
JVM_OPTIONS = ("-Xms512m", "-Xmx512m", "-XX:+UseParallelGC")
"""A heap of the product's memory budget, of one size from the beginning; the collector with the most throughput on few cores."""
JAVA_THREADS = 2
COMMIT_INTERVAL_MS = 500
"""Kafka Streams commits every 100 ms by default; its guide says to commit less often for throughput. Flink's checkpoints too."""
KAFKA_STREAMS_CACHE_BYTES = 64 << 20
"""Of records, over all tasks: an order's rows within one commit become one."""
FLINK_CACHE_BYTES = 192 << 20
"""Of RocksDB's blocks and write buffers, Flink's managed memory; as much as Kafka Streams has for them."""
FLINK_JVM_OPTIONS = (*JVM_OPTIONS, "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED")
"""Flink's own scripts open these packages of the JDK to it."""

STOCK_FAUST = PEERS_FOLDER / "stock_faust"
STOCK_FAUST_VENV = ROOT / "build" / "peers" / "stock_faust"
"""Its own environment: what it needs is no business of ours."""
QUIX = PEERS_FOLDER / "quix"
QUIX_VENV = ROOT / "build" / "peers" / "quix"


@dataclass(frozen=True)
class Run:
    """What a peer is started with: settings (broker, prefix, rules), a folder of its own, and the shape that the limit writes."""

    settings: Settings
    folder: Path
    shape_file: Path
    broker_pid: int


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    Attributes:
        name: as ``--peers`` has it.
        what: in one line.
        start: runs its processes.
        group_id: of its consumer group, by the settings it is started with.
        internal: topics it reads back what it wrote from, without the prefix.
        is_slow: whether it gets the smaller plan, or the others would wait for it for hours.
        is_ours: whether it leaves our markers, by which the judge knows how far it was in event time.
        is_exact: whether it promises exactly once; who does not may have wrong rows after a restart, and that is a figure.
        is_judged: whether its outputs must equal the truth; the limit decides nothing.
        ends_itself: whether it ends when everything is consumed; the others wait for more until SIGTERM.
        prepare: builds it.
        configuration: what of it bears on the figures; versions too.
        pair: runs two processes that share its work, the last of which may be killed; None: it has no such thing.
    """

    name: str
    what: str
    start: Callable[[Run], AbstractContextManager[list[Worker]]]
    group_id: Callable[[Settings], str]
    internal: tuple[str, ...] = (REVENUE_DELTAS.name,)
    is_slow: bool = False
    is_ours: bool = False
    is_exact: bool = True
    is_judged: bool = True
    ends_itself: bool = False
    prepare: Callable[[], None] = lambda: None
    configuration: Callable[[Settings], Mapping[str, Any]] = field(default=lambda _: {})
    pair: Callable[[Run], AbstractContextManager[list[Worker]]] | None = None


def twice(start: Callable[[Run], AbstractContextManager[list[Worker]]]) -> Callable[[Run], AbstractContextManager[list[Worker]]]:
    """Give what starts two processes of a peer in one group, each in a folder of its own."""

    @contextmanager
    def start_both(run: Run) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            workers: list[Worker] = []
            for number in (1, 2):
                folder = run.folder / f"process-{number}"
                folder.mkdir()
                workers += stack.enter_context(start(replace(run, folder=folder)))
            yield workers

    return start_both


# This product.


def _product(workers_count: int, **told: object) -> Callable[[Run], AbstractContextManager[list[Worker]]]:
    @contextmanager
    def start(run: Run) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            workers = []
            for number in range(1, workers_count + 1):
                changes = {"worker_id": f"b{number}", "home": run.folder / f"home-{number}", **told}
                settings = run.settings.model_copy(update=changes)
                log_file = run.folder / f"worker-{number}.log"
                workers.append(stack.enter_context(running_worker(settings, log_file, MAIN_WORKER)))
            yield workers

    return start


def _our_configuration(settings: Settings) -> Mapping[str, Any]:
    return {
        **{name: getattr(settings, name) for name in SETTINGS},
        "version": "this checkout",
        "confluent_kafka": str(confluent_kafka.version()),
        "librdkafka": str(confluent_kafka.libversion()[0]),
    }


# The limit.


@contextmanager
def _limit(run: Run) -> Iterator[list[Worker]]:
    if not run.shape_file.exists():
        raise ProductError("the limit has no records to imitate: no run of product-1 came to its end before it")
    output_prefix = _limit_prefix(run.settings.prefix)
    apply_topics(admin_client(run.settings), TOPICS, output_prefix)
    spec = Spec.of(run.settings, output_prefix=output_prefix, shape_file=run.shape_file, broker_pid=run.broker_pid)
    spec_file = run.folder / "limit.spec.json"
    spec_file.write_bytes(msgspec.json.encode(spec))
    with running([sys.executable, "-m", "bench.limit", str(spec_file)], run.folder / "limit.log") as worker:
        yield [worker]


def _limit_prefix(prefix: str) -> str:
    return f"{prefix}limit."


# Peers in Java: Kafka Streams, Flink.


def _java(
    folder: Path, options: Sequence[str], group: Callable[[str], str], cache_bytes: int
) -> Callable[[Run], AbstractContextManager[list[Worker]]]:
    @contextmanager
    def start(run: Run) -> Iterator[list[Worker]]:
        settings_file = run.folder / "peer.properties"
        said = java_properties(run.settings, run.folder, group(run.settings.prefix), cache_bytes)
        settings_file.write_text(properties_text(said), encoding="utf-8")
        java = find_java()
        assert java is not None  # noqa: S101 - it was built
        classes = os.pathsep.join([str(folder / "target" / "classes"), str(folder / "target" / "lib" / "*")])
        logging = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
        command = [java, *options, *logging, "-cp", classes, "peer.Main", str(settings_file)]
        with running(command, run.folder / f"{folder.name}.log") as worker:
            yield [worker]

    return start


def java_properties(settings: Settings, folder: Path, group: str, cache_bytes: int) -> dict[str, str]:
    """Give what a Java program is told: the cluster, the rules' limits, the catalogue's schema ids, and its tuning."""
    limits = ("dedup_horizon_ms", "waiting_max_ms", "grace_ms", "unpaid_after_ms", "keep_closed_ms", "future_max_ms")
    ids = {f"schema.{schema.name}": str(schema.schema_id) for schema in NEWEST.values()}
    return {
        "bootstrap": settings.bootstrap_servers,
        "prefix": settings.prefix,
        "application": group,
        "state": str(folder / "state"),
        "threads": str(JAVA_THREADS),
        "commit_interval_ms": str(COMMIT_INTERVAL_MS),
        "session_timeout_ms": str(settings.session_timeout_ms),
        "cache_bytes": str(cache_bytes),
        "currencies": ",".join(sorted(DECIMALS)),
        **{name: str(getattr(settings, name)) for name in limits},
        **ids,
    }


def properties_text(properties: Mapping[str, str]) -> str:
    """Give a file as java.util.Properties reads it."""
    escaped = ((name, value.replace("\\", "\\\\")) for name, value in properties.items())
    return "".join(f"{name}={value}\n" for name, value in escaped)


def _kafka_streams_group(prefix: str) -> str:
    return f"{prefix}streams"


_kafka_streams = _java(KAFKA_STREAMS, JVM_OPTIONS, _kafka_streams_group, KAFKA_STREAMS_CACHE_BYTES)


def _flink_group(prefix: str) -> str:
    return f"{prefix}flink"


def _kafka_streams_configuration(settings: Settings) -> Mapping[str, Any]:
    return {
        **pom_versions(KAFKA_STREAMS),
        "processing.guarantee": "exactly_once_v2",
        "num.stream.threads": JAVA_THREADS,
        "commit.interval.ms": COMMIT_INTERVAL_MS,
        "session.timeout.ms": settings.session_timeout_ms,
        "statestore.cache.max.bytes": KAFKA_STREAMS_CACHE_BYTES,
        "jvm": " ".join(JVM_OPTIONS),
    }


def _flink_configuration(_: Settings) -> Mapping[str, Any]:
    return {
        **pom_versions(FLINK),
        "execution.checkpointing.interval": f"{COMMIT_INTERVAL_MS} ms",
        "execution.checkpointing.incremental": True,
        "sink": "EXACTLY_ONCE",
        "parallelism": JAVA_THREADS,
        "state.backend.type": "rocksdb",
        "taskmanager.memory.managed.size": FLINK_CACHE_BYTES,
        "jvm": " ".join(FLINK_JVM_OPTIONS),
    }


# Peers in Python, each in an environment of its own: stock Faust, Quix Streams.


def told_in_python(run: Run) -> dict[str, str]:
    """Give the environment of a peer in Python; ``rule_book.py`` reads it."""
    limits = {limit.name: getattr(run.settings, limit.name) for limit in fields(Limits)}
    settings = run.settings
    said = Told(
        settings.bootstrap_servers,
        settings.prefix,
        str(run.folder / "state"),
        limits,
        settings.future_max_ms,
        settings.transaction_timeout_ms,
        settings.session_timeout_ms,
    )
    return {**os.environ, "PEER_TOLD": msgspec.json.encode(said).decode()}


@contextmanager
def _stock_faust(run: Run) -> Iterator[list[Worker]]:
    command = [str(STOCK_FAUST_VENV / "bin" / "python"), str(STOCK_FAUST / "app.py"), "worker", "--without-web"]
    with running([*command, "--loglevel", "warn"], run.folder / "faust.log", told_in_python(run)) as worker:
        yield [worker]


@contextmanager
def _quix(run: Run) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        workers = []
        for stage in ("revenue", "settlement"):
            command = [str(QUIX_VENV / "bin" / "python"), str(QUIX / f"{stage}.py")]
            workers.append(stack.enter_context(running(command, run.folder / f"quix-{stage}.log", told_in_python(run))))
        yield workers


def _venv_configuration(venv: Path, **own: str) -> Callable[[Settings], Mapping[str, Any]]:
    return lambda _: {**venv_versions(venv), **own}


def _group_of(settings: Settings) -> str:
    return settings.group_id


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "product-1", "this product, one worker", _product(1), _group_of, is_ours=True, configuration=_our_configuration,
            pair=_product(2),
        ),
        Peer("product-2", "this product, two workers", _product(2), _group_of, is_ours=True, configuration=_our_configuration),
        Peer(
            "product-small", f"this product, one worker with a memory budget of {SMALL_BUDGET_MB} MB, too small for columns",
            _product(1, memory_mb=SMALL_BUDGET_MB), _group_of, is_ours=True,
            configuration=lambda settings: {**_our_configuration(settings), "memory_mb": SMALL_BUDGET_MB},
        ),
        Peer(
            "limit", "Kafka's client alone with product-1's records", _limit,
            lambda settings: f"{_limit_prefix(settings.prefix)}limit",
            internal=(f"limit.{REVENUE_DELTAS.name}",), is_judged=False, ends_itself=True, configuration=_our_configuration,
        ),
        Peer(
            "kafka-streams", "Kafka Streams, Processor API, two threads", _kafka_streams,
            lambda settings: _kafka_streams_group(settings.prefix),
            prepare=maven_build(KAFKA_STREAMS), configuration=_kafka_streams_configuration, pair=twice(_kafka_streams),
        ),
        Peer(
            "flink", "Flink, keyed operators that bundle, parallelism two",
            _java(FLINK, FLINK_JVM_OPTIONS, _flink_group, FLINK_CACHE_BYTES),
            lambda settings: _flink_group(settings.prefix), internal=(),
            prepare=maven_build(FLINK), configuration=_flink_configuration,
        ),
        Peer(
            "quix", "Quix Streams, exactly once, two programs", _quix, lambda settings: f"{settings.prefix}quix",
            is_slow=True, prepare=venv_build(QUIX, QUIX_VENV, QUIX / "constraints.txt"),
            configuration=_venv_configuration(QUIX_VENV, processing_guarantee="exactly-once", store="rocksdb"),
            pair=twice(_quix),
        ),
        Peer(
            "faust", "stock Faust, at least once, one process", _stock_faust, lambda settings: f"{settings.prefix}faust",
            is_slow=True, is_exact=False, prepare=venv_build(STOCK_FAUST, STOCK_FAUST_VENV, ROOT / "constraints.txt"),
            configuration=_venv_configuration(STOCK_FAUST_VENV, processing_guarantee="at_least_once", store="rocksdb"),
            pair=twice(_stock_faust),
        ),
    )
}  # fmt: skip
