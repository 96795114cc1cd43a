"""Whether the books balance: what must add up in the counters of all tasks, and at which moment to look. Pure.

Counters stand in markers, one for each epoch of a task. A transaction carries one epoch of several tasks, so markers can
only be added up at a cut that splits no transaction of settlement (:func:`closed`); ARCHITECTURE.md says why that is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from connectors.balance import account, outcomes_of
from connectors.ground_truth import Money
from connectors.verdict import Problem, Rows, Verdict
from schemas.currencies import money
from schemas.events import MEASURES, Deltas, Source
from schemas.topics import CUSTOMERS_CHANGELOG, REVENUE_CHANGELOG, SETTLEMENT_CHANGELOG

STAGES = {"settlement": SETTLEMENT_CHANGELOG, "revenue": REVENUE_CHANGELOG, "customers": CUSTOMERS_CHANGELOG}
"""Where the markers of each stage stand."""
ALL = "all tasks"
RECORDS = "records"
DEAD_LETTERS = "dead letters"
_FLOW = "money"
"""The flow that is in the books; its first two dimensions are merchant and currency."""
_DEAD = "dead|"


class Carried(NamedTuple):
    """What one record of ``revenue-deltas`` carries: the tasks and epochs it comes from, and its money."""

    sources: tuple[Source, ...]
    money: Money


class Line(NamedTuple):
    """``total`` and the ``terms`` that must add up to it; ``of`` is a currency and measure, or what is counted."""

    where: str
    of: tuple[str, ...]
    total: tuple[str, int]
    terms: tuple[tuple[str, int], ...]

    @property
    def difference(self) -> int:
        """What is missing in the terms; 0 when the line holds."""
        return self.total[1] - sum(amount for _, amount in self.terms)

    def said(self, amount: int) -> str:
        """Give an amount of this line for people: money with the decimals of its currency, or a count."""
        return money(self.of[0], amount) if self.of[-1].endswith("_minor") else f"{amount:,}"

    @property
    def name(self) -> str:
        """Which line it is."""
        return f"{self.where}, {' '.join(self.of)}"

    @property
    def equation(self) -> str:
        """The line as people write it, with what is wrong with it."""
        name, total = self.total
        terms = " + ".join(f"{term} {self.said(amount)}" for term, amount in self.terms) or "nothing"
        equals = "!=" if self.difference else "="
        wrong = f" (off by {self.said(self.difference)})" if self.difference else ""
        return f"{name} {self.said(total)} {equals} {terms}{wrong}"

    def sentence(self) -> str:
        """Give both."""
        return f"{self.name}: {self.equation}"


@dataclass(frozen=True)
class Cut:
    """The counters of every task (``settlement/7``) at one moment, and the money that revenue had still to read then.

    ``rows`` is the money in the rows of a task's one-minute windows, by their status, of those tasks of which it is known.
    """

    counters: Mapping[str, Mapping[str, int]]
    in_flight: Money
    rows: Mapping[str, Mapping[str, Money]] = field(default_factory=dict)

    @property
    def lines(self) -> list[Line]:
        """Everything that must add up."""
        tasks = sorted(self.counters.items(), key=_by_stage_and_number)
        per_task = [line for task, counters in tasks for line in _of_task(task, counters, self.rows.get(task))]
        return [*per_task, *self.totals]

    @property
    def wrong(self) -> list[Line]:
        """The lines that do not; empty: the books balance."""
        return [line for line in self.lines if line.difference]

    @property
    def totals(self) -> list[Line]:
        """Where all accepted money is, per currency and measure."""
        settlement, revenue = self.summed("settlement"), self.summed("revenue")
        accepted = account(settlement, "accepted")
        adjusted = account(settlement, "adjusted")
        adjusted.update(account(revenue, "adjusted"))
        parts = {
            "windowed": account(revenue, "windowed"),
            "in flight": self.in_flight,
            "waiting": account(settlement, "waiting"),
            "adjusted": adjusted,
            "unmatched": account(settlement, "unmatched"),
        }
        return list(_lines(ALL, "accepted", accepted, parts))

    def summed(self, stage: str) -> Counter[str]:
        """Give the counters of all tasks of a stage, added up."""
        total: Counter[str] = Counter()
        for task, counters in self.counters.items():
            if task.startswith(f"{stage}/"):
                total.update(counters)
        return total


def audited(verdict: Verdict, cut: Cut) -> Verdict:
    """Give a verdict that covers the books too."""
    lines_count, wrong = len(cut.lines), cut.wrong
    problems = [Problem("conflicting", "the books", line.name, "a line that holds", line.equation) for line in wrong]
    books = Rows(lines_count - len(wrong), lines_count)
    return replace(verdict, problems=(*verdict.problems, *problems), books=books)


def carried(deltas: Deltas) -> Carried:
    """Give what a record of ``revenue-deltas`` carries."""
    sums: Money = Counter()
    for part in deltas.flows:
        if part.flow == _FLOW:
            for cell in part.cells:
                for measure, amount in zip(MEASURES, cell.amounts, strict=True):
                    sums[cell.dimensions[1], measure] += amount
    return Carried(deltas.sources, sums)


def closed(epochs: Mapping[int, int], records: Iterable[Carried]) -> dict[int, int]:
    """Give the least cut, at or behind ``epochs`` of the settlement tasks, that has all sources of a record or none."""
    reached, split = dict(epochs), list(records)
    while True:
        split = [record for record in split if not is_within(reached, record)]
        torn = [record for record in split if any(source.epoch <= reached.get(source.partition, 0) for source in record.sources)]
        if not torn:
            return reached
        for record in torn:
            for source in record.sources:
                reached[source.partition] = max(reached.get(source.partition, 0), source.epoch)


def is_within(epochs: Mapping[int, int], record: Carried) -> bool:
    """Tell whether a record is of a transaction that the cut has."""
    return all(source.epoch <= epochs.get(source.partition, 0) for source in record.sources)


def in_flight(epochs: Mapping[int, int], unread: Iterable[Carried]) -> Money:
    """Give the money of those records behind revenue's positions that the cut has."""
    sums: Money = Counter()
    for record in unread:
        if is_within(epochs, record):
            sums.update(record.money)
    return sums


