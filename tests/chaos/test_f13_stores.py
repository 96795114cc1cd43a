"""F13: a local store that is gone, foreign, behind or too old is noticed, and rebuilt from the changelog."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from schemas.topics import DAY_MS
from streams.local_broker import LocalBroker
from streams.store import StandsFor, Store, StoreResources
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def changed(folder: Path, change: Callable[[StandsFor], StandsFor]) -> None:
    """Rewrite what a closed store says that it stands for."""
    store = Store(folder, ["order_state"], StoreResources(1 << 20, 1 << 20))
    stands_for = store.stands_for
    assert stands_for is not None
    store.apply({}, change(stands_for))
    store.close()


def foreign(folder: Path) -> None:
    changed(folder, lambda it: msgspec.structs.replace(it, identity=msgspec.structs.replace(it.identity, cluster_id="another")))


def too_old(folder: Path) -> None:
    changed(folder, lambda it: msgspec.structs.replace(it, applied_at_ms=it.applied_at_ms - 4 * DAY_MS))


def past_the_end(folder: Path) -> None:
    changed(folder, lambda it: msgspec.structs.replace(it, changelog_offset=it.changelog_offset + 1_000_000))


def torn(folder: Path) -> None:
    (folder / "CURRENT").write_text("not a manifest\n")


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (deleted, ""),
        (foreign, "it belongs to"),
        (too_old, "tombstones"),
        (past_the_end, "the changelog ends at"),
        (torn, "cannot be opened"),
    ],
)
def test_f13_a_store_that_cannot_be_trusted_is_rebuilt(
    damage: Callable[[Path], None], said: str, broker: LocalBroker, topics: str, tmp_path: Path
) -> None:
    whole = plan(orders=1_500, seed=13, start_ms=START_MS)
    half = len(whole.sent) // 2
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        worker = tally.start("w1")
        publisher = Publisher(broker.bootstrap_servers, topics)
        publisher.send(whole.sent[:half])
        wait_for("half is committed", lambda: tally.committed("orders") + tally.committed("payments") == half)
        assert worker.stop() == 0, worker.text[-3000:]
        damage(tmp_path / "home" / "state" / f"{topics}w1" / "settlement" / "7")
        publisher.send(whole.sent[half:])
        publisher.close()
        again = tally.start("w1")
        verdict = tally.finish(truth_of(whole))
        assert said in again.text
        assert "restored 24 tasks: 0 records" not in again.text, "nothing was rebuilt"
    assert verdict.exact, verdict.headline()


def test_f13_a_store_that_is_behind_catches_up(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=2_000, seed=14, start_ms=START_MS)
    half = len(whole.sent) // 2
    state = tmp_path / "home" / "state" / f"{topics}w1"
    with Deployment(tmp_path, broker.bootstrap_servers, topics) as tally:
        publisher = Publisher(broker.bootstrap_servers, topics)
        publisher.send(whole.sent[:half])
        worker = tally.start("w1")
        wait_for("half is committed", lambda: tally.committed("orders") + tally.committed("payments") == half)
        assert worker.stop() == 0
        shutil.copytree(state, tmp_path / "behind")
        publisher.send(whole.sent[half:])
        publisher.close()
        worker = tally.start("w1")
        wait_for("all is committed", lambda: tally.committed("orders") + tally.committed("payments") == len(whole.sent))
        assert worker.stop() == 0
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "behind", state)
        tally.start("w1")
        verdict = tally.finish(truth_of(whole))
        assert "rebuilt" not in tally.workers[-1].text
    assert verdict.exact, verdict.headline()
