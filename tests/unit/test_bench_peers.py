"""The bench of peers: who runs when, what is measured, what is right, what the table says. No process and no broker here."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import msgspec
import pytest

from agents.envelope import ENVELOPE_RULES
from agents.ports import Limits
from agents.settlement import decide
from agents.settlement.decide import RULE_BOOK
from agents.settlement.lifecycle import WAITED_TOO_LONG
from bench.figures import Figures, Moment
from bench.peers.build import PEERS_FOLDER, pom_versions
from bench.peers.judge import MINUTES, Outputs, Watermarks, judge_outputs
from bench.peers.main import chosen, in_turn
from bench.peers.programs import (
    FLINK,
    JAVA_RULES,
    KAFKA_STREAMS,
    PEERS,
    QUIX,
    STOCK_FAUST,
    Run,
    java_properties,
    properties_text,
    told_in_python,
)
from bench.peers.quix.slots import Agenda
from bench.peers.report import PeerReport, PeerRun
from bench.peers.rule_book import Clock, Dead, Received, opened, told
from bench.peers.run import Backlog, figures_of
from bench.product import ROOT, ProductError, Sample
from connectors.cluster import Cluster
from connectors.properties import parse_properties
from connectors.reader import ReadRecord
from connectors.reference_orders import unpaid_orders
from schemas import codec, topics
from schemas.catalogue import NEWEST
from schemas.events import OrderCancelled
from schemas.partitioning import partition_of
from streams.settings import Settings
from tests.unit.judged_world import ADJUSTMENTS, PREFIX, REVENUE, STATUS, TERMS, TRUTH, UNPAID, exact_world, row_record

SETTINGS = Settings(bootstrap_servers="127.0.0.1:1", prefix="p.")
ORDERS = ("p.orders", 0)
PINS = (ROOT / "constraints.txt", QUIX / "constraints.txt")
LIMITS_OF_RULES = ("MAX_EVENTS_PER_ORDER", "MAX_ID_CHARACTERS", "MAX_AMOUNT_MINOR", "FIRST_TIME_MS", "LAST_TIME_MS")


def figures(events_per_s: float, cpu_us: float, rss_mib: int = 100) -> Figures:
    return Figures(1_000, 1_000 / events_per_s, 2_000 / events_per_s, cpu_us / 1_000, 0.05, rss_mib << 20)


def run(peer: str, repeat: int, events_per_s: float, cpu_us: float, *, right: bool = True) -> PeerRun:
    return PeerRun(peer, repeat, figures(events_per_s, cpu_us), right, 2.0, ("said",))


def report(*runs: PeerRun) -> PeerReport:
    peers = {"product-1": "ours", "limit": "the client", "kafka-streams": "theirs"}
    return PeerReport({"orders": 10}, peers, {"kafka-streams": {"threads": "2"}}, list(runs))


def sample(at_s: float, cpu_s: float = 0.0, rss_bytes: int = 0, **committed: int) -> Sample:
    return Sample(Moment(at_s, cpu_s, 0.0, rss_bytes), {(f"p.{name}", 0): offset for name, offset in committed.items()})


def backlog(events_count: int) -> Backlog:
    return Backlog(Cluster("127.0.0.1:1"), "p.group", {ORDERS: events_count}, ("p.deltas",))


# Who runs, and when.


def test_every_repeat_begins_with_another_peer_and_runs_each_once() -> None:
    peers = chosen("product-1,product-2,kafka-streams")
    turns = [[peer.name for peer in in_turn(peers, repeat)] for repeat in (1, 2, 3)]
    assert [turn[0] for turn in turns] == ["product-1", "product-2", "kafka-streams"]
    assert all(sorted(turn) == sorted(peer.name for peer in peers) for turn in turns)


@pytest.mark.parametrize("repeat", range(1, 9))
def test_the_limit_never_runs_before_what_it_imitates(repeat: int) -> None:
    names = [peer.name for peer in in_turn(list(PEERS.values()), repeat)]
    assert names.index("product-1") < names.index("limit")
    assert sorted(names) == sorted(PEERS)


@pytest.mark.parametrize("names", ["", ",", "product-1,storm", "limit", "limit,kafka-streams"])
def test_peers_that_cannot_be_compared_are_refused(names: str) -> None:
    with pytest.raises(click.BadParameter):
        chosen(names)


def test_a_peer_that_is_named_twice_runs_once() -> None:
    assert [peer.name for peer in chosen("kafka-streams, product-1,kafka-streams")] == ["kafka-streams", "product-1"]


# What is measured.


def test_time_and_processor_begin_with_the_first_commit_and_what_it_had_does_not_count() -> None:
    samples = [
        sample(1, 9.0), sample(4, 10.0, orders=100), sample(5, 10.5, 7, orders=600), sample(6, 11.0, orders=1_100, deltas=2),
        sample(7, 12.0, orders=1_100, deltas=3), sample(9, 99.0, orders=1_100, deltas=3),
    ]  # fmt: skip
    found = figures_of(samples, backlog(1_100), {ORDERS: 1_100, ("p.deltas", 0): 3})
    assert found == Figures(1_000, 2.0, 3.0, 2.0, 0.0, 7)


def test_what_is_committed_at_once_has_no_figures() -> None:
    assert figures_of([sample(1), sample(2, orders=10)], backlog(10), {ORDERS: 10}) is None


def test_a_peer_that_stops_before_its_own_records_are_through_is_no_result() -> None:
    samples = [sample(1, orders=1), sample(2, orders=10, deltas=1)]
    with pytest.raises(ProductError, match="wrote for itself"):
        figures_of(samples, backlog(10), {ORDERS: 10, ("p.deltas", 0): 2})


# What is right.


@cache
def outputs() -> dict[str, list[ReadRecord]]:
    """What a peer writes that does everything right: what the judged world has, as of the truth's own watermarks."""
    world, times = exact_world().records, Watermarks(TRUTH)
    told_ms = times.told()[0]
    minutes: list[ReadRecord] = []
    for record in world[REVENUE]:
        row: Any = codec.decode(record.value)
        is_last, is_over = row.revision > 1, row.window_end_ms + TERMS.grace_ms <= told_ms
        row = msgspec.structs.replace(row, status="final" if is_last and is_over else "provisional")
        minutes.append(record._replace(value=codec.encode(row)))
    unpaid: list[ReadRecord] = []
    for partition in range(topics.PARTITIONS):
        known = [each for each in TRUTH.booked if partition_of(each.order.order_id, topics.PARTITIONS) == partition]
        rows = unpaid_orders(known, times.of(partition)[0], TERMS.unpaid_after_ms, TERMS.grace_ms)
        unpaid += [row_record(topics.UNPAID_ORDERS, key, key, row) for key, row in rows.items()]
    money = [record for record in world[ADJUSTMENTS] if codec.decode(record.value).flow == "money"]  # type: ignore[union-attr]
    return {**world, REVENUE: minutes, UNPAID: unpaid, ADJUSTMENTS: money}


