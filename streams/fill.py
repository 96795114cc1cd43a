"""One task on its way back: its changelog's records, collected and written to its store batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from schemas.topics import MARKER_KEY
from streams.disk import no_room
from streams.marker import Later, Refuse
from streams.store import StandsFor, StoreIdentity
from streams.tasks import Task

log = logging.getLogger(__name__)


class Fill:
    """One task on its way: collects its changelog's records and writes them to the store batch by batch.

    ``position`` is the changelog offset that reading begins at; ``obstacle`` what keeps the task from starting,
    None while nothing does.
    """

    def __init__(self, task: Task, identity: StoreIdentity, now_ms: Callable[[], int]) -> None:
        self.task = task
        self.obstacle: Refuse | Later | None = None
        self.position = 0
        self._identity = identity
        self._now_ms = now_ms
        self._changes: dict[str, dict[bytes, bytes | None]] = {}
        self._tables = {spec.name.encode(): spec.name for spec in task.stage.keeps} if task.stage else {}
        self._marker: bytes | None = None
        self._next: int | None = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Make what is raised inside this task's obstacle and nobody else's."""
        try:
            yield
        except Exception as error:
            if is_held(error):
                raise
            if full := no_room(error):
                self.obstacle = Later(full)
                return
            log.exception("task %s cannot be restored", self.task.name, extra={"task": self.task.name})
            self.obstacle = Refuse(f"its store cannot be restored: {type(error).__name__}: {error}")

    def add(self, message: Any) -> None:
        """Take one changelog record."""
        key, value = message.key(), message.value()
        name, _, row = (key or b"").partition(b"/")
        table = self._tables.get(name)
        if table is not None:
            self._changes.setdefault(table, {})[row] = value
        elif key == MARKER_KEY:
            self._marker = value
        else:
            self.obstacle = Refuse(
                f"its changelog has a record at offset {message.offset()} with the key {key!r}, which is of no table of the "
                "stage: another version or somebody else writes to it"
            )
        self._next = message.offset() + 1
        self.task.restored_records += 1

    def write(self, end: int | None) -> None:
        """Write what was collected; ``end`` is the changelog's end once it is reached."""
        if self.obstacle or (self._next is None and end is None):
            return
        store = self.task.store
        assert store is not None  # noqa: S101 - opened before
        before = store.stands_for
        newest = self._marker or (before.marker if before else None)
        offset = end if end is not None else self._next
        assert offset is not None  # noqa: S101 - one of them is set
        # Until the end is reached the store is as old as it was: tombstones may still be missing.
        applied_at_ms = self._now_ms() if end is not None or before is None else before.applied_at_ms
        store.apply(self._changes, StandsFor(self._identity, offset, applied_at_ms, newest))
        self._changes, self._next = {}, None


def is_held(error: Exception) -> bool:
    """Tell whether another process has the store open: then this worker is the one that must not run."""
    return any(said in str(error) for said in ("lock hold", "No locks available", "While lock file"))
