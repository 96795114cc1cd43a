"""What a PromQL expression asks for, by its syntax tree."""

from __future__ import annotations

import re
from dataclasses import dataclass

import promql_parser as promql

VARIABLES = {"$__rate_interval": "1m"}
"""What Grafana puts in itself, with something that could stand there."""


@dataclass(frozen=True)
class Selector:
    """One metric, and the labels that it is filtered by, with their values (of a regular expression the alternatives)."""

    metric: str
    filters: tuple[tuple[str, frozenset[str]], ...]


def nodes(expression: str) -> list[promql.Expr]:
    """Give every node of the syntax tree.

    Raises:
        ValueError: it is no PromQL.
    """
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    found: list[promql.Expr] = []
    promql.walk(promql.parse(expression), found.append)
    return found


def selectors(expression: str) -> list[Selector]:
    """Give every selector of an expression."""
    found = []
    for node in nodes(expression):
        vector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(vector, promql.VectorSelector):
            filters = ((matcher.name, frozenset(matcher.value.split("|"))) for matcher in vector.matchers.matchers)
            found.append(Selector(vector.name or "", tuple(filters)))
    return found


def grouped_by(expression: str) -> set[str]:
    """Give the labels that aggregations keep and that matches of two sides look at."""
    found: set[str] = set()
    for node in nodes(expression):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            found.update(node.modifier.matching.labels)
    return found


def shown_labels(text: str) -> set[str]:
    """Give the labels that a legend or an annotation shows: ``{{stage}}``, ``{{ $labels.stage }}``."""
    return set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text))
