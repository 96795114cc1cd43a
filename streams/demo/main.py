"""The demo: the main job on real Kafka with a worker killed half-way, judged row by row. Behind ``tally demo``."""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from confluent_kafka import KafkaException
from rich.console import Console

from connectors.audit import audited
from connectors.auditor import Auditor
from connectors.ground_truth import Truth, truth_of
from connectors.judge import Terms, judge
from connectors.reader import ReadError
from connectors.sources.generator import Plan, plan
from connectors.sources.publish import PublishError
from schemas.topics import DAY_MS, TOPICS
from streams.admin import admin_client, apply_topics, delete_topics
from streams.context import update_context
from streams.demo.result import NotRunError, Result
from streams.demo.run import Run
from streams.demo.workers import logs_folder, said_by
from streams.errors import RefusedError, TallyError
from streams.home_broker import broker_up
from streams.kafka_runtime import KAFKA_VERSION
from streams.local_broker import answers
from streams.own_cluster import announcement, check_allowed, cluster_id_of, remove
from streams.settings import Settings, load_settings

PREFIX = "demo-"
"""Of every demo's own prefix; on the local broker what is under it belongs to older demos and goes."""
MINUTE_MS = 60_000
CLUSTER_TIMEOUT_S = 10.0
"""For a cluster somewhere else to give its first answer."""


@dataclass(frozen=True)
class DemoOptions:
    """What is asked for. ``events_per_s`` paces the first part; None lets it take 8 s. ``keep``: see ``own_cluster.py``."""

    orders: int
    seed: int
    workers: int
    kill: bool
    events_per_s: float | None = None
    keep: bool = False


def run_demo(options: DemoOptions, console: Console) -> Result:
    """Run everything; what is in the way of a verdict becomes the result's reason. Nothing is left running but the broker.

    Raises:
        RefusedError: the cluster is somebody's, and nobody allowed it; nothing was made there.
    """
    result = Result(options.orders, options.seed, options.workers, options.kill)
    began_s = time.monotonic()
    try:
        with _sigterm_as_interrupt():
            _run(options, console, result)
    except KeyboardInterrupt:
        result.not_run = "ended by hand before the end"
    except RefusedError:
        raise
    except (TallyError, ReadError, PublishError) as error:
        result.not_run = str(error)
    except KafkaException as error:
        result.not_run = f"the cluster did not answer: {error.args[0].str()}"
    result.phases_s["total"] = time.monotonic() - began_s
    return result


def _run(options: DemoOptions, console: Console, result: Result) -> None:
    own = Settings()  # the environment alone: what the context says is the local broker's
    given, is_local = load_settings(), not own.bootstrap_servers
    with _only_demo(given), ExitStack() as afterwards:
        settings = _local(given, console, result) if is_local else _somebodys(given, console, result, keep=options.keep)
        if not (is_local or options.keep):
            afterwards.callback(_remove, settings, console, result)
        with _phase(result, "topics"):
            _topics(settings, console, is_local=is_local)
        run = Run(settings, options.workers, kill=options.kill, console=console, result=result)
        with run:
            with _phase(result, "plan"):
                made, truth = _plan(options, result, settings)
            run.carry(made.sent, options.events_per_s, orders=options.orders)
            with _phase(result, "windows"):
                codes = run.close_windows()
            result.remarks += [f"{worker} ended with {said_by(code)} after the events" for worker, code in codes.items() if code]
            with _phase(result, "stop"):
                codes = run.stop()
            result.remarks += [f"{worker} ended with {said_by(code)} at the end" for worker, code in codes.items() if code]
            with _phase(result, "judge"):
                verdict = judge(settings.cluster, settings.prefix, settings.group_id, truth, Terms.of(settings))
            with _phase(result, "audit"):
                result.verdict = audited(verdict, Auditor(settings.cluster, settings.prefix).cut())


def _local(given: Settings, console: Console, result: Result) -> Settings:
    """Start the local broker, and give the settings of this run, with a fresh prefix."""
    with _phase(result, "broker"):
        console.print("Kafka: starting the local broker (the first time its jars are downloaded) ...", soft_wrap=True)
        status, started = broker_up(given)
        result.kafka = status.kafka_version or KAFKA_VERSION
        up = f"started, and stays up: {_tally()} broker down ends it" if started else "was already up"
        console.print(f"Kafka: {result.kafka} at {status.bootstrap_servers}, {up}", soft_wrap=True)
    result.tail_command = _tail()
    return _named(given, result, status.bootstrap_servers, f"{_fresh_prefix()}.")


