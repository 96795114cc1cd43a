"""What the bench of growth says: what counts as growth, what is open, and that a history which is wrong is seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.growth import Growth, Report, Sample, terms
from bench.history import Sums, history, slices
from bench.open_state import OpenState
from bench.plot import Line, Panel, svg
from connectors.cluster import Cluster
from connectors.sources.draft import SPAN_MS
from schemas import codec
from schemas.events import OrderPlaced, TaskMarker
from schemas.topics import MARKER_KEY, REVENUE_CHANGELOG, SETTLEMENT_CHANGELOG
from streams.marker import make_marker
from streams.settings import Settings

HOUR_MS = 3_600_000


def samples(rss: list[int], disk_mb: int = 200) -> list[Sample]:
    return [Sample(float(at), at * 100, each, disk_mb << 20, 40 << 20, 10, 20) for at, each in enumerate(rss)]


def report(rss: list[int], *problems: str) -> Report:
    return Report({}, Settings(bootstrap_servers="127.0.0.1:1", memory_mb=40), samples(rss), list(problems), 7)


def marker(consumed: int) -> bytes:
    return codec.encode(make_marker(1, "w1", {}, {"consumed": consumed}))


def open_state() -> OpenState:
    return OpenState(Cluster("127.0.0.1:1"), "")


def test_what_grows_in_the_first_third_is_no_growth() -> None:
    found = Growth.of(samples([*range(100, 400, 10), *[400] * 60]), "rss_bytes")
    assert found.medians == 0.0
    assert found.slope == pytest.approx(0.0)


def test_what_grows_steadily_is_growth_by_both_measures() -> None:
    found = Growth.of(samples([1_000 + 10 * at for at in range(91)]), "rss_bytes")
    assert found.medians == pytest.approx(0.4, abs=0.03)
    assert found.slope == pytest.approx(600 / 1_300, abs=0.01)


def test_one_high_sample_is_no_growth_by_medians() -> None:
    assert Growth.of(samples([*[400] * 89, 4_000]), "rss_bytes").medians == 0.0


def test_a_run_is_good_when_every_sum_is_right_and_memory_stands() -> None:
    flat, steep = [1 << 28] * 90, [(1 << 28) + at * (1 << 20) for at in range(90)]
    assert report(flat).good
    assert not report(flat, "in flight: 1 ('EUR', 'gross_minor')").good
    assert not report(steep).good
    assert not Report({}, report(flat).settings, samples(flat, disk_mb=130), [], 7).good  # too small a state for this cache
    assert report(flat, "wrong").lines()[0].startswith("WRONG")
    assert report(flat).lines()[1].startswith("rss    256 MiB (peak 256); over the last two thirds +0.0% by medians")
    assert report(flat).as_json()["cache_share"] == pytest.approx(Settings(memory_mb=40).budget.stores_bytes / (200 << 20))


def test_orders_are_forgotten_within_the_first_third_and_never_before_what_comes_late() -> None:
    long, short = terms(196), terms(1)
    assert long["dedup_horizon_ms"] < long["keep_closed_ms"] < 196 * SPAN_MS / 3 - HOUR_MS
    assert short["dedup_horizon_ms"] == 3 * HOUR_MS
    assert short["keep_closed_ms"] > short["dedup_horizon_ms"]


def test_open_rows_are_counted_as_the_changelog_changes_them() -> None:
    state = open_state()
    state.take(SETTLEMENT_CHANGELOG.name, 0, b"order_state/o-1", b"12345")
    state.take(SETTLEMENT_CHANGELOG.name, 1, b"order_state/o-1", b"1")  # another task's
    state.take(SETTLEMENT_CHANGELOG.name, 0, b"order_state/o-1", b"123")
    state.take(SETTLEMENT_CHANGELOG.name, 0, b"timers/\x00\x01/o-1", b"")
    state.take(REVENUE_CHANGELOG.name, 0, b"revenue_by_merchant_1m/x", b"12")
    assert state.rows == Counter(order_state=2, timers=1, revenue_by_merchant_1m=1)
    assert state.size_bytes["order_state"] == 3 + 3 + 3 + 1
    state.take(SETTLEMENT_CHANGELOG.name, 0, b"order_state/o-1", None)
    state.take(SETTLEMENT_CHANGELOG.name, 0, b"order_state/never", None)
    assert state.rows["order_state"] == 1


def test_what_settlement_consumed_is_the_sum_of_its_newest_markers() -> None:
    state = open_state()
    state.take(SETTLEMENT_CHANGELOG.name, 0, MARKER_KEY, marker(5))
    state.take(SETTLEMENT_CHANGELOG.name, 0, MARKER_KEY, marker(7))
    state.take(SETTLEMENT_CHANGELOG.name, 1, MARKER_KEY, marker(10))
    state.take(REVENUE_CHANGELOG.name, 0, MARKER_KEY, marker(1_000))
    assert state.consumed() == 17
    assert isinstance(codec.decode(marker(1)), TaskMarker)


def test_a_history_has_each_order_once_and_time_that_goes_on() -> None:
    plans = list(history(3, seed=1, orders=50))
    assert slices(sum(len(each.sent) for each in plans), 1, orders=50) in {3, 4}
    placed = [
        event for each in plans for sent in each.sent if isinstance(event := codec.decode(sent.value), OrderPlaced)
    ]  # fmt: skip
    ids_of = [{event.order_id for event in placed if event.order_id.startswith(f"o-{each.seed}-")} for each in plans]
    assert len(set().union(*ids_of)) == sum(map(len, ids_of))
    assert [each.start_ms for each in plans[1:]] == [each.start_ms + SPAN_MS for each in plans[:-1]]


def test_sums_of_slices_add_up() -> None:
    plans, sums = list(history(3, seed=1, orders=50)), Sums()
    for each in plans:
        sums.add(each)
    assert sums.outcomes.consumed == sum(len(each.sent) for each in plans)
    assert sums.outcomes.dead == 0
    assert sums.accepted.total() > 0
    assert sums.minutes_count > 100


def test_a_plot_is_svg_with_a_line_per_name(tmp_path: Path) -> None:
    drawn = svg([Panel("a & b", [Line("x < y", [0, 3, 7]), Line("other", [1, 1, 1])])], [0, 1, 2], "events", 0.5)
    root = ET.fromstring(drawn)  # noqa: S314 - drawn by us
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len((line.get("points") or "").split()) for line in lines] == [3, 3]
    (tmp_path / "growth.svg").write_text(report([1 << 28] * 90).plot())
    assert ET.parse(tmp_path / "growth.svg").getroot().tag.endswith("svg")  # noqa: S314 - as above
