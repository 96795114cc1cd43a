"""What the judge says: right or wrong, by how many rows, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas import topics

SENTENCES_MAX = 20
"""Rows spelled out in a headline; one screen."""
REPORTED_MAX = 200
"""Problems in the JSON report; the count beside them is of all."""
REVENUE = topics.REVENUE_BY_MERCHANT_1M.name
ORDER_STATUS = topics.ORDER_STATUS.name


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    ``kind`` tells apart what never came, what came twice, what came with other content, and what nobody sent.
    """

    kind: Literal["missing", "duplicate", "conflicting", "foreign"]
    topic: str
    key: str
    expected: str
    found: str

    def sentence(self) -> str:
        """Give the problem as one line for people."""
        return f"{self.kind} in {self.topic}, {self.key}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Rows:
    """How many of the expected rows of one topic are there and right."""

    right_count: int
    expected_count: int

    def __str__(self) -> str:
        return f"{self.right_count:,} of {self.expected_count:,}"


@dataclass(frozen=True)
class Outcomes:
    """What became of the consumed records (invariant I4), summed over the settlement tasks."""

    consumed: int
    applied: int
    duplicates: int
    dead: int

    def __str__(self) -> str:
        parts = f"{self.applied:,} applied + {self.duplicates:,} duplicates + {self.dead:,} dead letters"
        return f"{self.consumed:,} events = {parts}"


@dataclass(frozen=True)
class Verdict:
    """The result of one judgement.

    Attributes:
        topics: of each output topic, how many of its rows are right.
        outcomes: what became of the events.
        expected_outcomes: what should have become of them.
        problems: everything that is wrong.
        finals_count: rows of money that met a window that was final already; the watermarks should never let it come to that.
        books: how many lines of an audit hold, where there was one.
    """

    topics: Mapping[str, Rows]
    outcomes: Outcomes
    expected_outcomes: Outcomes
    problems: tuple[Problem, ...]
    finals_count: int = 0
    books: Rows | None = None

    @property
    def exact(self) -> bool:
        """True when nothing at all is wrong."""
        return not self.problems

    @property
    def revenue(self) -> Rows:
        """Rows of the minutes of merchants: the topic that is named first."""
        return self.topics[REVENUE]

    @property
    def order_status(self) -> Rows:
        """Rows of orders."""
        return self.topics[ORDER_STATUS]

    def summary(self) -> str:
        """Give one line: EXACT or WRONG, the rows, and what became of the events."""
        word = "EXACT" if self.exact else "WRONG"
        as_sent = "as sent" if self.outcomes == self.expected_outcomes else f"but right is {self.expected_outcomes}"
        rows = f"{word} {REVENUE} {self.revenue} rows, {ORDER_STATUS} {self.order_status}"
        others = [rows for name, rows in self.topics.items() if name not in {REVENUE, ORDER_STATUS}]
        if others:
            together = Rows(sum(each.right_count for each in others), sum(each.expected_count for each in others))
            rows += f", {len(others)} more topics {together}"
        books = f", {self.books} lines of the books balance" if self.books else ""
        return f"{rows} | {self.outcomes}, {as_sent}{books}"

    def table(self) -> list[str]:
        """Give a line for each topic: its name, the rows that are right, the rows that there should be."""
        names = max(map(len, self.topics))
        numbers = max(len(f"{rows.expected_count:,}") for rows in self.topics.values())
        return [
            f"{name:{names}}  {rows.right_count:>{numbers},} of {rows.expected_count:>{numbers},}"
            for name, rows in self.topics.items()
        ]

    def sentences(self, limit: int = SENTENCES_MAX) -> list[str]:
        """Give up to ``limit`` problems as sentences, and a last one for how many more there are."""
        lines = [problem.sentence() for problem in self.problems[:limit]]
        more = len(self.problems) - limit
        return [*lines, f"and {more:,} more"] if more > 0 else lines

    def headline(self) -> str:
        """Give the summary and, when WRONG, the rows that are wrong below it, one line each."""
        return "\n".join([self.summary(), *self.sentences()])

    def as_json(self) -> dict[str, Any]:
        """Give the verdict as plain values for a report."""
        return {
            "exact": self.exact,
            "revenue_rows_right": self.revenue.right_count,
            "revenue_rows_expected": self.revenue.expected_count,
            "order_status_rows_right": self.order_status.right_count,
            "order_status_rows_expected": self.order_status.expected_count,
            "rows": {name: {"right": rows.right_count, "expected": rows.expected_count} for name, rows in self.topics.items()},
            "books": vars(self.books) if self.books else None,
            "finals_count": self.finals_count,
            "events_consumed": self.outcomes.consumed,
            "events_applied": self.outcomes.applied,
            "events_duplicate": self.outcomes.duplicates,
            "events_dead": self.outcomes.dead,
            "events_sent": self.expected_outcomes.consumed,
            "problems_count": len(self.problems),
            "problems": [vars(problem) for problem in self.problems[:REPORTED_MAX]],
        }
