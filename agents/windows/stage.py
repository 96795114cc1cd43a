"""A stage of windows: deltas in, provisional rows out, and a final row for each window that the watermark has passed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import add
from typing import Any, TypeAlias

from agents.flows import MONEY, Flow, Movement, adjustment_key
from agents.ports import Batch, Runtime, Slot, Table, TableSpec
from agents.rowwise import Fold
from agents.windows.declared import Window
from agents.windows.watermarks import KEY, Sources, hear
from schemas.keys import dimensions_in, dimensions_text, row_key
from schemas.partitioning import partition_of
from schemas.topics import REVENUE_ADJUSTMENTS

CLOSED_MAX = 1_000
"""Windows of one aggregate and task that one epoch closes, so that a jump in time is no giant epoch; the next close the rest."""
_START_BYTES = 8
_Cell: TypeAlias = tuple[int, tuple[str, ...], int, tuple[int, ...]]
"""Task, dimensions, time and amounts."""


class Windows:
    """The windows of one stage, fed by ``sources_count`` tasks."""

    def __init__(self, runtime: Runtime, windows: Sequence[Window], watermarks: TableSpec[Sources], sources_count: int) -> None:
        self._watermarks = runtime.table(watermarks)
        self._tables: list[tuple[Window, Table[Any]]] = [(window, runtime.table(window.table)) for window in windows]
        self._limits = runtime.limits
        self._sources_count = sources_count

    def take(self, batch: Batch) -> None:
        """Add what came to its windows, then close those that are over."""
        slots = [(partition, KEY) for partition in batch.partitions]
        before = self._watermarks.get_many(slots)
        cells = self._hear(batch)
        for window, table in self._tables:
            cells[window] = self._add(batch, window, table, cells[window.of])
        arrived = {row.partition for row in batch.rows}
        for (partition, _), sources in self._watermarks.get_many(slots).items():
            was = before[partition, KEY]
            was_ms, is_ms = (each.watermark_ms if each else 0 for each in (was, sources))
            if is_ms > was_ms:
                batch.count(partition, "watermark_ms", is_ms - was_ms)
            if is_ms > was_ms or partition not in arrived:
                self._close(batch, partition, is_ms)

    def _hear(self, batch: Batch) -> defaultdict[Flow | Window, Iterable[_Cell]]:
        """Give what came for each flow, summed; enter it into the books."""
        sums: defaultdict[Flow, dict[tuple[int, tuple[str, ...], int], tuple[int, ...]]] = defaultdict(dict)
        books: Counter[tuple[int, str]] = Counter()
        for row, _, decision in Fold(batch, self._watermarks, lambda _: KEY, hear, self._facts_of):
            for output in decision.outputs:
                if isinstance(output, Movement):
                    flow, place = output.flow, (row.partition, output.dimensions, output.minute_ms)
                    known = sums[flow].get(place)
                    sums[flow][place] = output.amounts if known is None else tuple(map(add, known, output.amounts))
                else:
                    batch.emit(REVENUE_ADJUSTMENTS, adjustment_key(output), output)
                    if output.flow == MONEY.name:
                        for measure, amount in output.amounts.items():
                            books[row.partition, f"adjusted|{output.dimensions['currency']}|{measure}"] += amount
        for (partition, (_, currency), _), amounts in sums[MONEY].items():
            for measure, amount in zip(MONEY.measures, amounts, strict=True):
                books[partition, f"windowed|{currency}|{measure}"] += amount
        for (partition, name), amount in books.items():
            batch.count(partition, name, amount)
        cells: defaultdict[Flow | Window, Iterable[_Cell]] = defaultdict(list)
        for flow, by_place in sums.items():
            cells[flow] = [(*place, amounts) for place, amounts in by_place.items()]
        return cells

    def _facts_of(self, _: object) -> tuple[int, Any]:
        return self._sources_count, self._limits

    def _add(self, batch: Batch, window: Window, table: Table[Any], cells: Iterable[_Cell]) -> list[_Cell]:
        """Add cells to their windows and show these; give what they hold now."""
        adding, kept = window.adding, len(window.by)
        added: dict[Slot, Any] = {}
        for partition, dimensions, time_ms, amounts in cells:
            held = adding.of(dimensions, amounts)
            for start_ms in window.starts_ms(time_ms):
                slot = partition, _key(start_ms, dimensions[:kept])
                added[slot] = adding.add(added[slot], held) if slot in added else held
        after: dict[Slot, Any] = {}
        changed: list[_Cell] = []
        for slot, state in table.get_many(list(added)).items():
            held = added[slot] if state is None else adding.add(state.held, added[slot])
            after[slot] = adding.row(1 if state is None else state.revision + 1, held)
            start_ms, dimensions = _read(slot[1])
            self._show(batch, window, dimensions, start_ms, "provisional", after[slot])
            changed.append((slot[0], dimensions, start_ms, held))
        table.put_many(after)
        return changed

    def _close(self, batch: Batch, partition: int, watermark_ms: int) -> None:
        """Show the final row of each window that ended a grace ago, and forget it."""
        for window, table in self._tables:
            over_ms = watermark_ms - self._limits.grace_ms - window.size_ms
            if over_ms < 0:
                continue
            over = table.keys_below(partition, _start_bytes(over_ms + 1), CLOSED_MAX)
            if len(over) == CLOSED_MAX:
                batch.again(partition)
            states = table.get_many([(partition, key) for key in over])
            for (_, key), state in states.items():
                assert state is not None  # noqa: S101 - its key is there
                start_ms, dimensions = _read(key)
                last = window.adding.row(state.revision + 1, state.held)
                self._show(batch, window, dimensions, start_ms, "final", last)
            table.put_many(dict.fromkeys(states))

    def _show(self, batch: Batch, window: Window, dimensions: tuple[str, ...], start_ms: int, status: str, state: Any) -> None:
        if window.shows(state.held, self._limits):
            topic = window.topic
            row = window.row(dimensions, start_ms, status, state, self._limits)
            key = row_key(*dimensions, window_start_ms=start_ms).encode()
            batch.emit(topic, key, row, partition_of(dimensions[0], topic.partitions))


def _start_bytes(start_ms: int) -> bytes:
    return start_ms.to_bytes(_START_BYTES, "big")


def _key(start_ms: int, dimensions: tuple[str, ...]) -> bytes:
    """Begin with the time, so that the windows that are over are the first of the table."""
    return _start_bytes(start_ms) + dimensions_text(dimensions).encode()


@lru_cache(maxsize=65_536)
def _read(key: bytes) -> tuple[int, tuple[str, ...]]:
    return int.from_bytes(key[:_START_BYTES], "big"), dimensions_in(key[_START_BYTES:].decode())
