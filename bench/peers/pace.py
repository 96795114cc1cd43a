"""A plan that is sent at a pace, by a process of its own: who notes when rows come shares no interpreter with who sends."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench.product import Worker, running
from connectors.cluster import Cluster
from connectors.sources.generator import Plan, plan
from connectors.sources.publish import publish
from streams.settings import Settings

EVENTS_PER_ORDER = 3.0
"""Of a plan, some 3.04: what is made is enough for the time that is asked for."""
HEAD_RECORDS = 300
"""Sent ahead of the pace: every partition has some, and when they are committed the peer is up."""
SENDS = "sends"
"""Said when the plan is made; the pace follows when all is delivered."""


class Spec(msgspec.Struct, frozen=True):
    """What the sending process is told: where to, which plan, and how fast what comes after its head."""

    bootstrap_servers: str
    prefix: str
    orders: int
    seed: int
    events_per_s: float


@dataclass(frozen=True)
class Load:
    """A plan and its pace; the same arguments give the same records."""

    orders: int
    seed: int
    events_per_s: float

    @classmethod
    def lasting(cls, seconds: float, events_per_s: float, seed: int) -> Load:
        """Give a load of so many seconds or a little more."""
        return cls(math.ceil((seconds * events_per_s + HEAD_RECORDS) / EVENTS_PER_ORDER), seed, events_per_s)

    @cached_property
    def sent(self) -> Plan:
        """The whole plan."""
        return plan(self.orders, self.seed)

    @property
    def head(self) -> Plan:
        """What is sent ahead."""
        return Plan(self.sent.seed, self.sent.start_ms, self.sent.sent[:HEAD_RECORDS])

    @property
    def paced(self) -> Plan:
        """What is sent at the pace."""
        return Plan(self.sent.seed, self.sent.start_ms, self.sent.sent[HEAD_RECORDS:])


@contextmanager
def sending(load: Load, settings: Settings, folder: Path) -> Iterator[Worker]:
    """Send what is paced of a load in a process of its own, which ends when all is delivered."""
    spec = Spec(settings.bootstrap_servers, settings.prefix, load.orders, load.seed, load.events_per_s)
    spec_file = folder / "pace.spec.json"
    spec_file.write_bytes(msgspec.json.encode(spec))
    with running([sys.executable, "-m", "bench.peers.pace", str(spec_file)], folder / "pace.log") as sender:
        yield sender


def main() -> None:
    """Send what the spec file says, and say at what pace it was delivered, in events a second."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    load = Load(spec.orders, spec.seed, spec.events_per_s)
    paced = load.paced
    print(SENDS, flush=True)
    began_s = time.monotonic()
    publish(paced, Cluster(spec.bootstrap_servers), spec.prefix, events_per_s=spec.events_per_s)
    print(len(paced.sent) / (time.monotonic() - began_s))


if __name__ == "__main__":
    main()
