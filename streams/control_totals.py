"""What tasks have counted, for people who add up: rows of ``control-totals``, from the counters that markers have. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from schemas.aggregates import AccountTotals, ControlTotals
from schemas.codec import PREFIXES, encode
from schemas.events import MEASURES
from schemas.topics import CONTROL_TOTALS
from streams.batch import StageRecords
from streams.effects import Output
from streams.tasks import Task

ACCOUNTS = ("accepted", "booked", "windowed", "waiting", "adjusted", "unmatched")
"""Beginnings of counters such as ``accepted|EUR|captured_minor``, in the order of the Avro fields."""
_DEAD = "dead|"
_ACCOUNTS = tuple(f"{name}|" for name in ACCOUNTS)


def control_totals(task: str, epoch: int, counters: Mapping[str, int]) -> ControlTotals:
    """Give a task's row."""
    accounts: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for counter, amount in counters.items():
        if counter.startswith(_ACCOUNTS):
            name, currency, measure = counter.split("|")
            accounts[currency, measure][name] = amount
    in_order = sorted(accounts.items(), key=lambda item: (item[0][0], MEASURES.index(item[0][1])))
    return ControlTotals(
        task=task,
        epoch=epoch,
        consumed=counters.get("consumed", 0),
        applied=counters.get("applied", 0),
        duplicates=counters.get("duplicates", 0),
        dead=counters.get("dead", 0),
        dead_by_reason={name.removeprefix(_DEAD): count for name, count in counters.items() if name.startswith(_DEAD)},
        accounts=tuple(AccountTotals(*of, *(sums.get(name, 0) for name in ACCOUNTS)) for of, sums in in_order),
    )


def rows(
    stages: Mapping[str, StageRecords], added: Mapping[Task, Mapping[str, int]], counters: Mapping[Task, Mapping[str, int]]
) -> Iterator[Output]:
    """Give the records of one epoch: of each task whose totals it changes. ``counters`` are those after the epoch."""
    for records in stages.values():
        topic = CONTROL_TOTALS.of(records.stage.version)
        if topic in records.stage.writes:
            prefixes = records.wire.prefixes.get(topic.name, PREFIXES)
            for task in records.tasks.values():
                if any(amount and _is_total(name) for name, amount in added.get(task, {}).items()):
                    row = control_totals(task.name, task.foreseen.epoch + 1, counters[task])
                    yield Output(topic.named(records.prefix), task.name.encode(), encode(row, prefixes))


def _is_total(counter: str) -> bool:
    return counter in {"consumed", "applied", "duplicates", "dead"} or counter.startswith(_ACCOUNTS)
