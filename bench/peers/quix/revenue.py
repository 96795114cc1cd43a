"""The minutes of merchants on Quix Streams, a program of its own.

In one with settlement its records would be put in the order of time with those of the inputs. For that Quix Streams reads each
topic to its end; what it has written itself and not committed is before the end, so each partition would wait for its own commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agents.flows import MINUTE_MS, MONEY, Movement, adjustment, adjustment_key
from bench.peers.quix.program import LIMITS, Out, application, inputs_of, out, run
from bench.peers.quix.slots import Agenda
from bench.peers.rule_book import Amounts, Place, added, minute_row
from schemas import topics
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS

MINUTE, OPEN, HEARD = b"m", b"a", b"h"

_packed = msgspec.msgpack.encode
_delta = msgspec.msgpack.Decoder(tuple[Place, Amounts]).decode
_told = msgspec.msgpack.Decoder(tuple[int, int]).decode
_place = msgspec.msgpack.Decoder(Place).decode
_minute = msgspec.msgpack.Decoder(tuple[int, Amounts]).decode
_heard = msgspec.msgpack.Decoder(list[int]).decode


class Windows:
    """The minutes of one partition, and how far the tasks before it are. All of it is in the state too."""

    def __init__(self, _partition: int, state: Any) -> None:
        self.state = state
        saved = state.get_bytes(HEARD)
        self._heard_ms = _heard(saved) if saved else [0] * PARTITIONS
        self._open = Agenda(OPEN, state)

    @property
    def _over_ms(self) -> int:
        return min(self._heard_ms) - LIMITS.grace_ms - MINUTE_MS

    def add(self, place: Place, amounts: Amounts) -> Iterator[Out]:
        """Add to one minute and show it; what meets a final one is an adjustment."""
        merchant_id, currency, minute_ms = place
        if minute_ms <= self._over_ms:
            row = adjustment(Movement(MONEY, (merchant_id, currency), minute_ms, amounts), "final")
            yield out(topics.REVENUE_ADJUSTMENTS, adjustment_key(row), row)
            return
        key = _packed(place)
        held = self.state.get_bytes(MINUTE + key)
        revision, sums = _minute(held) if held is not None else (0, (0,) * len(amounts))
        if held is None:
            self._open.add(self.state, minute_ms, key)
        revision, sums = revision + 1, added(sums, amounts)
        self.state.set_bytes(MINUTE + key, _packed((revision, sums)))
        yield _shown(place, "provisional", revision, sums)

    def hear(self, task: int, told_ms: int) -> Iterator[Out]:
        """Take how far a task is; say the final row of each minute that is over by that."""
        self._heard_ms[task] = told_ms
        self.state.set_bytes(HEARD, _packed(self._heard_ms))
        for key in self._open.take(self.state, self._over_ms):
            revision, sums = _minute(self.state.get_bytes(MINUTE + key))
            self.state.delete(MINUTE + key)
            yield _shown(_place(key), "final", revision + 1, sums)


def _shown(place: Place, status: str, revision: int, sums: Amounts) -> Out:
    partition = partition_of(place[0], PARTITIONS)
    return out(topics.REVENUE_BY_MERCHANT_1M, *minute_row(place, status, revision, sums), partition)


def main() -> None:
    """Run until SIGTERM."""
    app = application("revenue")

    def work(at: Windows, value: bytes, _key: bytes | None, _timestamp: int, _headers: Any) -> Iterator[Out]:
        return at.add(*_delta(value[1:])) if value[:1] == b"d" else at.hear(*_told(value[1:]))

    run(app, inputs_of(app, topics.REVENUE_DELTAS), Windows, work)


if __name__ == "__main__":
    main()
