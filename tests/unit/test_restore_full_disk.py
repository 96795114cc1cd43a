"""A restore on a disk without room: real stores, no cluster. What a store has is kept, whatever the disk says."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.disk import Disk
from streams.fill import Fill
from streams.marker import Later
from streams.meter import Meter
from streams.restore import Restorer, close_store
from streams.settings import Settings
from streams.store import StandsFor, Store, StoreIdentity, StoreResources
from streams.tasks import Task, Tasks
from streams.topology import TOPOLOGY
from streams.waiting import Waiting
from tests.support.full_disk import full_disk
from tests.unit.messages import PREFIX, SETTLEMENT, running_task

IDENTITY = StoreIdentity("cluster", "group", "settlement-changelog", "topic-id")
NOW_MS = 1_795_000_000_000
TABLES = [spec.name for spec in SETTLEMENT.keeps]


@pytest.fixture
def task() -> Task:
    task = running_task(Tasks(TOPOLOGY, PREFIX), SETTLEMENT, 0, (0, 0))
    task.identity = IDENTITY
    return task


@pytest.fixture
def restorer(tmp_path: Path) -> Restorer:
    settings = Settings(home=tmp_path, bootstrap_servers="127.0.0.1:1", prefix=PREFIX, worker_id="w1")
    disk = Disk(settings.state_folder, 0)
    return Restorer(settings, StoreResources(1 << 20, 1 << 20), disk, lambda: NOW_MS, Waiting(lambda: None), Meter())


def kept(restorer: Restorer, task: Task, offset: int) -> None:
    store = Store(restorer.store_folder(task), TABLES, StoreResources(1 << 20, 1 << 20))
    store.apply({TABLES[0]: {b"o-1": b"row"}}, StandsFor(IDENTITY, offset, NOW_MS, b"marker"))
    store.close()


def test_f14_a_store_that_cannot_be_opened_on_a_full_disk_is_kept_and_built_upon_later(restorer: Restorer, task: Task) -> None:
    kept(restorer, task, 150)
    fill = Fill(task, IDENTITY, lambda: NOW_MS)
    with full_disk(), fill.guard():
        restorer._open(task, 100, 200)
    assert isinstance(fill.obstacle, Later)
    assert "File too large" in fill.obstacle.reason
    close_store(task)
    assert restorer._open(task, 100, 200) == 150
    assert task.store is not None
    assert task.store.get_many(TABLES[0], [b"o-1"]) == [b"row"]
    close_store(task)


def test_f14_a_new_store_on_a_full_disk_comes_later_too(restorer: Restorer, task: Task) -> None:
    fill = Fill(task, IDENTITY, lambda: NOW_MS)
    with full_disk(), fill.guard():
        restorer._open(task, 100, 200)
    assert isinstance(fill.obstacle, Later)
    assert restorer._open(task, 100, 200) == 100
    close_store(task)


def test_a_store_that_is_broken_is_still_rebuilt(restorer: Restorer, task: Task) -> None:
    kept(restorer, task, 150)
    (restorer.store_folder(task) / "CURRENT").write_text("nonsense")
    assert restorer._open(task, 100, 200) == 100
    assert task.store is not None
    assert task.store.get_many(TABLES[0], [b"o-1"]) == [None]
    close_store(task)


def test_f14_a_store_that_cannot_be_flushed_is_given_up_without_a_word_to_others(
    restorer: Restorer, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    restorer._open(task, 100, 200)
    assert task.store is not None
    task.store.apply({TABLES[0]: {b"o-1": b"row"}}, StandsFor(IDENTITY, 150, NOW_MS, b"marker"))
    with full_disk():
        close_store(task)
    assert task.store is None
    assert "store of settlement/0 did not close well and will be restored: " in caplog.text
    assert restorer._open(task, 100, 200) == 100
    close_store(task)
