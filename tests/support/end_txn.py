"""A proxy before a broker that loses what the end of a transaction is asked with, or answered with (EndTxn)."""

from __future__ import annotations

from enum import Enum

from tests.support.proxy import REQUEST, SIZE, Link, Proxy, frames

END_TXN = 26
"""The request's key in Kafka's protocol."""


class Fault(Enum):
    """What happens to EndTxn; everything else passes."""

    NONE = "it passes"
    CUT = "the broker gets it and acts on it; instead of the answer the connection is cut, once"
    SILENCE = "the broker gets it and acts on it; no answer comes back on that connection any more"
    LOSS = "the broker never gets it, nor what comes after it on that connection"


class EndTxnProxy(Proxy):
    """``met`` counts the requests that a fault took."""

    def __init__(self, broker_port: int, port: int) -> None:
        super().__init__(broker_port, port)
        self.met = 0
        self._fault = Fault.NONE
        self._lost: dict[tuple[Link, int], Fault] = {}

    def arm(self, fault: Fault) -> None:
        """Let the next EndTxn meet this fault, and those after it too (``CUT``: only the next); ``met`` starts over."""
        self.met, self._fault = 0, fault

    def lift(self) -> None:
        """Let new requests pass; what was lost stays lost."""
        self._fault = Fault.NONE

    def requests(self, link: Link) -> None:
        deaf = False
        for frame in frames(link.client):
            key, _, correlation = REQUEST.unpack_from(frame, SIZE.size)
            if key == END_TXN and self._fault is not Fault.NONE:
                self.met += 1
                self._lost[link, correlation] = self._fault
                deaf = deaf or self._fault is Fault.LOSS
                if self._fault is Fault.CUT:
                    self._fault = Fault.NONE
            if not deaf:
                link.to_broker(frame)

    def answers(self, link: Link) -> None:
        silent = False
        for frame in frames(link.broker):
            (correlation,) = SIZE.unpack_from(frame, SIZE.size)
            fault = self._lost.get((link, correlation), Fault.NONE)
            if fault is Fault.CUT:
                break
            silent = silent or fault is Fault.SILENCE
            if not silent:
                link.to_client(frame)
