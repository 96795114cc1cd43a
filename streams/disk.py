"""Whether the disk of the stores has room.

RocksDB on a full disk stops in the middle of a write and does not come back before there is room: Kafka's thread would hang
in it, and the worker end. So nothing is begun while there is little room left.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


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
