"""The limit moves what the product moved: the same records, by the time that the same share of the input is consumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.limit import Spec, Writer, consumer_config, producer_config
from bench.shape import Size, StageShape, load, per_event, save, totals
from streams.settings import Settings
from streams.transaction import TransactionalProducer
from streams.waiting import Waiting

SIZES = [Size(number % 3, 3 + number, number * 10, 0) for number in range(7)]
STAGE = StageShape("settlement", ("orders",), 10, {"order-status": SIZES, "orders.dlq": [Size(1, -1, -1, 90)]})


def spec(protocol: str = "consumer") -> Spec:
    settings = Settings(bootstrap_servers="127.0.0.1:1", prefix="run-1.", group_protocol=protocol)
    return Spec.of(settings, output_prefix="limit.", shape_file=Path("shape.json"), broker_pid=0)


class ConfigOnly(TransactionalProducer):
    """The product's producer without a cluster: what it would be made with."""

    def _new_producer(self) -> Any:
        return None


def test_the_limits_producer_has_every_setting_of_the_products() -> None:
    ours = producer_config(spec())
    theirs = ConfigOnly({}, lambda _: None, Waiting(lambda: None))._config
    assert {name: ours.get(name) for name in theirs} == theirs


def test_the_limits_consumer_reads_committed_records_and_checks_them() -> None:
    for protocol in ("consumer", "classic"):
        config = consumer_config(spec(protocol))
        assert config["check.crcs"] is True
        assert config["isolation.level"] == "read_committed"
        assert config["enable.auto.commit"] is False
    assert consumer_config(spec())["group.protocol"] == "consumer"
    assert "group.protocol" not in consumer_config(spec("classic"))


@given(st.lists(st.integers(1, 10), min_size=1, max_size=10))
def test_however_the_input_is_cut_every_record_is_written_once_and_in_order(cuts: list[int]) -> None:
    writer = Writer(STAGE, "limit.")
    written: dict[str, list[tuple[Any, ...]]] = {}
    while writer.consumed < STAGE.read_records:
        step = min(cuts[writer.consumed % len(cuts)], STAGE.read_records - writer.consumed)
        for records in writer.due(step):
            for record in records:
                written.setdefault(record[0], []).append(record)
    assert [(len(key), len(value), at) for _, value, key, at, _ in written["limit.order-status"]] == [
        (size.key_bytes, size.value_bytes, size.partition) for size in SIZES
    ]
    assert written["limit.orders.dlq"] == [("limit.orders.dlq", None, None, 1, written["limit.orders.dlq"][0][4])]


def test_the_bytes_of_a_dead_letters_headers_are_moved_as_well() -> None:
    (_, [letter]) = list(Writer(STAGE, "limit.").due(10))
    assert sum(len(name) + len(value) for name, value in letter[4]) == 90


def test_records_are_written_in_step_with_what_was_consumed() -> None:
    writer = Writer(STAGE, "limit.")
    assert [len(records) for records in writer.due(5)] == [3, 0]
    assert [len(records) for records in writer.due(5)] == [4, 1]


def test_a_shape_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    save((STAGE,), tmp_path / "shape.json")
    assert load(tmp_path / "shape.json") == (STAGE,)


def test_the_output_for_each_event_counts_keys_values_and_headers_and_no_null() -> None:
    found = per_event([STAGE], 10)
    assert found["order-status"] == {"records": 0.7, "bytes": (21 + 21 + 210) / 10}
    assert found["orders.dlq"] == {"records": 0.1, "bytes": 9.0}
    assert totals(found) == pytest.approx((0.8, 34.2))
