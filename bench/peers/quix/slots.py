"""Values of a task that must be found again without their keys: a State of Quix Streams has no scan, so they get numbers."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from struct import Struct
from typing import Any

import msgspec

_number = Struct(">I")
_packed = msgspec.msgpack.encode
_count = msgspec.msgpack.Decoder(int).decode
_due = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


class Slots:
    """Numbered values in a state, with the numbers that are free. What was freed is taken again first."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._count = 0
        self._free: list[int] = []

    def load(self, state: Any) -> Iterator[tuple[int, bytes]]:
        """Take what the state has; give numbers and values."""
        count = state.get_bytes(self._name)
        self._count = _count(count) if count else 0
        for slot in range(self._count):
            value = state.get_bytes(self._key(slot))
            if value is None:
                self._free.append(slot)
            else:
                yield slot, value

    def add(self, state: Any, value: bytes) -> int:
        """Keep a value; give its number."""
        if self._free:
            slot = self._free.pop()
        else:
            slot, self._count = self._count, self._count + 1
            state.set_bytes(self._name, _packed(self._count))
        self.set(state, slot, value)
        return slot

    def set(self, state: Any, slot: int, value: bytes) -> None:
        """Keep another value under a number."""
        state.set_bytes(self._key(slot), value)

    def free(self, state: Any, slot: int) -> None:
        """Forget a value."""
        state.delete(self._key(slot))
        self._free.append(slot)

    def _key(self, slot: int) -> bytes:
        return self._name + _number.pack(slot)


class Agenda:
    """Keys and when they are due. The same key may be there more than once; who takes it looks whether it still is due."""

    def __init__(self, name: bytes, state: Any) -> None:
        self._slots = Slots(name)
        self._due = sorted((*_due(value), slot) for slot, value in self._slots.load(state))

    def add(self, state: Any, due_ms: int, key: bytes) -> None:
        """Note that a key is due."""
        heappush(self._due, (due_ms, key, self._slots.add(state, _packed((due_ms, key)))))

    def take(self, state: Any, until_ms: int) -> Iterator[bytes]:
        """Give the keys that are due, the longest due first, and forget them."""
        while self._due and self._due[0][0] <= until_ms:
            _, key, slot = heappop(self._due)
            self._slots.free(state, slot)
            yield key
