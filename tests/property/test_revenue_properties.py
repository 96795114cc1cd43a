"""Revenue: the totals of a window are the sums of its deltas, in every order, cut and redo."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agents.revenue.agent import declare
from agents.testing import MemoryRuntime, MemoryWorld
from schemas.events import MEASURES, MerchantRevenue, RevenueDelta
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import REVENUE_BY_MERCHANT_1M
from tests.property.histories import cut

MINUTE_MS = 60_000
DELTAS = st.lists(
    st.builds(
        RevenueDelta,
        st.sampled_from(["m-1", "m-2", "m|2", "m%7C2", ""]) | st.text(max_size=3),
        st.sampled_from(["EUR", "JPY"]),
        st.integers(16_000_000, 16_000_002).map(lambda minute: minute * MINUTE_MS),
        *[st.integers(-1_000, 10**12)] * len(MEASURES),
    ),
    max_size=20,
)


def total(batches: list[list[RevenueDelta]], redo: set[int]) -> MemoryWorld:
    placed = [[(partition_of(delta.merchant_id, 12), delta) for delta in batch] for batch in batches]
    return MemoryRuntime().run(declare, placed, redo=redo)


@given(DELTAS, st.data())
def test_rows_are_the_sums_of_the_deltas_whatever_the_order_cut_and_redo(deltas: list[RevenueDelta], data: st.DataObject) -> None:
    sums: defaultdict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for delta in deltas:
        for measure in MEASURES:
            sums[delta.merchant_id, delta.currency, delta.window_start_ms][measure] += getattr(delta, measure)
    counts = Counter((delta.merchant_id, delta.currency, delta.window_start_ms) for delta in deltas)

    world = total(data.draw(cut(data.draw(st.permutations(deltas)))), redo=data.draw(st.sets(st.integers(0, 4))))

    assert world.newest(REVENUE_BY_MERCHANT_1M) == {
        row_key(merchant_id, currency, window_start_ms=start_ms).encode(): MerchantRevenue(
            merchant_id, currency, start_ms, start_ms + MINUTE_MS, "provisional",
            counts[merchant_id, currency, start_ms], *(measures[measure] for measure in MEASURES),
        )
        for (merchant_id, currency, start_ms), measures in sums.items()
    }  # fmt: skip
    assert world.totals["consumed"] == world.totals["applied"] == len(deltas)


@given(DELTAS, st.data())
def test_the_revision_of_a_row_only_grows_and_each_row_goes_to_its_merchants_partition(
    deltas: list[RevenueDelta], data: st.DataObject
) -> None:
    world = total(data.draw(cut(deltas)), redo=set())
    revisions: Counter[bytes] = Counter()
    for emitted in world.rows[REVENUE_BY_MERCHANT_1M.name]:
        assert emitted.value.revision > revisions[emitted.key]
        assert emitted.partition == partition_of(emitted.value.merchant_id, 12)
        revisions[emitted.key] = emitted.value.revision


@given(DELTAS)
def test_what_is_windowed_is_the_sum_of_the_deltas_per_currency_and_measure(deltas: list[RevenueDelta]) -> None:
    expected: Counter[str] = Counter()
    for delta in deltas:
        for measure in MEASURES:
            expected[f"windowed|{delta.currency}|{measure}"] += getattr(delta, measure)
    windowed = {name: amount for name, amount in total([deltas], set()).totals.items() if name.startswith("windowed")}
    assert windowed == {name: amount for name, amount in expected.items() if amount}
