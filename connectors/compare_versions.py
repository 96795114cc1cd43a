"""Compares the rows of two versions of one topic, key by key. Pure.

``revision`` is not compared: it counts epochs, and these are cut otherwise each time. A window counts once it is final in
both; what is not yet is told apart, since it will still change.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple, TypeAlias

import msgspec

from connectors.reader import ReadRecord, latest_per_key
from connectors.rows import key_text
from schemas.codec import Undecodable, decode
from schemas.topics import CONTROL_TOTALS, TOPICS, Kind, Topic
from schemas.wire import FIXED, Wire

COMPARED = tuple(topic for topic in TOPICS if topic.kind is Kind.OUTPUT and topic is not CONTROL_TOTALS)
"""All outputs but the counters of tasks, which follow from where reading began."""
Row: TypeAlias = Mapping[str, Any]
_TIMES = ("window_start_ms", "placed_at_ms", "minute_ms", "occurred_at_ms")
"""Which field of a row says when it belongs, by the first that it has."""


class Difference(NamedTuple):
    """What stands under one key in both; None where there is no row."""

    key: str
    ours: Row | None
    theirs: Row | None


@dataclass
class TopicCompared:
    """How the rows of one topic stand: ``open_count`` are windows that are not final in both."""

    topic: Topic
    equal_count: int = 0
    open_count: int = 0
    before_count: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def different_count(self) -> int:
        """Rows that both have, and that differ."""
        return sum(each.ours is not None and each.theirs is not None for each in self.differences)

    @property
    def only_ours_count(self) -> int:
        """Rows that only the first one has."""
        return sum(each.theirs is None for each in self.differences)

    @property
    def only_theirs_count(self) -> int:
        """Rows that only the second one has."""
        return sum(each.ours is None for each in self.differences)


@dataclass(frozen=True)
class Side:
    """One version: its records, and whether a window of a partition that ended at a time has been closed."""

    records: Iterable[ReadRecord]
    is_over: Callable[[int, int], bool] = lambda _, __: True
    wire_of: Callable[[ReadRecord], Wire] = lambda _: FIXED


class _Placed(NamedTuple):
    partition: int
    row: Row


def compare_versions(topic: Topic, ours: Side, theirs: Side, since_ms: int = 0) -> TopicCompared:
    """Compare two versions of a topic; rows that belong to a time before ``since_ms`` are counted apart.

    Raises:
        Undecodable: a row cannot be read.
    """
    one, other = _rows(topic, ours), _rows(topic, theirs)
    compared = TopicCompared(topic)
    for key in sorted(one.keys() | other.keys()):
        pairs = _paired(one.get(key, []), other.get(key, []))
        for mine, their in pairs:
            _compare(compared, key, mine, their, (ours, theirs), since_ms)
    return compared


def _compare(
    compared: TopicCompared, key: str, mine: _Placed | None, their: _Placed | None, sides: tuple[Side, Side], since_ms: int
) -> None:
    known = mine or their
    assert known is not None  # noqa: S101 - one of both has the key
    if _time_of(known.row) < since_ms:
        compared.before_count += 1
    elif compared.topic.is_table and not _is_final(mine, their, sides):
        compared.open_count += 1
    elif mine is not None and their is not None and mine.row == their.row:
        compared.equal_count += 1
    else:
        compared.differences.append(Difference(key, mine and mine.row, their and their.row))


def _is_final(mine: _Placed | None, their: _Placed | None, sides: tuple[Side, Side]) -> bool:
    """Tell whether nothing can change: a row says it of itself; where there is none, the side has passed the window's end."""
    known = mine or their
    assert known is not None  # noqa: S101 - as above
    return all(
        side.is_over(known.partition, known.row["window_end_ms"]) if placed is None else placed.row["status"] == "final"
        for placed, side in zip((mine, their), sides, strict=True)
    )


def _rows(topic: Topic, side: Side) -> dict[str, list[_Placed]]:
    """Give the rows by key: of a table the last one, of a log all."""
    is_table = topic.is_table or topic.retention_ms is None
    found: defaultdict[str, list[_Placed]] = defaultdict(list)
    for record in latest_per_key(side.records).values() if is_table else side.records:
        value = decode(record.value, side.wire_of(record))
        if not isinstance(value, topic.values):
            raise Undecodable("unexpected_type", f"{record.topic} has a {type(value).__name__} at key {key_text(record.key)}")
        fields = {name: item for name, item in msgspec.structs.asdict(value).items() if name != "revision"}
        found[key_text(record.key)].append(_Placed(record.partition, msgspec.to_builtins(fields)))
    return found


def _paired(mine: list[_Placed], theirs: list[_Placed]) -> Iterable[tuple[_Placed | None, _Placed | None]]:
    """Give equal rows of a key together, then what is left, one beside the other."""
    if len(mine) <= 1 and len(theirs) <= 1:
        return zip_longest(mine, theirs)
    left = sorted(theirs, key=_text)
    equal, alone = [], []
    for each in sorted(mine, key=_text):
        twin = next((one for one in left if one.row == each.row), None)
        if twin is None:
            alone.append(each)
        else:
            left.remove(twin)
            equal.append((each, twin))
    return [*equal, *zip_longest(alone, left)]


def _text(placed: _Placed) -> str:
    return json.dumps(placed.row, sort_keys=True)


def _time_of(row: Row) -> int:
    return int(next(row[name] for name in _TIMES if name in row))
