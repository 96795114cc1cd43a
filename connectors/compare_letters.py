"""Compares dead letters with the truth: which records, how often, with which reason. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from connectors.ground_truth import Identity, Truth
from connectors.reader import ReadRecord
from connectors.rows import key_text, text_of
from connectors.sources.sent import Dead
from connectors.verdict import Problem
from schemas import topics

SOURCE_OF = {topics.ORDERS_DLQ.name: topics.ORDERS, topics.PAYMENTS_DLQ.name: topics.PAYMENTS}


def compare_dead_letters(
    records: Mapping[str, Iterable[ReadRecord]], truth: Truth, prefix: str
) -> tuple[list[Problem], Counter[Identity]]:
    """Compare both dead-letter topics; also gives which racing records are among them.

    Args:
        records: of each dead-letter topic, by its declared name.
        truth: the right answer.
        prefix: of the deployment, as it stands in ``__streams.errors.topic``.
    """
    problems: list[Problem] = []
    found: Counter[Identity] = Counter()
    racing: Counter[Identity] = Counter()
    for name, source in SOURCE_OF.items():
        for record in records[name]:
            identity = (source, record.key, record.value)
            headers = {header: text_of(value) for header, value in record.headers}
            if headers.get("__streams.errors.topic") != source.named(prefix):
                came_from = str(headers.get("__streams.errors.topic"))
                problems.append(
                    Problem("conflicting", name, _letter(identity), f"from {source.named(prefix)}", f"from {came_from}")
                )
            expected: tuple[Dead, ...] = truth.dead_letters.get(identity, ())
            if identity in truth.racing:
                racing[identity] += 1
                expected = (Dead("rule", truth.racing[identity].reason),)
            found[identity] += 1
            because = f"{headers.get('__tally.errors.class')} {headers.get('__tally.errors.reason')}"
            if not expected:
                problems.append(Problem("foreign", name, _letter(identity), "no dead letter", because))
            elif found[identity] > len(expected):
                problems.append(
                    Problem("duplicate", name, _letter(identity), f"{len(expected)} times", f"{found[identity]} times")
                )
            elif because not in {f"{dead.error_class} {dead.reason}" for dead in expected}:
                right = f"{expected[0].error_class} {expected[0].reason}"
                problems.append(Problem("conflicting", name, _letter(identity), right, because))
    for identity, expected in truth.dead_letters.items():
        for dead in expected[found[identity] :]:
            name = str(identity[0].dead_letters)
            problems.append(Problem("missing", name, _letter(identity), f"{dead.error_class} {dead.reason}", "no dead letter"))
    return problems, racing


def _letter(identity: Identity) -> str:
    value = identity[2]
    return f"{key_text(identity[1])} {'null' if value is None else value[:24].hex()}"