def _of_task(task: str, counters: Mapping[str, int], rows: Mapping[str, Money] | None) -> Iterator[Line]:
    found = outcomes_of(Counter(counters))
    outcomes = ("applied", found.applied), ("duplicates", found.duplicates), ("dead", found.dead)
    yield Line(task, (RECORDS,), ("consumed", found.consumed), outcomes)
    reasons = tuple((name.removeprefix(_DEAD), count) for name, count in sorted(counters.items()) if name.startswith(_DEAD))
    yield Line(task, (DEAD_LETTERS,), ("dead", found.dead), reasons)
    if task.startswith("settlement/"):
        parts = {name: account(counters, name) for name in ("booked", "waiting", "adjusted", "unmatched")}
        yield from _lines(task, "accepted", account(counters, "accepted"), parts)
    if rows is not None:
        yield from _lines(task, "windowed", account(counters, "windowed"), rows)


def _lines(where: str, name: str, total: Money, parts: Mapping[str, Money]) -> Iterator[Line]:
    for of in sorted(set().union(total, *parts.values()), key=_by_currency_and_measure):
        yield Line(where, of, (name, total[of]), tuple((part, sums[of]) for part, sums in parts.items()))


def _by_currency_and_measure(of: tuple[str, str]) -> tuple[str, int, str]:
    currency, measure = of
    return currency, MEASURES.index(measure) if measure in MEASURES else len(MEASURES), measure


def _by_stage_and_number(item: tuple[str, object]) -> tuple[int, int]:
    stage, _, number = item[0].partition("/")
    return list(STAGES).index(stage), int(number)