def _somebodys(given: Settings, console: Console, result: Result, *, keep: bool) -> Settings:
    """Say what will be made on the cluster that was named, and give the settings of this run if it is allowed.

    Raises:
        RefusedError: it is not; nothing was made.
    """
    servers = given.bootstrap_servers
    # Others may begin a demo there in the same second.
    settings = _named(given, result, servers, f"{_fresh_prefix()}-{uuid.uuid4().hex[:6]}.")
    with _phase(result, "broker"):
        if not answers(given.cluster, CLUSTER_TIMEOUT_S):
            raise NotRunError(f"the cluster at {servers} does not answer: check KAFKA_BOOTSTRAP_SERVERS, or unset it")
        cluster_id = cluster_id_of(admin_client(settings))
    for sentence in announcement(cluster_id, servers, settings.prefix, settings.group_id, keep=keep):
        console.print(sentence, soft_wrap=True)
    check_allowed(cluster_id, given.allow_cluster)
    if keep:
        # The context is the local broker's: what a demo leaves elsewhere is named by option.
        result.tail_command = f"{_tail()} --prefix {settings.prefix}"
    return settings


def _remove(settings: Settings, console: Console, result: Result) -> None:
    """Take away what this run made on somebody's cluster; what is left is said with the verdict."""
    console.print("removing what was made (the membership of a worker that was killed lasts up to 45 s) ...", soft_wrap=True)
    try:
        with _phase(result, "remove"):
            names = remove(admin_client(settings), settings.prefix, [settings.group_id])
    except TallyError as error:
        result.remarks.append(f"NOT REMOVED, prefix {settings.prefix}: {error}")
    else:
        result.remarks.append(f"{len(names)} topics and the group {settings.group_id} removed")


def _fresh_prefix() -> str:
    return f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _tail() -> str:
    return f"{_tally()} tail revenue-by-merchant-1m --limit 5"


def _named(given: Settings, result: Result, servers: str, prefix: str) -> Settings:
    result.prefix, result.bootstrap_servers = prefix, servers
    return given.model_copy(update={"bootstrap_servers": servers, "prefix": prefix, "version": ""})


def _topics(settings: Settings, console: Console, *, is_local: bool) -> None:
    """Take away what older demos of this home left, and make the topics anew."""
    admin = admin_client(settings)
    if is_local:
        delete_topics(admin, PREFIX)
    for old in (*(settings.home / "state").glob(f"{PREFIX}*"), *logs_folder(settings).glob(f"{PREFIX}*")):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    changes = apply_topics(admin, TOPICS, settings.prefix)
    if is_local:
        update_context(settings.context_file, {"prefix": settings.prefix})
    console.print(f"topics: {len(changes)} made under the prefix {settings.prefix}")


def _plan(options: DemoOptions, result: Result, settings: Settings) -> tuple[Plan, Truth]:
    """Make the orders, up to the last minute of a day that is over, and the right answer."""
    result.start_ms = last_minute_ms(time.time_ns() // 1_000_000, settings.grace_ms)
    made = plan(options.orders, options.seed, result.start_ms)
    result.events_count = len(made.sent)
    return made, truth_of(made)


def last_minute_ms(now_ms: int, grace_ms: int) -> int:
    """Give the last minute of the newest day of which every window can be final now; an hour of ``alerts`` reaches beyond it.

    Always the same minute of a day: the same seed then gives the same number of rows whenever it is run.
    """
    return (now_ms - grace_ms - 61 * MINUTE_MS) // DAY_MS * DAY_MS - MINUTE_MS


def _tally() -> str:
    """Give how this command was called, as short as it still works from here."""
    called = Path(sys.argv[0])
    if called.name != "tally":
        return "tally"
    cwd = Path.cwd()
    return str(called.relative_to(cwd)) if called.is_absolute() and called.is_relative_to(cwd) else str(called)


@contextmanager
def _only_demo(settings: Settings) -> Iterator[None]:
    """Keep a second demo of this home away: it would delete the topics of this one."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotRunError(
                f"another demo runs in {settings.home}: wait for its end, or set TALLY_HOME to another folder"
            ) from None
        yield


@contextmanager
def _phase(result: Result, name: str) -> Iterator[None]:
    began_s = time.monotonic()
    try:
        yield
    finally:
        result.phases_s[name] = time.monotonic() - began_s


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, workers and terminal included."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
