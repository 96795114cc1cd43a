"""What the benchmark says of a run: which sample ends it, what counts, and how the figures are put together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Figures, Moment, Spread, own_watch
from bench.poison import Poison
from bench.product import Restore, Sample, first_complete, parse_restore
from bench.report import Pair, Report, pair_lines
from streams.settings import Settings

LOG = """\
2026-11-24 00:27:30,100 INFO streams.restore restored 12 tasks: 1000 records in 0.4 s
2026-11-24 00:27:30,900 INFO streams.ownership task settlement/0 runs from p.orders=0, p.payments=0
2026-11-24 00:27:31,100 INFO streams.restore restored 12 tasks: 500 records in 0.10 s
"""


def figures(events_per_s: float, cpu_us: float = 30.0) -> Figures:
    return Figures(1_000, 1_000 / events_per_s, 2_000 / events_per_s, cpu_us / 1_000, 0.05, 1 << 20)


def pair(product_per_s: float, limit_per_s: float, *, exact: bool = True) -> Pair:
    per_event = {"order-status": {"records": 0.5, "bytes": 40.0}}
    word, main = "EXACT" if exact else "WRONG", figures(2 * product_per_s, 10.0)
    return Pair(figures(product_per_s), exact, word, figures(limit_per_s, 5.0), 3, 0, per_event, main)


def report(*pairs: Pair, restores: tuple[Restore, ...] = ()) -> Report:
    return Report({"orders": 10}, Settings(bootstrap_servers="127.0.0.1:1"), 1_000, list(pairs), list(restores))


def sample(at_s: float, **committed: int) -> Sample:
    return Sample(Moment(at_s, 0.0, 0.0, 0), {(name, 0): offset for name, offset in committed.items()})


def test_a_run_ends_with_the_first_sample_that_has_everything() -> None:
    samples = [sample(1), sample(2, orders=5), sample(3, orders=9, deltas=1), sample(4, orders=9, deltas=4)]
    assert first_complete(samples, {("orders", 0): 9}) == samples[2]
    assert first_complete(samples, {("orders", 0): 9, ("deltas", 0): 4}) == samples[3]
    assert first_complete(samples, {("orders", 0): 10}) is None


def test_a_partition_without_records_needs_no_committed_offset() -> None:
    only = sample(1, orders=9)
    assert first_complete([only], {("orders", 0): 9, ("payments", 0): 0}) == only


def test_restores_of_several_assignments_add_up() -> None:
    found = parse_restore(LOG)
    assert found.records_count == 1_500
    assert found.seconds == pytest.approx(0.5)
    assert found.records_per_s == pytest.approx(3_000)


def test_a_restore_quicker_than_the_logs_clock_has_no_rate() -> None:
    assert Restore(10, 0.0).records_per_s is None
    assert report(restores=(Restore(10, 0.0),)).restore_records_per_s is None


def test_figures_follow_from_the_moments() -> None:
    run = Figures.between(1_000, Moment(10, 1, 5, 0), Moment(12, 1.5, 6, 0), Moment(14, 2, 7, 0), 7)
    assert (run.events_per_s, run.drained_events_per_s) == (500, 250)
    assert (run.cpu_us_per_event, run.broker_cpu_us_per_event) == (1_000, 2_000)


def test_the_ratio_is_the_median_of_the_pairs_and_not_of_the_sums() -> None:
    spread = report(pair(10, 100), pair(30, 100), pair(20, 50)).ratio
    assert spread == Spread(pytest.approx(0.3), pytest.approx(0.1), pytest.approx(0.4))  # type: ignore[arg-type]


def test_a_run_that_is_not_exact_is_told_and_does_not_count() -> None:
    result = report(pair(10, 100), pair(90, 100, exact=False))
    assert result.ratio == Spread(0.1, 0.1, 0.1)
    assert result.lines()[0] == "EXACT in 1 of 2 product runs of 1,000 events"
    assert result.as_json()["exact"] is False
    assert len(result.as_json()["pairs"]) == 2


def test_no_exact_run_gives_no_figure() -> None:
    result = report(pair(10, 100, exact=False))
    assert result.ratio is None
    assert result.lines()[1].startswith("product  - events/s")


def test_the_report_says_what_it_was_measured_on(tmp_path: Path) -> None:
    report(pair(10, 100), restores=(Restore(1_000, 0.5),)).write(tmp_path / "bench.json")
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found["versions"]) == {"python", "implementation", "confluent_kafka", "librdkafka", "kafka"}
    assert found["machine"]["cpu_count"] >= 1
    assert found["settings"]["epoch_records_max"] > 0
    assert found["ratio"]["median"] == pytest.approx(0.1)
    assert found["restore_records_per_s"]["median"] == 2_000
    assert found["pairs"][0]["product"]["events_per_s"] == pytest.approx(10)


def test_absolute_figures_stand_beside_each_ratio() -> None:
    product, main, limit, ratio = pair_lines(1, pair(10, 100))
    assert "product 1: 10 events/s" in product
    assert "main    1: 20 events/s" in main
    assert "limit   1: 100 events/s" in limit
    assert "0.100, both wrote 0.50 records and 40 bytes per event; catalogue / main job 0.500" in ratio


def test_the_catalogue_stands_beside_the_main_job_pair_by_pair() -> None:
    result = report(pair(10, 100), pair(30, 100))
    assert result.catalogue_ratio == Spread(0.5, 0.5, 0.5)
    assert result.catalogue_cpu_ratio == Spread(pytest.approx(3), pytest.approx(3), pytest.approx(3))  # type: ignore[arg-type]
    assert any("0.500 (0.500-0.500) in events/s | 3.00" in line for line in result.lines())
    assert result.as_json()["main"]["events_per_s"]["high"] == pytest.approx(60)


def test_a_process_can_watch_itself_without_a_broker() -> None:
    watch = own_watch(broker_pid=0)
    before, after = watch.now(), watch.now()
    assert after.at_s >= before.at_s
    assert after.cpu_s >= before.cpu_s > 0
    assert after.broker_cpu_s == 0
    assert after.rss_bytes > 0


def test_poison_is_measured_by_the_good_records_and_a_wrong_run_is_no_result() -> None:
    clean, poisoned = Figures(1_000, 1.0, 2.0, 0.1, 0.1, 1), Figures(1_100, 1.25, 2.0, 0.1, 0.1, 1)
    poison = Poison(clean, poisoned, 100, exact=True)
    assert poison.good_per_s == 800
    assert poison.slowdown == pytest.approx(0.2)
    assert "20.0%" in poison.line(1)
    wrong = Poison(clean, clean, 100, exact=False)
    found = report(pair(50, 100))
    found.poisons += [poison, wrong]
    assert not found.exact
    assert "20.0% (20.0%-20.0%)" in found.lines()[-1]
    assert found.as_json()["poison_slowdown"]["median"] == pytest.approx(0.2)