def judged(changed: Outputs) -> list[str]:
    return [problem.sentence() for problem in judge_outputs(changed, TRUTH, PREFIX, TERMS).problems]


def test_the_main_jobs_outputs_are_exact_without_markers_and_without_the_other_flows() -> None:
    verdict = judge_outputs(outputs(), TRUTH, PREFIX, TERMS)
    assert verdict.exact, verdict.lines()
    assert verdict.lines()[0].startswith("EXACT revenue-by-merchant-1m ")
    assert all(rows.right_count == rows.expected_count > 0 for rows in verdict.rows.values())
    assert {codec.decode(record.value).status for record in outputs()[REVENUE]} == {"provisional", "final"}  # type: ignore[union-attr]


@pytest.mark.parametrize("topic", [STATUS, REVENUE, ADJUSTMENTS, UNPAID, "orders.dlq", "payments.dlq", "unmatched-payments"])
def test_a_row_that_is_missing_is_seen(topic: str) -> None:
    right = outputs()
    key = right[topic][-1].key
    assert judged({**right, topic: [record for record in right[topic] if record.key != key]})


@pytest.mark.parametrize("topic", [STATUS, REVENUE])
def test_an_amount_that_is_wrong_is_seen(topic: str) -> None:
    right = outputs()
    last = right[topic][-1]
    row: Any = codec.decode(last.value)
    wrong = codec.encode(msgspec.structs.replace(row, captured_minor=row.captured_minor + 1))
    assert any("captured_minor" in said for said in judged({**right, topic: [*right[topic][:-1], last._replace(value=wrong)]}))


@pytest.mark.parametrize("status", ["provisional", "final"])
def test_a_window_that_is_final_too_early_or_never_is_seen(status: str) -> None:
    right = outputs()
    rows = []
    for record in right[REVENUE]:
        row: Any = codec.decode(record.value)
        last = row.revision > 1
        rows.append(record._replace(value=codec.encode(msgspec.structs.replace(row, status=status))) if last else record)
    assert any(said.startswith(f"conflicting in {MINUTES.topic.name}") for said in judged({**right, REVENUE: rows}))


def test_a_dead_letter_with_another_reason_is_seen() -> None:
    right = outputs()
    first = right["orders.dlq"][0]
    headers = tuple((name, b"no_reason" if name == "__tally.errors.reason" else value) for name, value in first.headers)
    assert judged({**right, "orders.dlq": [first._replace(headers=headers), *right["orders.dlq"][1:]]})


# What the table says.


