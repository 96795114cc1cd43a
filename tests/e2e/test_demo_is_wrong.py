"""A demo that must not say EXACT: somebody else writes one row into its totals while it runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from confluent_kafka import Producer

from connectors.cluster import Cluster
from schemas.codec import encode
from schemas.events import MerchantRevenue
from schemas.keys import row_key
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS, REVENUE_BY_MERCHANT_1M
from streams.local_broker import LocalBroker
from tests.e2e.demos import prefix_in, started, workers_of

MINUTE_MS = 1_795_000_020_000
ROGUE = MerchantRevenue("m-nobody", "EUR", MINUTE_MS, MINUTE_MS + 60_000, "final", 1, 0, 0, 1, 0, 0)
KEY = row_key(ROGUE.merchant_id, ROGUE.currency, window_start_ms=MINUTE_MS)


def test_one_row_of_somebody_else_makes_the_demo_say_wrong_and_end_with_1(broker: LocalBroker, tmp_path: Path) -> None:
    report_file = tmp_path / "demo.json"
    arguments = ["--orders", "600", "--no-kill", "--keep", "--report", str(report_file)]
    said = ""
    with started(tmp_path / "home", broker.cluster, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        while not prefix_in(said):
            line = demo.stdout.readline().decode()
            assert line, said
            said += line
        _write(broker.cluster, prefix_in(said))
        rest, _ = demo.communicate(timeout=200)
        assert workers_of(tmp_path / "home") == []
    assert demo.returncode == 1, said + rest.decode()
    _, is_wrong, rows = rest.decode().partition("\nWRONG revenue-by-merchant-1m ")
    assert is_wrong, rest.decode()
    assert f"foreign in revenue-by-merchant-1m, {KEY}: expected no row, found " in rows

    report = json.loads(report_file.read_text())
    assert (report["result"], report["prefix"]) == ("WRONG", prefix_in(said))
    judged = report["verdict"]
    assert judged["exact"] is False
    assert judged["revenue_rows_right"] == judged["revenue_rows_expected"] > 0, "the rows of the demo itself are right"
    foreign = [problem for problem in judged["problems"] if problem["kind"] == "foreign"]
    assert [(problem["topic"], problem["key"]) for problem in foreign] == [("revenue-by-merchant-1m", KEY)]


def _write(cluster: Cluster, prefix: str) -> None:
    """One minor unit captured by a merchant that has no orders, committed, and where its key belongs."""
    producer = Producer({**cluster.producer(), "transactional.id": f"{prefix}rogue"})
    producer.init_transactions(30)
    producer.begin_transaction()
    partition = partition_of(ROGUE.merchant_id, PARTITIONS)
    producer.produce(REVENUE_BY_MERCHANT_1M.named(prefix), encode(ROGUE), KEY.encode(), partition)
    producer.commit_transaction(30)
