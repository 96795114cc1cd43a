"""What the bench of peers measures beside throughput: pure parts, no process and no broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from bench.figures import Moment
from bench.peers.findings import Findings, LatencyRun, RestoreRun, TakeoverRun, restored_said, taken_over_said
from bench.peers.latency import Latencies, appended, latencies, placements, rank
from bench.peers.live import LiveRun
from bench.peers.main import measures, pace_of
from bench.peers.pace import HEAD_RECORDS, Load
from bench.peers.programs import PEERS, Run, twice
from bench.peers.report import PeerReport
from bench.peers.restore import Filled, gone_on, halves
from bench.peers.takeover import Takeover, advances, takeover
from bench.product import Restore, Sample, Worker
from connectors.reader import ReadRecord
from connectors.sources.generator import APPLIED, plan
from schemas import codec, events
from schemas.partitioning import partition_of
from schemas.topics import ORDERS
from streams.settings import Settings

PLAN = plan(300, seed=5)


def record(key: bytes, value: bytes, timestamp_ms: int) -> ReadRecord:
    return ReadRecord("orders", 0, 0, timestamp_ms, key, value)


def found(p50_ms: float = 20, p99_ms: float = 90) -> Latencies:
    return Latencies(100, 0, p50_ms, p99_ms, 99)


def latency_run(
    peer: str, pace_of: str, events_per_s: float, behind_s: float, found: Latencies, *, right: bool = True
) -> LatencyRun:
    return LatencyRun(peer, pace_of, right, events_per_s, behind_s, found)


# The pace.


def test_a_load_is_its_head_and_then_the_rest_of_one_plan() -> None:
    load = Load(300, 5, 100.0)
    assert len(load.head.sent) == HEAD_RECORDS
    assert [*load.head.sent, *load.paced.sent] == PLAN.sent


@pytest.mark.parametrize(("seconds", "events_per_s"), [(30, 400.0), (1, 9_000.0), (5, 61.0)])
def test_a_load_lasts_as_long_as_asked_or_a_little_longer(seconds: float, events_per_s: float) -> None:
    lasts_s = len(Load.lasting(seconds, events_per_s, seed=1).paced.sent) / events_per_s
    assert seconds <= lasts_s < seconds * 1.1 + 1


def test_the_head_reaches_every_partition_of_both_inputs() -> None:
    head = Load.lasting(30, 1_000.0, seed=1).head.sent
    reached = {(each.topic.name, partition_of(each.key.decode(), 12)) for each in head if each.key is not None}
    assert len(reached) == 24


# Latency.


def test_only_orders_that_are_surely_applied_count() -> None:
    wanted = placements(PLAN.sent)
    sure = {each.value for each in PLAN.sent if each.expected == APPLIED and each.topic is ORDERS}
    assert wanted <= sure
    assert all(isinstance(codec.decode(value), events.OrderPlaced) for value in wanted)
    assert 290 <= len(wanted) <= 310  # a plan places its orders, a few of them late or of other kinds


def test_an_order_counts_from_its_first_append_and_a_copy_moves_nothing() -> None:
    records = [record(b"a", b"A", 10), record(b"b", b"bad", 11), record(b"a", b"A", 50), record(b"c", b"C", 60)]
    assert appended(records, frozenset({b"A", b"C"})) == {b"a": 10, b"c": 60}


def test_what_was_placed_in_the_warm_up_does_not_count_and_what_never_came_is_told() -> None:
    placed_ms = {b"cold": 0, b"a": 1_000, b"b": 1_100, b"c": 1_200}
    first_ms = {b"cold": 900.0, b"a": 1_030.0, b"b": 1_110.0}
    assert latencies(placed_ms, first_ms, warm_up_ms=1_000) == Latencies(2, 1, 10.0, 30.0, 30.0)


def test_without_a_single_row_there_is_no_latency() -> None:
    assert latencies({b"a": 5}, {}, 0) is None
    assert latencies({}, {b"a": 5.0}, 0) is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert rank([float(value) for value in range(1, 101)], share) == expected


def test_behind_is_from_the_end_of_the_load_until_all_inputs_are_committed() -> None:
    place = ("p.orders", 0)
    samples = [Sample(Moment(at_s, 0, 0, 0), {place: offset}) for at_s, offset in ((9.0, 5), (12.5, 10), (20.0, 10))]
    assert LiveRun(samples, {place: 10}, 1.0, 10.0).behind_s == 2.5
    assert LiveRun(samples, {place: 5}, 1.0, 10.0).behind_s == 0.0
    assert LiveRun(samples, {place: 11}, 1.0, 10.0).behind_s == float("inf")


# What is asked for, and what the table says.


@pytest.mark.parametrize("names", ["", "speed", "latency,speed"])
def test_what_cannot_be_measured_is_refused(names: str) -> None:
    with pytest.raises(click.BadParameter):
        measures(names)


def test_who_decides_nothing_or_has_shown_nothing_has_no_pace() -> None:
    report = PeerReport({"pace": None}, {}, {})
    assert pace_of(PEERS["product-1"], report) is None
    report.arguments["pace"] = 500.0
    assert pace_of(PEERS["product-1"], report) == 500.0
    assert pace_of(PEERS["limit"], report) is None


def test_a_row_has_a_peers_own_latency_and_ours_at_its_pace() -> None:
    findings = Findings([
        latency_run("product-1", "product-1", 800.4, 1.0, found()),
        latency_run("kafka-streams", "kafka-streams", 17_000.0, 0.1, found(500, 900)),
        latency_run("product-1", "kafka-streams", 16_900.0, 30.0, found(2_000, 4_000)),
        latency_run("faust", "faust", 100.0, 1.0, found(), right=False),
    ])  # fmt: skip
    header, ours, theirs, wrong = findings.lines(["product-1", "kafka-streams", "faust"], "product-1", {})
    assert header.split()[-2:] == ["wrong", "rows"]
    assert ours.split() == ["product-1", "-", "800", "20", "90", *"------"]
    assert theirs.split() == ["kafka-streams", "-", "17,000", "500", "900", "2,000", "/", "4,000!", *"-----"]
    assert wrong.split() == ["faust", *"----------"]
    assert not findings.exact
    assert findings.panels(["product-1", "kafka-streams", "faust"])[0][1] == {"product-1": 90, "kafka-streams": 900}


def samples(*seen: tuple[float, dict[str, int]]) -> list[Sample]:
    return [Sample(Moment(at_s, 0, 0, 0), {(name, 0): offset for name, offset in offsets.items()}) for at_s, offsets in seen]


A, B = ("a", 0), ("b", 0)


# Restore.


def test_the_halves_of_a_plan_are_the_plan() -> None:
    first, rest = halves(PLAN)
    assert [*first.sent, *rest.sent] == PLAN.sent
    assert abs(len(first.sent) - len(rest.sent)) <= 1


def test_it_goes_on_when_every_partition_that_has_more_has_committed_some_of_it() -> None:
    before, ends = {A: 5, B: 7}, {A: 9, B: 9}
    seen = samples((1.0, {}), (2.0, {"a": 5, "b": 7}), (3.0, {"a": 9, "b": 7}), (4.0, {"a": 9, "b": 8}), (5.0, {"a": 9, "b": 9}))
    assert gone_on(seen, before, ends) == 4.0
    assert gone_on(seen, before, {A: 9, B: 7}) == 3.0  # b has nothing to go on with


def test_restore_has_a_peers_own_word_and_without_one_no_less_than_what_its_changelogs_hold() -> None:
    told = RestoreRun("a", is_exact=True, found=Filled(2.0, 5.0, 1_000, Restore(900, 0.5)))
    silent = RestoreRun("b", is_exact=False, found=Filled(2.0, 5.0, 1_000, None), wrong_rows_count=12)
    assert restored_said(told) == ("1,800", "5.0", "0")
    assert restored_said(silent) == (">200", "5.0", "12")
    assert restored_said(None) == ("-", "-", "-")
    assert told.right
    assert silent.right


# Takeover.


def test_a_takeover_is_the_longest_stand_of_any_partition_after_the_kill() -> None:
    seen = samples(
        (0.0, {"a": 1, "b": 1}), (9.0, {"a": 2, "b": 2}), (10.0, {"a": 3, "b": 2}), (11.0, {"a": 4, "b": 2}),
        (17.5, {"a": 5, "b": 3}), (18.0, {"a": 6, "b": 4}), (30.0, {"a": 7, "b": 5}),
    )  # fmt: skip
    # b stood from the kill at 10.5 to 17.5, a from 11 to 17.5; what is before the kill or after the load is nobody's.
    assert takeover(seen, [A, B], killed_at_s=10.5, ended_at_s=17.9) == Takeover(7.0, 2)


def test_a_partition_that_never_goes_on_while_the_load_is_on_stands_until_it_does() -> None:
    seen = samples((0.0, {"a": 1, "b": 1}), (10.0, {"a": 2, "b": 1}), (12.0, {"a": 3, "b": 1}), (40.0, {"a": 3, "b": 2}))
    assert takeover(seen, [A, B], killed_at_s=9.0, ended_at_s=13.0) == Takeover(31.0, 1)


def test_offsets_that_a_sample_does_not_know_are_no_advance() -> None:
    seen = samples((1.0, {"a": 5}), (2.0, {}), (3.0, {"a": 5}), (4.0, {"a": 6}))
    assert advances(seen, A) == [1.0, 4.0]


@pytest.mark.parametrize(
    ("is_exact", "wrong_rows_count", "stood_count", "right"),
    [(True, 0, 3, True), (True, 1, 3, False), (False, 9, 3, True), (True, 0, 0, False)],
)
def test_wrong_rows_are_a_failure_of_who_promises_none_and_a_kill_must_be_seen(
    *, is_exact: bool, wrong_rows_count: int, stood_count: int, right: bool
) -> None:
    run = TakeoverRun("peer", is_exact, 500.0, 1.0, Takeover(7.0, stood_count), wrong_rows_count)
    findings = Findings(takeovers=[run])
    assert findings.exact is right
    assert (findings.taken_over("peer") is run) is right
    assert taken_over_said(run) == ("7.0", str(wrong_rows_count))


def test_the_report_has_every_trial_with_what_was_found_and_said() -> None:
    takeovers = [TakeoverRun("faust", is_exact=False, found=Takeover(9.5, 12), wrong_rows_count=3, said=("WRONG",))]
    restores = [RestoreRun("product-1", is_exact=True, found=Filled(2.0, 5.0, 1_000, Restore(900, 0.5)))]
    findings = Findings([latency_run("product-1", "product-1", 800.4, 1.0, found())], restores, takeovers)
    report = PeerReport({}, {"product-1": "ours", "faust": "theirs"}, {}, found=findings)
    written = json.loads(json.dumps(report.as_json()))
    assert written["latency"][0]["found"]["p99_ms"] == 90
    assert written["restore"][0]["records_per_s"] == 1_800
    assert (written["takeover"][0]["found"], written["takeover"][0]["said"]) == ({"seconds": 9.5, "stood_count": 12}, ["WRONG"])
    assert written["peers"]["product-1"]["start_s"]["median"] == 2.0
    assert [line.split()[0] for line in report.lines()] == ["peer", "product-1", "faust"]
    assert report.plot().count("<rect") == 3  # the ground, a latency, a takeover


def test_whoever_has_a_pair_starts_two_processes_in_folders_of_their_own(tmp_path: Path) -> None:
    folders: list[Path] = []

    @contextmanager
    def start(run: Run) -> Iterator[list[Worker]]:
        assert run.folder.is_dir()
        folders.append(run.folder)
        yield []

    with twice(start)(Run(Settings(bootstrap_servers="127.0.0.1:1", prefix="p."), tmp_path, tmp_path / "shape", 0)):
        assert [folder.parent for folder in folders] == [tmp_path, tmp_path]
        assert len(set(folders)) == 2