def test_only_right_runs_count_and_ratios_are_of_the_same_repeat() -> None:
    found = report(
        run("product-1", 1, 300, 20), run("kafka-streams", 1, 100, 50),
        run("product-1", 2, 100, 20), run("kafka-streams", 2, 900, 1, right=False),
        run("product-1", 3, 400, 30), run("kafka-streams", 3, 200, 60),
    )  # fmt: skip
    speed, cpu = (found.ratio("product-1", "kafka-streams", name) for name in ("events_per_s", "cpu_us_per_event"))
    assert speed is not None
    assert cpu is not None
    assert (speed.median, speed.low, speed.high) == pytest.approx((2.5, 2.0, 3.0))
    assert (cpu.low, cpu.high) == pytest.approx((0.4, 0.5))
    assert not found.exact
    row = next(line for line in found.lines() if line.startswith("kafka-streams"))
    assert row.split()[1:4] == ["2/3", "150", "(100-200)"]
    assert "product-1 / kafka-streams: 2.50 (2.00-3.00) in events/s | 0.45 (0.40-0.50) in CPU per event" in "\n".join(
        found.lines()
    )


def test_a_peer_that_failed_has_a_row_without_figures_and_the_others_go_on() -> None:
    found = report(run("product-1", 1, 300, 20), PeerRun("kafka-streams", 1, None, right=False, start_s=0.0, said=("died",)))
    assert next(line for line in found.lines() if line.startswith("kafka-streams")).split() == ["kafka-streams", "0/1", *"----"]
    assert found.as_json()["runs"][1]["said"] == ["died"]
    assert found.as_json()["peers"]["kafka-streams"]["events_per_s"] is None
    assert "kafka-streams" not in found.plot()


def test_the_report_names_what_was_measured_on_what(tmp_path: Path) -> None:
    found = report(run("product-1", 1, 300, 20), run("limit", 1, 900, 5), run("kafka-streams", 1, 100, 50))
    found.write(tmp_path / "peers.json")
    written = json.loads((tmp_path / "peers.json").read_text())
    assert written["exact"]
    assert written["machine"]["cpu_count"]
    assert written["versions"]["librdkafka"]
    assert written["peers"]["kafka-streams"]["configuration"] == {"threads": "2"}
    assert written["ratios"]["kafka-streams"]["events_per_s"]["median"] == pytest.approx(3.0)


def test_the_longest_bar_is_the_greatest_value_and_all_begin_at_zero() -> None:
    plot = ET.fromstring(report(run("product-1", 1, 300, 20), run("limit", 1, 900, 5)).plot())  # noqa: S314 - our own
    widths = [float(bar.attrib["width"]) for bar in plot.iter("{http://www.w3.org/2000/svg}rect") if bar.attrib.get("x")]
    assert widths[0] == pytest.approx(widths[1] / 3, abs=0.1)
    assert len(widths) == 6  # two peers in three panels


# How the peers in Java are told.


def test_a_java_peer_is_told_everything_that_it_asks_for() -> None:
    asked = set(re.findall(r'(?:getProperty|number)\((?:said, )?"(\w+)"\)', (JAVA_RULES / "Config.java").read_text()))
    told = java_properties(SETTINGS, Path("folder"), "group", 1)
    assert len(asked) > 10
    assert asked - told.keys() == set()
    assert {name for name in told if not name.startswith("schema.")} == asked
    assert told["schema.OrderStatus"] == str(max(schema.schema_id for schema in NEWEST.values() if schema.name == "OrderStatus"))


def test_properties_are_read_back_as_they_were() -> None:
    told = {**java_properties(SETTINGS, Path("folder"), "group", 1), "state": "C:\\state"}
    assert parse_properties(properties_text(told)) == told


def test_the_poms_pin_their_versions_and_build_the_newest_schemas() -> None:
    assert pom_versions(KAFKA_STREAMS).keys() == {"kafka.version", "avro.version"}
    assert pom_versions(FLINK).keys() == {"flink.version", "flink.kafka.version", "avro.version"}
    newest = {f"{schema.name}.v{schema.version}.avsc" for schema in NEWEST.values()}
    included = set(re.findall(r"<include>(.+?)</include>", (PEERS_FOLDER / "pom.xml").read_text()))
    assert len(included) == 10
    assert included <= newest


def test_the_rules_in_java_stand_once() -> None:
    names = [file.name for folder in (KAFKA_STREAMS, FLINK) for file in folder.rglob("src/**/*.java")]
    shared = {file.name for file in JAVA_RULES.glob("*.java")}
    assert {"Rules.java", "OrderState.java", "Codec.java"} <= shared
    assert shared.isdisjoint(names)


