"""A TCP proxy before a broker, which takes Kafka's requests and answers apart one by one."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from streams.local_broker import LocalBroker
from tests.support.workers import free_port

SIZE = struct.Struct(">i")
"""Before every request and answer. An answer goes on with the correlation id, of the same shape."""
REQUEST = struct.Struct(">hhi")
"""Key, version, correlation id: how every request goes on."""


class Link(NamedTuple):
    """One client's connection, and the one to the broker that stands for it."""

    client: socket.socket
    broker: socket.socket

    def to_client(self, frame: bytes) -> None:
        _send(self.client, frame)

    def to_broker(self, frame: bytes) -> None:
        _send(self.broker, frame)


class Proxy:
    """Listens on ``port`` and speaks to the broker behind it; a context manager. Everything passes, unless a subclass minds."""

    def __init__(self, broker_port: int, port: int) -> None:
        self.port = port
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: set[socket.socket] = {self._listener}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in list(self._open):
            _cut(each)

    def requests(self, link: Link) -> None:
        """Carry a client's requests, on a thread of its own, until it is gone."""
        for frame in frames(link.client):
            link.to_broker(frame)

    def answers(self, link: Link) -> None:
        """Carry the broker's answers, on a thread of its own, until it is gone or the connection is to be cut."""
        for frame in frames(link.broker):
            link.to_client(frame)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                link = Link(client, socket.create_connection(("127.0.0.1", self._broker_port)))
                self._open |= set(link)
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(link,), daemon=True).start()

    def _requests(self, link: Link) -> None:
        self.requests(link)
        _cut(link.broker)

    def _answers(self, link: Link) -> None:
        self.answers(link)
        _cut(link.client)
        _cut(link.broker)


P = TypeVar("P", bound=Proxy)


@contextmanager
def proxied_broker(folder: Path, make: Callable[[int, int], P]) -> Iterator[tuple[LocalBroker, P]]:
    """Start a broker with a second listener that is advertised as the proxy's port: who comes by the proxy stays on it."""
    broker = LocalBroker(folder)
    behind, before = free_port(), free_port()
    listeners = {"CLIENTS": broker.broker_port, "PROXIED": behind, "CONTROLLER": broker._controller_port}
    advertised = {"CLIENTS": broker.broker_port, "PROXIED": before}
    broker.extra_properties |= {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
    }
    with broker, make(behind, before) as proxy:
        yield broker, proxy


def frames(source: socket.socket) -> Iterator[bytes]:
    """Give whole requests or answers, with their size before them, until the connection ends."""
    with suppress(OSError), source.makefile("rb") as stream:
        while len(size := stream.read(SIZE.size)) == SIZE.size:
            yield size + stream.read(SIZE.unpack(size)[0])


def _send(target: socket.socket, frame: bytes) -> None:
    with suppress(OSError):  # it is gone; its own pump will see that
        target.sendall(frame)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
