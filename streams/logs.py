"""A worker's log: readable lines on a terminal, one JSON object per line for everything else that reads it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TextIO

from mode import Service

from streams.errors import TallyError
from streams.settings import Settings

log = logging.getLogger(__name__)

CLIENT = logging.getLogger("librdkafka")
CLIENT_EVERY_S = 30.0
"""As often as a client itself repeats a line at most, where it notices that it is the same."""
CLIENT_LINES_MAX = 1_000
"""Different lines that are remembered."""
FIELDS = ("task", "epoch", "offset")
"""Of a line in JSON, where they are known, beside time, level, logger, worker and message; ``offset`` by ``topic/partition``."""
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_CONCERNS: ContextVar[Mapping[str, Any]] = ContextVar("concerns", default={})  # noqa: B039 - never changed in place


@contextmanager
def concerning(**fields: Any) -> Iterator[None]:
    """Say what the lines inside concern: ``task``, ``epoch``, ``offset``. ``extra`` of a line does the same for that line."""
    before = _CONCERNS.set({**_CONCERNS.get(), **fields})
    try:
        yield
    finally:
        _CONCERNS.reset(before)


def in_its_epoch(process: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Make the lines of a method that is given an epoch concern that epoch, and its task if it has only one."""

    @wraps(process)
    async def with_epoch(self: Any, epoch: Any, **options: Any) -> None:
        alone = {"task": epoch.tasks[0].name} if len(epoch.tasks) == 1 else {}
        with concerning(epoch=epoch.number, **alone):
            await process(self, epoch, **options)

    return with_epoch


class JsonFormatter(logging.Formatter):
    """One object per line; ``time`` is UTC in milliseconds."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {**_CONCERNS.get(), **{name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}}
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "worker": self._worker,
            **{name: known[name] for name in FIELDS if name in known},
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def is_json(settings: Settings, stream: TextIO) -> bool:
    """Tell whether lines on this stream are JSON."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())


def set_up(settings: Settings, level: str, stream: TextIO = sys.stderr) -> None:
    """Send the process's log to a stream, in the format that the settings say."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(settings.worker_id) if is_json(settings, stream) else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    CLIENT.filters = [Damped()]
    Service.mundane_level = "debug"  # that each part of Faust starts and stops says nothing about the work
    for noisy in ("faust", "mode", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class Repeats:
    """Which of equal lines to say: the first, then one in a while, with how many were left out. Pure: told the time."""

    def __init__(self, every_s: float = CLIENT_EVERY_S, lines_max: int = CLIENT_LINES_MAX) -> None:
        self._every_s = every_s
        self._lines_max = lines_max
        self._said: dict[str, tuple[float, int]] = {}

    def heard(self, line: str, at_s: float) -> int | None:
        """Give how many equal lines were left out since the last one that was said; None: leave this one out too."""
        said_s, left_out_count = self._said.get(line, (None, 0))
        if said_s is not None and at_s - said_s < self._every_s:
            self._said[line] = said_s, left_out_count + 1
            return None
        if said_s is None and len(self._said) >= self._lines_max:
            self._said.clear()
        self._said[line] = at_s, 0
        return left_out_count


class Damped(logging.Filter):
    """Keeps Kafka's clients from saying the same many times a second while a broker is away.

    Two lines are equal if they are of the same client and differ only in how long something took.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the first of equal lines through, and then one in a while, with a count of the others."""
        message = record.getMessage()
        left_out_count = self._repeats.heard(message.partition(" (after")[0], record.created)
        if left_out_count:
            record.msg, record.args = f"{message}; {left_out_count:,} more like it before", ()
        return left_out_count is not None


def client_log() -> dict[str, Any]:
    """Give what lets Kafka's client say by itself what it has to say, for clients that are polled.

    In text it writes its lines itself, at once. In JSON they are lines of the log, though not before the client is polled again.
    """
    as_json = any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
    return {"logger": CLIENT} if as_json else {}


@contextmanager
def end_in_json() -> Iterator[None]:
    """Say what ends the process as a line of the log too, and not as a sentence or a traceback between its lines."""
    try:
        yield
    except TallyError as error:
        log.critical("%s", error)
        sys.exit(error.exit_code)
    except Exception:
        log.critical("the worker ends by a defect", exc_info=True)
        sys.exit(1)