@pytest.mark.parametrize("peer", [KAFKA_STREAMS, FLINK], ids=lambda peer: peer.name)
def test_the_java_peers_have_every_rule_and_limit_under_our_names(peer: Path) -> None:
    files = [*JAVA_RULES.glob("*.java"), *peer.glob("src/main/java/peer/*.java")]
    source = "".join(path.read_text() for path in sorted(files))
    said = set(re.findall(r'"([a-z0-9]+(?:_[a-z0-9]+)+|truncated|malformed|misrouted)"', source))
    rules = {rule.reason for rule in RULE_BOOK} | {rule.reason for rule in ENVELOPE_RULES}
    reasons = rules | {WAITED_TOO_LONG, *codec.REASONS}
    assert reasons - said == {"incompatible_schema"}  # only a registry's schemas can be that
    limits = {
        name: int(text.rstrip("L").replace("_", "")) for name, text in re.findall(r"(?:long|int) (\w+) = ([\d_]+L?);", source)
    }
    ours = {name: getattr(decide, name) for name in LIMITS_OF_RULES}
    assert {name: limits.get(name) for name in LIMITS_OF_RULES} == ours


@pytest.mark.parametrize(
    ("folder", "pins", "what"),
    [(STOCK_FAUST, ROOT / "constraints.txt", "faust-streaming"), (QUIX, QUIX / "constraints.txt", "quixstreams")],
)
def test_what_a_peer_in_python_needs_is_pinned(folder: Path, pins: Path, what: str) -> None:
    wanted = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {line.split("==")[0] for line in pins.read_text().splitlines() if "==" in line}
    assert what in wanted
    assert set(wanted) <= pinned


def test_the_rule_book_in_quix_is_read_with_the_codec_of_the_product() -> None:
    pins = [dict(line.split("==") for line in file.read_text().splitlines() if "==" in line) for file in PINS]
    for package in ("fastavro", "msgspec", "ddsketch"):
        assert pins[0][package] == pins[1][package], package


def test_peers_in_python_are_told_what_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(SETTINGS, Path("folder"), Path("shape"), 0)
    monkeypatch.setenv("PEER_TOLD", told_in_python(run)["PEER_TOLD"])
    found = told()
    assert (found.prefix, found.bootstrap, found.state) == ("p.", "127.0.0.1:1", "folder/state")
    assert Limits(**found.limits).grace_ms == SETTINGS.grace_ms
    assert found.future_max_ms == SETTINGS.future_max_ms


# The peers in Python: what they add to the rule book.


def test_the_clock_of_a_task_follows_the_input_that_is_behind_and_tells_each_second_once() -> None:
    clock = Clock()
    clock.note(topics.ORDERS, 5_500)
    assert (clock.watermark_ms, clock.tell()) == (0, None)
    clock.note(topics.PAYMENTS, 3_700)
    assert (clock.watermark_ms, clock.tell(), clock.tell()) == (3_700, 3_000, None)
    clock.note(topics.PAYMENTS, 1_000)
    limits = Limits(dedup_horizon_ms=500, grace_ms=0)
    assert clock.watermark_ms == 3_700
    assert clock.times(topics.ORDERS, limits).oldest_ms == 5_000
    assert clock.times(topics.PAYMENTS, limits).oldest_ms == 3_200


@pytest.mark.parametrize(
    ("value", "key", "found"),
    [
        (b"no avro", b"o-1", "no_magic_byte"), (None, b"o-1", "null_value"), ("right", None, "key_missing"),
        ("right", b"o-2", "key_mismatch"),
    ],
)  # fmt: skip
def test_what_a_peer_cannot_take_is_dead_with_our_reason(value: Any, key: bytes | None, found: str) -> None:
    event = codec.encode(OrderCancelled("e-1", "o-1", 1_000_000_000_000, "shop"))
    received = Received(key, event if value == "right" else value, partition_of("o-1", topics.PARTITIONS), 1_000_000_000_000)
    dead = opened(received, topics.ORDERS, 1_000)
    assert isinstance(dead, Dead)
    assert dead.reason == found
    right = opened(received._replace(key=b"o-1", value=event), topics.ORDERS, 1_000)
    assert isinstance(right, OrderCancelled)


class Memory(dict[bytes, bytes]):
    """A State of Quix Streams."""

    get_bytes = dict.get
    set_bytes = dict.__setitem__
    delete = dict.__delitem__


def test_what_is_due_is_found_again_after_a_restart_and_its_place_is_used_again() -> None:
    state = Memory()
    agenda = Agenda(b"t", state)
    for due_ms, key in ((30, b"c"), (10, b"a"), (20, b"b")):
        agenda.add(state, due_ms, key)
    assert list(agenda.take(state, 10)) == [b"a"]
    again = Agenda(b"t", state)
    again.add(state, 15, b"d")
    assert len(state) == 4  # three that wait and how many there are at most
    assert list(Agenda(b"t", state).take(state, 100)) == [b"d", b"b", b"c"]
    assert list(Agenda(b"t", state).take(state, 100)) == []
