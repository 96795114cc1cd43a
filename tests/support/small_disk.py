"""``python -m tests.support.small_disk``: a worker whose home is a disk of its own, so small that a test can fill it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from tests.support.entry import main

DISK_MIB = 192
FILLER = "filler"
NEW_NAMESPACES = 0x00020000 | 0x10000000
"""CLONE_NEWNS and CLONE_NEWUSER: mounts of this process alone, which every user may make in a user namespace of his own."""
NOT_ALLOWED = 77


def take_small_disk(home: Path) -> None:
    """Mount a memory disk on ``home``, for this process alone.

    Raises:
        OSError: this system lets nobody do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    _check(libc.unshare(NEW_NAMESPACES))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    home.mkdir(parents=True, exist_ok=True)
    _check(libc.mount(b"tmpfs", str(home).encode(), b"tmpfs", 0, f"size={DISK_MIB}m".encode()))


def _check(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def filler_of(pid: int, home: Path) -> Path:
    """Give the file by which another process fills the small disk of the worker ``pid``."""
    return Path(f"/proc/{pid}/root{home.resolve()}/{FILLER}")


if __name__ == "__main__":
    own_home = Path(os.environ["TALLY_HOME"])
    try:
        take_small_disk(own_home)
    except OSError as error:
        print(f"no small disk: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(NOT_ALLOWED)
    (own_home / FILLER).write_bytes(bytes(int(os.environ.pop("TEST_FILL_MIB", "0")) << 20))
    sys.exit(main())
