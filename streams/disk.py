"""Whether the disk of the stores has room.

RocksDB on a full disk can stop in the middle of a write and not come back before there is room: Kafka's thread would hang
in it, and the worker end. So nothing is begun while there is little room left. Where a store misses its room all the same
(others fill the disk, a quota is used up), it says so, and its task alone waits (``put_offs.py``).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What the operating system says of a full disk, a used-up quota, a file at its limit. RocksDB's errors are texts with it."""


def no_room(error: Exception) -> str:
    """Say that the disk has no room, if that is what a store's error is about; empty: it is about something else."""
    return f"the disk has no room for its store: {error}" if any(said in str(error) for said in FULL) else ""


def free_bytes(folder: Path) -> int:
    """Give the room on the disk of a folder, which need not be there yet, for who is not root."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize


class Disk:
    """The disk of ``folder``, of which ``needed_bytes`` are to be free."""

    def __init__(self, folder: Path, needed_bytes: int, free: Callable[[Path], int] = free_bytes) -> None:
        self._folder = folder
        self._needed_bytes = needed_bytes
        self._free = free

    def lack(self) -> str:
        """Say what is waited for while there is too little room; empty while there is enough."""
        if self._free(self._folder) >= self._needed_bytes:
            return ""
        return f"room on the disk of {self._folder}: {self._needed_bytes >> 20:,} MiB must be free"
