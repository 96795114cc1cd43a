"""The demo in a terminal: its live view, `k` that kills a worker by hand, `q` that ends it, and the terminal as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.local_broker import LocalBroker
from tests.e2e.demos import started, workers_of
from tests.support.workers import wait_for

ROWS, COLUMNS = 40, 120
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FOOT = "k kills a worker (SIGKILL)   q ends the demo"


class Terminal:
    """A pseudo-terminal: what is written to it is read all the time, and keys are pressed on it."""

    def __init__(self) -> None:
        self._hand, self.file = pty.openpty()
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._written = bytearray()
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """Everything written so far, each state of the live view after the other, without colours and movements."""
        return ESCAPES.sub("", self._written.decode(errors="replace")).replace("\r", "")

    @property
    def attributes(self) -> list[Any]:
        """How the terminal treats keys: with echo, by line, ..."""
        return termios.tcgetattr(self.file)

    def press(self, key: str) -> None:
        os.write(self._hand, key.encode())

    def close(self) -> None:
        self._closed.set()
        self._reader.join(5)
        os.close(self._hand)
        os.close(self.file)

    def _read(self) -> None:
        while not self._closed.is_set():
            if select.select([self._hand], [], [], 0.1)[0]:
                self._written += os.read(self._hand, 65_536)


@contextmanager
def demo_in_a_terminal(home: Path, broker: LocalBroker, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """Start the demo as the foreground of a terminal of its own."""
    terminal = Terminal()
    try:
        with started(
            home,
            broker.cluster,
            *arguments,
            environment={"TERM": "xterm-256color"},
            stdin=terminal.file,
            stdout=terminal.file,
            stderr=terminal.file,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as demo:
            yield demo, terminal
    finally:
        terminal.close()


def at_work(terminal: Terminal) -> bool:
    """True when the live view has shown that events are carried."""
    return re.search(r"steady +\d+\.\d s\n[^\n]*\n[1-9]\d* of ", terminal.text) is not None


def last_line(demo: subprocess.Popen[bytes], terminal: Terminal) -> str:
    """Wait for the end of the demo, and for the line that it ends with."""
    demo.wait(150)
    found: re.Match[str] = wait_for(
        "the last line", lambda: re.search(r"^((EXACT|WRONG|NOT RUN)\b.*)\n", terminal.text, re.MULTILINE), 5
    )
    return found[1]


def test_k_kills_a_worker_by_hand_and_the_demo_is_still_exact(broker: LocalBroker, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with demo_in_a_terminal(home, broker, "--orders", "1500", "--no-kill", "--keep") as (demo, terminal):
        before = terminal.attributes
        wait_for("events are carried", lambda: at_work(terminal))
        assert terminal.attributes != before, "keys would wait for Enter"
        terminal.press("k")
        wait_for("a worker is killed", lambda: re.search(r"w\d \(pid \d+\) killed by a signal", terminal.text))
        last = last_line(demo, terminal)
        assert terminal.attributes == before, "the terminal is left as the demo had it"
        assert workers_of(home) == []
    assert demo.returncode == 0, terminal.text
    assert last.startswith("EXACT revenue-by-merchant-1m "), last
    assert re.search(
        r"\| w[12] \(pid \d+\) killed by hand after about \d+ epochs, its tasks (answered after|had no lag)", last
    ), last
    assert FOOT in terminal.text, "the live view has no foot"
    assert re.search(r"\bw1 +\d+ +alive +[1-9]", terminal.text), "the live view shows no worker at work"
    assert re.search(r"\bw[12] +\d+ +killed\b", terminal.text), "the live view does not show the dead worker"
    assert re.search(r"\bw[12] +\d+ +(restarting|joining)\b", terminal.text), "nor its successor"


def test_q_ends_the_demo_with_3_and_no_worker_is_left(broker: LocalBroker, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with demo_in_a_terminal(home, broker, "--orders", "1500", "--no-kill", "--keep") as (demo, terminal):
        before = terminal.attributes
        wait_for("events are carried", lambda: at_work(terminal))
        assert len(workers_of(home)) == 2
        terminal.press("q")
        last = last_line(demo, terminal)
        assert terminal.attributes == before, "the terminal is left as the demo had it"
        assert workers_of(home) == []
    assert demo.returncode == 3, terminal.text
    assert re.match(r"NOT RUN: ended by hand after [\d,]+ of [\d,]+ events", last), last
