"""Wherever an audit catches the markers, the cut that it makes of them balances, and goes no further than it must."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from connectors.audit import ALL, Carried, Cut, closed, in_flight, is_within
from schemas.events import Source

TASKS = 5
PARTITIONS = 3
OF = ("EUR", "gross_minor")


@dataclass(frozen=True)
class Committed:
    """One transaction of settlement: what each of its tasks booked in it, and to which partition of the deltas that went."""

    booked: dict[int, int]
    partition: int


TRANSACTIONS = st.lists(
    st.builds(
        Committed,
        st.dictionaries(st.integers(0, TASKS - 1), st.integers(1, 1_000), min_size=1, max_size=TASKS),
        st.integers(0, PARTITIONS - 1),
    ),
    max_size=30,
)


@dataclass
class History:
    """All that was ever committed: the markers of each task, and the records of each partition."""

    booked: dict[int, list[int]]
    records: dict[int, list[Carried]]


def history(transactions: list[Committed]) -> History:
    booked = {task: [0] for task in range(TASKS)}
    records: dict[int, list[Carried]] = {partition: [] for partition in range(PARTITIONS)}
    for transaction in transactions:
        for task, amount in transaction.booked.items():
            booked[task].append(booked[task][-1] + amount)
        sources = tuple(Source(task, len(booked[task]) - 1, 0, idle=False) for task in transaction.booked)
        # As where there are more cells than one record takes: two records of the same sources.
        total = sum(transaction.booked.values())
        records[transaction.partition] += [
            Carried(sources, Counter({OF: part})) for part in (total // 2, total - total // 2)
        ]  # fmt: skip
    return History(booked, records)


@given(TRANSACTIONS, st.data())
def test_markers_caught_at_any_moments_make_a_cut_that_balances(transactions: list[Committed], data: st.DataObject) -> None:
    told = history(transactions)
    positions = {partition: data.draw(st.integers(0, len(records))) for partition, records in told.records.items()}
    read = [record for partition, records in told.records.items() for record in records[: positions[partition]]]
    unread = [record for partition, records in told.records.items() for record in records[positions[partition] :]]
    # What revenue had read was committed before settlement's markers were looked for: none of them is older.
    least = dict.fromkeys(range(TASKS), 0)
    for record in read:
        least |= {source.partition: max(least[source.partition], source.epoch) for source in record.sources}
    caught = {task: data.draw(st.integers(least[task], len(told.booked[task]) - 1)) for task in range(TASKS)}

    epochs = closed(caught, unread)

    assert all(epochs[task] >= caught[task] for task in range(TASKS))
    booked = sum(told.booked[task][epochs[task]] for task in range(TASKS))
    counters = {f"settlement/{task}": _settled(told.booked[task][epochs[task]]) for task in range(TASKS)}
    windowed = {
        f"revenue/{partition}": {"windowed|EUR|gross_minor": sum(record.money[OF] for record in records[: positions[partition]])}
        for partition, records in told.records.items()
    }
    cut = Cut({**counters, **windowed}, in_flight(epochs, unread))
    assert cut.wrong == []
    assert [line.total for line in cut.lines if line.where == ALL] == ([("accepted", booked)] if booked or windowed else [])

    # A lost record that the cut has is missed, and one that it has not is not.
    for place, lost in enumerate(unread):
        less = Cut({**counters, **windowed}, in_flight(epochs, [*unread[:place], *unread[place + 1 :]]))
        assert bool(less.wrong) == (is_within(epochs, lost) and lost.money[OF] != 0)


@given(TRANSACTIONS, st.data())
def test_a_cut_is_closed_and_the_least_that_is(transactions: list[Committed], data: st.DataObject) -> None:
    told = history(transactions)
    records = [record for some in told.records.values() for record in some]
    caught = {task: data.draw(st.integers(0, len(told.booked[task]) - 1)) for task in range(TASKS)}
    epochs = closed(caught, records)
    assert closed(epochs, records) == epochs
    for record in records:
        halves = {source.epoch <= epochs[source.partition] for source in record.sources}
        assert len(halves) == 1, "a transaction is split"
    other = closed({task: data.draw(st.integers(caught[task], len(told.booked[task]) - 1)) for task in range(TASKS)}, records)
    assert all(epochs[task] <= other[task] for task in range(TASKS)), "another one at or behind it goes less far"


def _settled(amount: int) -> dict[str, int]:
    return {"accepted|EUR|gross_minor": amount, "booked|EUR|gross_minor": amount} if amount else {}
