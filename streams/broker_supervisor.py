"""The process between an owner and its broker: ``python -m streams.broker_supervisor OPTIONS -- COMMAND``.

It starts the broker with COMMAND, writes its pid to standard output, and ends it when its own
standard input ends (the owner is gone), when no client came for ``--idle-s`` seconds, or by signal:
SIGTERM ends it in order, SIGUSR1 as a crash would. It ends with the broker's exit code.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import click
import psutil

from streams.context import read_context, update_context

STOP_GRACE_S = 10.0
"""From SIGTERM to SIGKILL; a clean stop takes 1-2 s."""
TICK_S = 0.1
"""How soon the end of the input, of the broker or of the idle time is seen."""
COUNT_EVERY_S = 5.0
"""Counting connections costs some milliseconds; half an hour need not be judged finer."""

BROKER_KEYS = ("bootstrap_servers", "pid", "pid_created_s", "kafka_pid", "kafka_pid_created_s", "kafka_container")
"""What `tally broker up` writes into the context, and whoever ends the broker takes out."""


def count_clients(port: int, broker_pid: int | None) -> int:
    """Count the TCP connections that clients have to the broker's ``port``.

    With ``broker_pid`` they are counted at the broker, without those it has to itself. Without (the broker is in
    a container) at their other end, as far as this user may see.
    """
    if broker_pid is not None:
        ours = [c for c in psutil.Process(broker_pid).net_connections(kind="tcp") if c.status == psutil.CONN_ESTABLISHED]
        own_ends = {tuple(c.laddr) for c in ours}
        return sum(c.laddr.port == port and tuple(c.raddr) not in own_ends for c in ours)
    clients = 0
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            # Another user's process, or one that just ended: neither is a client we could count.
            continue
        clients += sum(c.status == psutil.CONN_ESTABLISHED and tuple(c.raddr)[1:] == (port,) for c in connections)
    return clients


class Supervisor:
    """Starts one broker and decides, tick by tick, when it ends."""

    def __init__(self, command: list[str], *, folder: Path, port: int, container: str, idle_s: float) -> None:
        self._told: int = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        self._port = port
        self._container = container
        self._idle_s = idle_s
        now = time.monotonic()
        self._last_client_at, self._next_count_at = now, now
        with (folder / "broker.out").open("wb") as out:
            self._broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)  # noqa: S603
        self.went_idle = False

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._broker.pid

    def run(self) -> int:
        """Wait for one of the ends, end the broker if it still runs, and give its exit code."""
        while self._broker.poll() is None and not self._told:
            if self._idle_s:
                time.sleep(TICK_S)
                self.went_idle = self._is_idle(time.monotonic())
                if self.went_idle:
                    break
            elif select.select([sys.stdin], [], [], TICK_S)[0] and not os.read(sys.stdin.fileno(), 1):
                break
        self._end(by_crash=self._told == signal.SIGUSR1)
        return self._broker.returncode

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._told = number

    def _is_idle(self, now: float) -> bool:
        if now >= self._next_count_at:
            self._next_count_at = now + min(COUNT_EVERY_S, self._idle_s / 4)
            try:
                clients = count_clients(self._port, None if self._container else self.pid)
            except psutil.NoSuchProcess:
                return False  # it ended just now; the next tick sees that
            if clients:
                self._last_client_at = now
        return now - self._last_client_at > self._idle_s

    def _end(self, *, by_crash: bool) -> None:
        if self._broker.poll() is not None:
            return
        if not by_crash:
            self._broker.terminate()
            try:
                self._broker.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                by_crash = True
        if by_crash:
            if self._container:
                # Killing Docker's client would leave the container running.
                subprocess.run(["docker", "kill", self._container], capture_output=True, check=False)  # noqa: S603, S607
            self._broker.kill()
            self._broker.wait()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="of the broker; its output goes there")
@click.option("--port", type=int, required=True, help="on which clients come")
@click.option("--container", default="", help="its name, when Docker runs the broker")
@click.option("--idle-s", type=float, default=0.0, help="end after so long without a client; 0: when standard input ends")
@click.option("--context", type=click.Path(path_type=Path), help="take the broker's address out of this file at the end")
@click.argument("command", nargs=-1, required=True)
def main(folder: Path, port: int, container: str, idle_s: float, context: Path | None, command: tuple[str, ...]) -> None:
    """Run COMMAND, a broker, until its owner is gone."""
    supervisor = Supervisor(list(command), folder=folder, port=port, container=container, idle_s=idle_s)
    sys.stdout.write(f"{supervisor.pid}\n")
    sys.stdout.flush()
    code = supervisor.run()
    if context and read_context(context).get("pid") == os.getpid():
        update_context(context, dict.fromkeys(BROKER_KEYS))
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
