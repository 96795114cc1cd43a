"""A TCP proxy before a broker that loses what the end of a transaction is asked with, or answered with (EndTxn)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.local_broker import LocalBroker
from tests.support.workers import free_port

END_TXN = 26
"""The request's key in Kafka's protocol."""
_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
"""Key, version, correlation id: how every request begins. An answer begins with the correlation id."""


class Fault(Enum):
    """What happens to EndTxn; everything else passes."""

    NONE = "it passes"
    CUT = "the broker gets it and acts on it; instead of the answer the connection is cut, once"
    SILENCE = "the broker gets it and acts on it; no answer comes back on that connection any more"
    LOSS = "the broker never gets it, nor what comes after it on that connection"


class EndTxnProxy:
    """Listens on ``port`` and speaks to the broker behind it; a context manager. ``met`` counts the requests a fault took."""

    def __init__(self, broker_port: int, port: int) -> None:
        self.port = port
        self.met = 0
        self._fault = Fault.NONE
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: set[socket.socket] = {self._listener}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in list(self._open):
            _cut(each)

    def arm(self, fault: Fault) -> None:
        """Let the next EndTxn meet this fault, and those after it too (``CUT``: only the next); ``met`` starts over."""
        self.met, self._fault = 0, fault

    def lift(self) -> None:
        """Let new requests pass; what was lost stays lost."""
        self._fault = Fault.NONE

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                self._open |= {client, broker}
                lost: dict[int, Fault] = {}
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(client, broker, lost), daemon=True).start()

    def _requests(self, client: socket.socket, broker: socket.socket, lost: dict[int, Fault]) -> None:
        deaf = False
        for frame in _frames(client):
            key, _, correlation = _REQUEST.unpack_from(frame, _SIZE.size)
            if key == END_TXN and self._fault is not Fault.NONE:
                self.met += 1
                lost[correlation] = self._fault
                deaf = deaf or self._fault is Fault.LOSS
                if self._fault is Fault.CUT:
                    self._fault = Fault.NONE
            if not deaf:
                _send(broker, frame)
        _cut(broker)

    def _answers(self, client: socket.socket, broker: socket.socket, lost: dict[int, Fault]) -> None:
        silent = False
        for frame in _frames(broker):
            (correlation,) = _SIZE.unpack_from(frame, _SIZE.size)
            fault = lost.get(correlation, Fault.NONE)
            if fault is Fault.CUT:
                break
            silent = silent or fault is Fault.SILENCE
            if not silent:
                _send(client, frame)
        _cut(client)
        _cut(broker)


@contextmanager
def proxied_broker(folder: Path) -> Iterator[tuple[LocalBroker, EndTxnProxy]]:
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
    with broker, EndTxnProxy(behind, before) as proxy:
        yield broker, proxy


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Give whole requests or answers, with their size before them, until the connection ends."""
    with suppress(OSError), source.makefile("rb") as stream:
        while len(size := stream.read(_SIZE.size)) == _SIZE.size:
            yield size + stream.read(_SIZE.unpack(size)[0])


def _send(target: socket.socket, frame: bytes) -> None:
    with suppress(OSError):  # it is gone; its own pump will see that
        target.sendall(frame)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
