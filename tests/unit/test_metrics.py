"""The metrics page has every metric of the list and no other, with bounded labels, and counts what this process did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from streams import metrics
from streams.exposition import EXCEPTION, OTHER, page
from streams.inbox.remedies import REMEDIES
from streams.lag import Lag
from streams.marker import TopicPartition
from streams.meter import Histogram, Meter
from streams.metrics import METRICS, Kind, Metric, markdown
from streams.tasks import TaskState
from streams.topology import TOPOLOGY
from streams.transaction import Aborted, Committed, Unknown
from tests.unit.messages import PREFIX, SETTLEMENT
from tests.unit.test_engine import World, delta, in_world, order

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
NOW_MS = 1_795_000_100_000


def read(world: World, lags: Mapping[TopicPartition, Lag] | None = None) -> str:
    return page(world.engine, TOPOLOGY, lags or {}, NOW_MS).decode()


def samples(text: str, metric: Metric) -> dict[tuple[str, ...], float]:
    """Give the samples of one metric by its labels' values, in the order of the list."""
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric.name
    }


def test_the_page_has_exactly_the_metrics_of_the_list(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(order(0, 100), delta())
        world.zero.counters |= {"waiting|EUR|captured_minor": 5}
        lags = {where: Lag(0) for task in (world.zero, world.one, world.five) for where in task.inputs}
        families = list(text_string_to_metric_families(read(world, lags)))
        # The parser takes `_total` off a counter's name.
        found = {family.name + ("_total" if family.type == "counter" else ""): family for family in families}
        assert found.keys() == {metric.name for metric in METRICS}
        for metric in METRICS:
            family = found[metric.name]
            assert (family.type, family.documentation) == (metric.kind, metric.meaning)
            assert family.samples, f"{metric.name} has no sample"
            labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
            assert labels == {frozenset(metric.labels)}, metric.name

    in_world(tmp_path, script)


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("tally_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        if metric.unit in {"seconds", "bytes"}:
            assert metric.name.removesuffix("_total").endswith(metric.unit), metric.name


def test_the_document_is_made_from_the_list() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), "run `make docs`"


def test_a_task_that_comes_with_its_counters_counts_from_0_here(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.zero.counters = {"consumed": 1_000, "applied": 900, "dead": 100, "dead|bad_id": 100}
        assert sum(samples(read(world), metrics.CONSUMED).values()) == 0
        await world.process(order(0, 100), delta())
        await world.process(order(0, 101))
        assert world.zero.counters["consumed"] == 1_002
        text = read(world)
        assert {place: value for place, value in samples(text, metrics.CONSUMED).items() if value} == {
            ("settlement", "0"): 2,
            ("revenue", "5"): 1,
        }
        assert samples(text, metrics.APPLIED)["settlement", "0"] == 1
        assert samples(text, metrics.DUPLICATES)["settlement", "0", "same"] == 1
        assert samples(text, metrics.DEAD_LETTERS)["settlement", "bad_id"] == 0
        assert "tally_epoch_duration_seconds_count 2.0" in text

    in_world(tmp_path, script)


def test_a_counter_stays_when_its_task_leaves(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        await world.process(order(0, 100))
        world.engine.tasks.revoke(world.zero.inputs)
        text = read(world)
        assert samples(text, metrics.CONSUMED)["settlement", "0"] == 1
        assert {place[:2] for place in samples(text, metrics.TASK_STATE)} == {("settlement", "1"), ("revenue", "5")}

    in_world(tmp_path, script)


def test_an_attempt_that_is_not_committed_counts_only_as_an_abort(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.cluster.outcomes = [Aborted("ILLEGAL_GENERATION: somebody joined")] * 3
        await world.process(order(0, 100))
        text = read(world)
        assert samples(text, metrics.CONSUMED)["settlement", "0"] == 1
        assert samples(text, metrics.ABORTS) == {("ILLEGAL_GENERATION",): 3, ("STUCK",): 0}

    in_world(tmp_path, script)


def test_labels_are_bounded_whatever_exceptions_are_called(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        added = Counter({"dead": 3, "dead|bad_id": 1, "dead|ZeroDivisionError": 1, "dead|Tuesday": 1})
        world.engine.meter.committed({world.zero: added}, {"settlement": 3}, 0.1)
        world.engine.meter.attempted(Aborted("_TIMED_OUT: x"))
        world.engine.meter.attempted(Unknown("whatever a plug-in says"))
        world.engine.meter.attempted(Committed({}))
        text = read(world)
        assert samples(text, metrics.IN_COLUMNS)["settlement",] == 3
        dead = samples(text, metrics.DEAD_LETTERS)
        assert {reason for _, reason in dead} == {*REMEDIES, EXCEPTION}
        assert (dead["settlement", "bad_id"], dead["settlement", EXCEPTION]) == (1, 2)
        assert samples(text, metrics.ABORTS) == {("ILLEGAL_GENERATION",): 0, ("STUCK",): 0, ("_TIMED_OUT",): 1, (OTHER,): 1}

    in_world(tmp_path, script)


def test_the_events_that_wait_are_counted_over_the_tasks_that_are_owned_now(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        assert samples(read(world), metrics.WAITING_EVENTS) == {(): 0}
        world.zero.counters["waiting_events"] = 5  # as a task has it that was restored from its marker
        world.one.counters["waiting_events"] = 2
        await world.process(order(0, 100), delta())
        assert samples(read(world), metrics.WAITING_EVENTS) == {(): 7}
        world.engine.tasks.revoke(world.zero.inputs)
        assert samples(read(world), metrics.WAITING_EVENTS) == {(): 2}

    in_world(tmp_path, script)


def test_every_task_has_one_state_and_says_it(tmp_path: Path) -> None:
    async def script(world: World) -> None:
        world.one.state = TaskState.PAUSED
        assert samples(read(world), metrics.TASK_STATE) == {
            ("settlement", "0", "running"): 1,
            ("settlement", "1", "paused"): 1,
            ("revenue", "5", "running"): 1,
        }

    in_world(tmp_path, script)


def test_the_lag_of_a_task_is_that_of_all_its_inputs_and_absent_while_one_is_unknown(tmp_path: Path) -> None:
    orders, payments = SETTLEMENT.reads[0].named(PREFIX), SETTLEMENT.reads[1].named(PREFIX)

    async def script(world: World) -> None:
        lags = {
            (orders, 0): Lag(3, NOW_MS - 2_500),
            (payments, 0): Lag(4, NOW_MS - 1_000),
            (orders, 1): Lag(0),
            (f"{PREFIX}revenue-deltas", 5): Lag(7),  # hidden by an open transaction
        }
        text = read(world, lags)
        assert samples(text, metrics.LAG_RECORDS) == {("settlement", "0"): 7, ("revenue", "5"): 7}
        assert samples(text, metrics.LAG_SECONDS) == {("settlement", "0"): 2.5}

    in_world(tmp_path, script)


def test_a_histogram_counts_up_to_and_including_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)

    assert histogram.cumulated() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.sum == 12.0


def test_restores_are_counted() -> None:
    meter = Meter()
    meter.restored(340_000, 2.0)
    meter.restored(0, 0.01)

    assert (meter.restored_records, meter.restore_seconds.cumulated()[-1]) == (340_000, ("+Inf", 2))


def test_a_lag_is_seconds_since_the_next_record_came() -> None:
    assert Lag(0).seconds(NOW_MS) == 0.0
    assert Lag(2, NOW_MS - 1_500).seconds(NOW_MS) == 1.5
    assert Lag(2, NOW_MS + 1_500).seconds(NOW_MS) == 0.0, "clocks differ"
    assert Lag(2).seconds(NOW_MS) is None
