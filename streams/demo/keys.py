"""Single keys from the terminal, without Enter; the terminal is put back as it was, whatever happens."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Self


class Keys:
    """A context manager; when standard input is no terminal there are no keys, and waiting is all that is left."""

    def __init__(self) -> None:
        self._file = -1
        self._before: list[Any] = []
        self._hung_up = False

    def __enter__(self) -> Self:
        # In the background the terminal is somebody else's, and changing it would stop this process.
        if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    @property
    def here(self) -> bool:
        """True when somebody can press one."""
        return bool(self._before)

    def wait(self, timeout_s: float) -> str:
        """Give the keys pressed within ``timeout_s``, or nothing after it."""
        if not self.here or self._hung_up:
            time.sleep(timeout_s)
            return ""
        ready, _, _ = select.select([self._file], [], [], timeout_s)
        pressed = os.read(self._file, 64) if ready else b""
        self._hung_up = bool(ready) and not pressed
        return pressed.decode(errors="replace")
