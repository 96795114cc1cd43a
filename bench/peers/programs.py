"""The peers of `make bench-peers`: how each is built, started and configured. Each does the main job under its own prefix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import confluent_kafka
import msgspec

from agents.ports import Limits
from bench.limit import Spec
from bench.main_topology import MAIN_WORKER
from bench.peers.rule_book import Told
from bench.product import ROOT, ProductError, Worker, running, running_worker
from bench.report import SETTINGS
from schemas.catalogue import NEWEST
from schemas.currencies import DECIMALS
from schemas.topics import REVENUE_DELTAS, TOPICS
from streams.admin import admin_client, apply_topics
from streams.kafka_runtime import find_java
from streams.settings import Settings

KAFKA_STREAMS = ROOT / "bench" / "peers" / "kafka-streams"
JVM_OPTIONS = ("-Xms512m", "-Xmx512m", "-XX:+UseParallelGC")
"""A heap of the product's memory budget, of one size from the beginning; the collector with the most throughput on few cores."""
KAFKA_STREAMS_THREADS = 2
COMMIT_INTERVAL_MS = 500
"""Exactly-once commits every 100 ms by default; its guide says to commit less often for throughput."""
CACHE_BYTES = 64 << 20
"""Of records, over all tasks: an order's rows within one commit become one."""


STOCK_FAUST = ROOT / "bench" / "peers" / "stock_faust"
STOCK_FAUST_VENV = ROOT / "build" / "peers" / "stock_faust"
"""Its own environment: what it needs is no business of ours."""
QUIX = ROOT / "bench" / "peers" / "quix"
QUIX_VENV = ROOT / "build" / "peers" / "quix"


class BuildError(Exception):
    """A peer could not be built; the sentence says what is missing."""


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


def _product(workers_count: int) -> Callable[[Run], AbstractContextManager[list[Worker]]]:
    @contextmanager
    def start(run: Run) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            workers = []
            for number in range(1, workers_count + 1):
                changes = {"worker_id": f"b{number}", "home": run.folder / f"home-{number}"}
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


# Kafka Streams.


