"""A worker's identity on this host: whoever holds its state folder is that worker, and nobody else."""

from __future__ import annotations

import fcntl
from io import TextIOWrapper
from pathlib import Path

from streams.errors import WorkerIdInUseError


class Identity:
    """Holds a worker's state folder against a second worker of the same id; the kernel lets go when the process ends."""

    def __init__(self, worker_id: str, folder: Path) -> None:
        self._worker_id = worker_id
        self._folder = folder
        self._lock: TextIOWrapper | None = None

    def take(self) -> None:
        """Take the folder; make it if it is new.

        Raises:
            WorkerIdInUseError: another process holds it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = (self._folder / "LOCK").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise WorkerIdInUseError(
                f"worker {self._worker_id} runs on this host already (it holds {self._folder}); give this one another --id"
            ) from None
        self._lock = lock

    def release(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
