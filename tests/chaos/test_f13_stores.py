"""F13: a local store that is gone, foreign, behind or too old is noticed, rebuilt from the changelog, and then worked with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from connectors.ground_truth import truth_of
from connectors.sources.generator import plan
from connectors.sources.publish import Publisher
from connectors.sources.sent import Sent
from schemas.partitioning import partition_of
from schemas.topics import DAY_MS, PARTITIONS
from streams.local_broker import LocalBroker
from streams.store import StandsFor, Store, StoreResources
from streams.topology import TOPOLOGY
from tests.support.chains import changelog_counts
from tests.support.counts import TASKS
from tests.support.workers import Deployment, wait_for

START_MS = 1_795_000_000_000


def changed(folder: Path, change: Callable[[StandsFor], StandsFor]) -> None:
    """Rewrite what a closed store says that it stands for."""
    store = Store(folder, [spec.name for spec in TOPOLOGY[0].keeps], StoreResources(1 << 20, 1 << 20))
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


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "settlement/1": (deleted, ""),
    "settlement/3": (foreign, "it belongs to"),
    "settlement/5": (too_old, "it was last written so long ago"),
    "settlement/7": (past_the_end, "the changelog ends at"),
    "settlement/9": (torn, "it cannot be opened"),
}
"""What is done to whose store, and what the log says of it; a store that is not there needs no word."""


def test_f13_stores_that_cannot_be_trusted_are_rebuilt_and_no_others(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=1_500, seed=13, start_ms=START_MS)
    cut = len(whole.sent) * 2 // 3
    assert DAMAGES.keys() <= tasks_gone_back_to(whole.sent, cut), "no event needs the state that is restored"
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        publisher = Publisher(broker.cluster, topics)
        publisher.send(whole.sent[:cut])
        worker = tally.start("w1")
        wait_for("two thirds are committed", lambda: tally.committed("orders") + tally.committed("payments") == cut)
        assert worker.stop() == 0, worker.text[-3000:]
        for task, (damage, _) in DAMAGES.items():
            damage(tally.state_of("w1") / task)
        records = changelog_counts(broker.cluster, topics)
        again = tally.start("w1")
        wait_for("every task runs", lambda: len(again.tasks()) == TASKS)
        assert {task: count for task, count in again.restored().items() if count} == {task: records[task] for task in DAMAGES}
        for task, (_, said) in DAMAGES.items():
            assert not said or re.search(rf"store of {task} is rebuilt from its changelog: .*{said}", again.text)
        publisher.send(whole.sent[cut:])
        publisher.close()
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def test_f13_stores_that_are_behind_read_only_what_they_lack(broker: LocalBroker, topics: str, tmp_path: Path) -> None:
    whole = plan(orders=2_000, seed=14, start_ms=START_MS)
    third = len(whole.sent) // 3
    assert len(tasks_gone_back_to(whole.sent, 2 * third)) == PARTITIONS
    with Deployment(tmp_path, broker.cluster, topics) as tally:
        state = tally.state_of("w1")
        publisher = Publisher(broker.cluster, topics)
        publisher.send(whole.sent[:third])
        worker = tally.start("w1")
        wait_for("a third is committed", lambda: tally.committed("orders") + tally.committed("payments") == third)
        assert worker.stop() == 0
        shutil.copytree(state, tmp_path / "behind")
        then = changelog_counts(broker.cluster, topics)
        publisher.send(whole.sent[third : 2 * third])
        worker = tally.start("w1")
        wait_for("two thirds are committed", lambda: tally.committed("orders") + tally.committed("payments") == 2 * third)
        assert worker.stop() == 0
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "behind", state)
        now = changelog_counts(broker.cluster, topics)
        again = tally.start("w1")
        wait_for("every task runs", lambda: len(again.tasks()) == TASKS)
        restored = again.restored()
        assert {task: count for task, count in restored.items() if count} == now - then
        assert all(0 < restored[f"settlement/{number}"] < now[f"settlement/{number}"] for number in range(PARTITIONS))
        assert "is rebuilt" not in again.text
        publisher.send(whole.sent[2 * third :])
        publisher.close()
        verdict = tally.finish(truth_of(whole))
    assert verdict.exact, verdict.headline()


def tasks_gone_back_to(sent: list[Sent], cut: int) -> set[str]:
    """Give the settlement tasks that have orders with events before and after the cut."""
    keys = {record.key for record in sent[:cut]} & {record.key for record in sent[cut:]}
    return {f"settlement/{partition_of(key.decode(), PARTITIONS)}" for key in keys if key}
