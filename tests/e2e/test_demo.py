"""The newcomer's command, whole: its own broker, two workers, one killed, every row judged, a look afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.demos import workers_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

TALLY = (sys.executable, "-c", "from streams.cli import main; main()")
ROOT = Path(__file__).resolve().parents[2]
Tally = Callable[..., subprocess.CompletedProcess[str]]


def environment(home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TALLY_", "KAFKA_"))}
    return clean | {"TALLY_HOME": str(home)}


@pytest.fixture
def tally(tmp_path: Path) -> Iterator[Tally]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TALLY, *arguments], env=environment(tmp_path / "home"), cwd=ROOT, capture_output=True, text=True, timeout=240,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        yield run
    finally:
        run("broker", "down")


def test_a_demo_with_a_killed_worker_is_exact_and_leaves_the_broker_for_a_look(tally: Tally, tmp_path: Path) -> None:
    report_file = tmp_path / "reports" / "demo.json"
    demo = tally("demo", "--orders", "3000", "--report", str(report_file))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    last = demo.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"EXACT revenue-by-merchant-1m (\d+) of \1 rows, order-status 3,0\d\d of 3,0\d\d, 11 more topics ([\d,]+) of \2 \| "
        r"[\d,]+ events = [\d,]+ applied \+ [\d,]+ duplicates \+ [\d,]+ dead letters, as sent, "
        r"([\d,]+) of \3 lines of the books balance \| "
        r"w2 \(pid \d+\) killed in epoch \d+, [\d,]+ records redone, its tasks answered after \d+\.\d s \| "
        r"next: \S*tally tail revenue-by-merchant-1m --limit 5",
        last,
    ), last
    report = json.loads(report_file.read_text())
    [kill] = report["kills"]
    assert (report["result"], report["verdict"]["problems_count"], report["remarks"]) == ("EXACT", 0, [])
    assert kill["by"] == "kill point"
    assert kill["epoch"] >= 10
    assert kill["lag_records"] > 0
    assert 0 < kill["takeover_s"] < 60
    assert report["versions"]["kafka"]
    assert workers_of(tmp_path / "home") == []

    tail = tally("tail", "revenue-by-merchant-1m", "--limit", "5")
    assert tail.returncode == 0, tail.stderr
    assert len(tail.stdout.splitlines()) == 5
    assert all("MerchantRevenue" in row for row in tail.stdout.splitlines())


def test_a_demo_that_is_ended_early_says_not_run_and_leaves_no_worker(tally: Tally, tmp_path: Path) -> None:
    del tally  # it takes the broker down
    home = tmp_path / "home"
    demo = subprocess.Popen(
        [*TALLY, "demo", "--orders", "3000"], env=environment(home), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs between fork and exec
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(workers_of(home)) < 2:
            assert demo.poll() is None
            assert time.monotonic() < deadline, "the demo started no workers"
            time.sleep(0.1)
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
        left = workers_of(home)
        for process in left:
            process.kill()
    assert demo.returncode == 3, said
    assert said.splitlines()[-1].startswith("NOT RUN: ended by hand")
    assert left == []