def _build_kafka_streams() -> None:
    maven = shutil.which("mvn")
    if find_java() is None or maven is None:
        raise BuildError("kafka-streams needs Java 17 or newer and Maven (`mvn`): install them, or leave it out with --peers")
    command = [maven, "-q", "-B", "-f", str(KAFKA_STREAMS / "pom.xml"), "process-classes"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        said = "\n".join((built.stdout + built.stderr).splitlines()[:10])
        raise BuildError(f"Maven could not build kafka-streams:\n{said}")


@contextmanager
def _kafka_streams(run: Run) -> Iterator[list[Worker]]:
    settings_file = run.folder / "peer.properties"
    settings_file.write_text(properties_text(kafka_streams_properties(run.settings, run.folder)), encoding="utf-8")
    target = KAFKA_STREAMS / "target"
    java = find_java()
    assert java is not None  # noqa: S101 - it was built
    classes = os.pathsep.join([str(target / "classes"), str(target / "lib" / "*")])
    logging = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
    command = [java, *JVM_OPTIONS, *logging, "-cp", classes, "peer.Main", str(settings_file)]
    with running(command, run.folder / "kafka-streams.log") as worker:
        yield [worker]


def kafka_streams_properties(settings: Settings, folder: Path) -> dict[str, str]:
    """Give what the Java program is told: the cluster, the rules' limits, the catalogue's schema ids, and its tuning."""
    limits = ("dedup_horizon_ms", "waiting_max_ms", "grace_ms", "unpaid_after_ms", "keep_closed_ms", "future_max_ms")
    ids = {f"schema.{schema.name}": str(schema.schema_id) for schema in NEWEST.values()}
    return {
        "bootstrap": settings.bootstrap_servers,
        "prefix": settings.prefix,
        "application": _kafka_streams_group(settings.prefix),
        "state": str(folder / "state"),
        "threads": str(KAFKA_STREAMS_THREADS),
        "commit_interval_ms": str(COMMIT_INTERVAL_MS),
        "session_timeout_ms": str(settings.session_timeout_ms),
        "cache_bytes": str(CACHE_BYTES),
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


def _kafka_streams_configuration(settings: Settings) -> Mapping[str, Any]:
    own = kafka_streams_properties(settings, Path())
    return {
        **pom_versions(KAFKA_STREAMS / "pom.xml"),
        "processing.guarantee": "exactly_once_v2",
        "num.stream.threads": own["threads"],
        "commit.interval.ms": own["commit_interval_ms"],
        "session.timeout.ms": own["session_timeout_ms"],
        "statestore.cache.max.bytes": own["cache_bytes"],
        "jvm": " ".join(JVM_OPTIONS),
    }


def pom_versions(pom: Path) -> dict[str, str]:
    """Give the properties of a pom that are versions."""
    name_space = "{http://maven.apache.org/POM/4.0.0}"
    found = ET.parse(pom).getroot().find(f"{name_space}properties")  # noqa: S314 - a file of this repository
    tags = {} if found is None else {each.tag.removeprefix(name_space): each.text or "" for each in found}
    return {name: text for name, text in tags.items() if name.endswith(".version")}


# Peers in Python, each in an environment of its own: stock Faust, Quix Streams.


def _build_venv(folder: Path, venv: Path, pins: Path) -> Callable[[], None]:
    """Give what makes a peer's own environment of the requirements in its folder, at the versions of ``pins``."""

    def build() -> None:
        requirements, stamp = folder / "requirements.txt", venv / "installed.txt"
        wanted = requirements.read_text(encoding="utf-8") + pins.read_text(encoding="utf-8")
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        constraints = ["-c", str(pins), "-r", str(requirements)]
        for command in ([sys.executable, "-m", "venv", "--clear", str(venv)], [*install, *constraints]):
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                said = "\n".join((made.stdout + made.stderr).splitlines()[:10])
                raise BuildError(f"the environment of {folder.name} could not be made:\n{said}")
        stamp.write_text(wanted, encoding="utf-8")

    return build


def told_in_python(run: Run) -> dict[str, str]:
    """Give the environment of a peer in Python; ``rule_book.py`` reads it."""
    limits = {limit.name: getattr(run.settings, limit.name) for limit in fields(Limits)}
    settings = run.settings
    said = Told(settings.bootstrap_servers, settings.prefix, str(run.folder / "state"), limits, settings.future_max_ms)
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
    def configuration(_: Settings) -> Mapping[str, Any]:
        asked = [str(venv / "bin" / "python"), "-m", "pip", "freeze", "--disable-pip-version-check"]
        frozen = subprocess.run(asked, capture_output=True, text=True, check=True)
        return {**dict(line.split("==") for line in frozen.stdout.splitlines() if line.count("==") == 1), **own}

    return configuration


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
            "limit", "Kafka's client alone with product-1's records", _limit,
            lambda settings: f"{_limit_prefix(settings.prefix)}limit",
            internal=(f"limit.{REVENUE_DELTAS.name}",), is_judged=False, ends_itself=True, configuration=_our_configuration,
        ),
        Peer(
            "kafka-streams", "Kafka Streams, Processor API, two threads", _kafka_streams,
            lambda settings: _kafka_streams_group(settings.prefix),
            prepare=_build_kafka_streams, configuration=_kafka_streams_configuration, pair=twice(_kafka_streams),
        ),
        Peer(
            "quix", "Quix Streams, exactly once, two programs", _quix, lambda settings: f"{settings.prefix}quix",
            is_slow=True, prepare=_build_venv(QUIX, QUIX_VENV, QUIX / "constraints.txt"),
            configuration=_venv_configuration(QUIX_VENV, processing_guarantee="exactly-once", store="rocksdb"),
        ),
        Peer(
            "faust", "stock Faust, at least once, one process", _stock_faust, lambda settings: f"{settings.prefix}faust",
            is_slow=True, is_exact=False, prepare=_build_venv(STOCK_FAUST, STOCK_FAUST_VENV, ROOT / "constraints.txt"),
            configuration=_venv_configuration(STOCK_FAUST_VENV, processing_guarantee="at_least_once", store="rocksdb"),
            pair=twice(_stock_faust),
        ),
    )
}  # fmt: skip
