"""Compares records with the truth: tables row by row, unmatched payments, dead letters. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from connectors.ground_truth import MINUTE_MS, Identity, Truth
from connectors.reader import ReadRecord
from connectors.sources.sent import Dead, DeadOrUnmatched, Unmatched
from connectors.verdict import Problem, Rows
from schemas import codec, events, topics
from schemas.keys import row_key
from schemas.partitioning import partition_of

SOURCE_OF = {topics.ORDERS_DLQ.name: topics.ORDERS, topics.PAYMENTS_DLQ.name: topics.PAYMENTS}
WINDOW_STATUSES = {"provisional", "final"}


def compare_revenue(records: Iterable[ReadRecord], truth: Truth) -> tuple[Rows, list[Problem], Counter[tuple[str, str]]]:
    """Compare ``revenue-by-merchant-1m``; also gives the sums of its table per currency and measure."""
    topic = topics.REVENUE_BY_MERCHANT_1M.name
    expected = {
        row_key(merchant_id, currency, window_start_ms=start_ms): {measure: measures[measure] for measure in events.MEASURES}
        for (merchant_id, currency, start_ms), measures in truth.revenue.items()
    }
    problems: list[Problem] = []
    table: dict[str, dict[str, Any]] = {}
    windows: Counter[tuple[str, str]] = Counter()
    for key, row in _newest_rows(records, topic, events.MerchantRevenue, problems, repeats=False).items():
        start_ms = row.window_start_ms
        own_key = row_key(row.merchant_id, row.currency, window_start_ms=start_ms)
        if own_key != key:
            problems.append(Problem("conflicting", topic, key, f"the key of its row, {own_key}", key))
        if row.window_end_ms != start_ms + MINUTE_MS or start_ms % MINUTE_MS or row.status not in WINDOW_STATUSES:
            expectation = f"window_end {start_ms + MINUTE_MS}, a whole minute, status provisional or final"
            problems.append(Problem("conflicting", topic, key, expectation, _said(row)))
        table[key] = {measure: getattr(row, measure) for measure in events.MEASURES}
        for measure in events.MEASURES:
            windows[row.currency, measure] += table[key][measure]
    return _compare_tables(topic, table, expected, problems), problems, windows


def compare_order_status(records: Iterable[ReadRecord], truth: Truth) -> tuple[Rows, list[Problem]]:
    """Compare ``order-status``, every field of every row."""
    topic = topics.ORDER_STATUS.name
    problems: list[Problem] = []
    newest = _newest_rows(records, topic, events.OrderStatus, problems, repeats=True)
    table = {key: msgspec.structs.asdict(row) for key, row in newest.items()}
    expected = {key: msgspec.structs.asdict(row) for key, row in truth.order_status.items()}
    return _compare_tables(topic, table, expected, problems), problems


def _newest_rows(
    records: Iterable[ReadRecord], topic: str, row_type: type[Any], problems: list[Problem], *, repeats: bool
) -> dict[str, Any]:
    """Give the last row per key and report misplaced ones and revisions that do not grow.

    With ``repeats`` a row may come again as it is (an order whose event waits has no new row to show).
    """
    newest: dict[str, Any] = {}
    partitions = topics.BY_NAME[topic].partitions
    for record in records:
        key = _key_text(record.key)
        row = _decoded(record.value)
        if not isinstance(row, row_type):
            problems.append(Problem("conflicting", topic, key, f"a {row_type.__name__}", str(row)))
            continue
        owner = row.order_id if isinstance(row, events.OrderStatus) else row.merchant_id
        if record.partition != partition_of(owner, partitions):
            place = f"partition {partition_of(owner, partitions)} of {owner}"
            problems.append(Problem("conflicting", topic, key, place, f"partition {record.partition}"))
        last = newest.get(key)
        if last is not None and row.revision <= last.revision and not (repeats and row == last):
            kind = "duplicate" if row.revision == last.revision else "conflicting"
            where = f"revision {row.revision} at {record.partition}/{record.offset}"
            problems.append(Problem(kind, topic, key, f"a revision above {last.revision}", where))  # type: ignore[arg-type]
        newest[key] = row
    return newest


def _compare_tables(
    topic: str, table: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]], problems: list[Problem]
) -> Rows:
    """Add what differs to ``problems``; a row with any problem of its key is not counted as right."""
    for key, row in expected.items():
        if key not in table:
            problems.append(Problem("missing", topic, key, _fields(row), "no row"))
        elif table[key] != row:
            different = [name for name in row if table[key].get(name) != row[name]]
            found = {name: table[key].get(name) for name in different}
            problems.append(Problem("conflicting", topic, key, _fields({name: row[name] for name in different}), _fields(found)))
    foreign = sorted(table.keys() - expected.keys())
    problems.extend(Problem("foreign", topic, key, "no row", _fields(table[key])) for key in foreign)
    wrong = {problem.key for problem in problems}
    return Rows(sum(key in table and key not in wrong for key in expected), len(expected))


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
            headers = {header: _text(value) for header, value in record.headers}
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


def compare_unmatched(records: Iterable[ReadRecord], truth: Truth, racing_dead: Counter[Identity]) -> tuple[list[Problem], int]:
    """Compare ``unmatched-payments``: what must be there once, or else among the dead letters; gives how many are there."""
    topic = topics.UNMATCHED_PAYMENTS.name
    expected = {row.event_id: (identity, row) for identity, row in _unmatched_rows(truth)}
    problems: list[Problem] = []
    found: Counter[str] = Counter()
    for record in records:
        row = _decoded(record.value)
        if not isinstance(row, events.UnmatchedPayment) or row.event_id not in expected:
            problems.append(Problem("foreign", topic, _key_text(record.key), "no row", str(row)))
            continue
        found[row.event_id] += 1
        right = expected[row.event_id][1]
        if row != right or record.key != right.order_id.encode():
            problems.append(Problem("conflicting", topic, _key_text(record.key), _said(right), _said(row)))
    for event_id, (identity, right) in expected.items():
        times = found[event_id] + racing_dead[identity]
        if times != 1:
            kind = "missing" if times == 0 else "duplicate"
            once = "once here or among the dead letters" if identity in truth.racing else "once"
            problems.append(Problem(kind, topic, right.order_id, f"{_said(right)} {once}", f"{times} times"))  # type: ignore[arg-type]
    return problems, found.total()


def _unmatched_rows(truth: Truth) -> Iterator[tuple[Identity, events.UnmatchedPayment]]:
    expectations: dict[Identity, DeadOrUnmatched | Unmatched] = {**truth.racing, **truth.unmatched}
    for identity, expectation in expectations.items():
        event = codec.decode(identity[2])
        if isinstance(event, events.PaymentCaptured | events.PaymentFailed | events.PaymentRefunded):
            yield identity, events.UnmatchedPayment(
                event.event_id, type(event).__name__, event.order_id, event.occurred_at_ms, event.payment_id,
                event.amount_minor, event.currency, expectation.reason,
            )  # fmt: skip


def _decoded(value: bytes | None) -> events.Record | str:
    """Give the record, or the sentence that says why there is none."""
    try:
        return codec.decode(value)
    except codec.Undecodable as error:
        return str(error)


def _key_text(key: bytes | None) -> str:
    return "no key" if key is None else _text(key)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def _letter(identity: Identity) -> str:
    value = identity[2]
    return f"{_key_text(identity[1])} {'null' if value is None else value[:24].hex()}"


def _fields(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _said(row: msgspec.Struct) -> str:
    return _fields(msgspec.structs.asdict(row))
