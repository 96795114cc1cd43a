"""What stands in the one-minute windows of merchants, added up as a reader of their topic finds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from connectors.cluster import Cluster
from connectors.ground_truth import Money
from connectors.reader import ReadRecord, ranges_of, read_topic
from schemas import codec
from schemas.events import MEASURES, MerchantRevenue
from schemas.topics import REVENUE_BY_MERCHANT_1M
from schemas.wire import Wire

STATUSES = ("final", "provisional")


def minute_rows(cluster: Cluster, prefix: str, wire_of: Callable[[ReadRecord], Wire]) -> dict[int, dict[str, Money]]:
    """Give per partition and status the sums of the last row of each key, behind every transaction that is open now.

    A partition whose oldest rows retention has taken is left out: its sums would say nothing. Each key is kept in memory.

    Raises:
        ReadError: when the cluster does not answer, or has no such topic.
        Undecodable: when a row cannot be read.
    """
    name = REVENUE_BY_MERCHANT_1M.named(prefix)
    whole = {partition for partition, bounds in ranges_of(cluster, name).items() if bounds.begin == 0}
    newest: dict[int, dict[bytes | None, tuple[str, str, tuple[int, ...]]]] = {partition: {} for partition in whole}
    for record in read_topic(cluster, name, settled=True):
        row = codec.decode(record.value, wire_of(record))
        if record.partition in whole and isinstance(row, MerchantRevenue):
            amounts = tuple(getattr(row, measure) for measure in MEASURES)
            newest[record.partition][record.key] = row.status, row.currency, amounts
    return {partition: _summed(rows.values()) for partition, rows in newest.items()}


def _summed(rows: Iterable[tuple[str, str, tuple[int, ...]]]) -> dict[str, Money]:
    sums: dict[str, Money] = {status: Counter() for status in STATUSES}
    for status, currency, amounts in rows:
        for measure, amount in zip(MEASURES, amounts, strict=True):
            sums[status][currency, measure] += amount
    return sums
