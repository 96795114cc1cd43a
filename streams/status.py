"""What a worker says of itself on its status page."""

from __future__ import annotations

from typing import Any

import psutil

from streams.engine import Engine
from streams.tasks import Task


def status_of(engine: Engine) -> dict[str, Any]:
    """Give who the worker is, its tasks with their counters, its epochs, and its aborts by cause, as plain values."""
    return {
        "worker": engine.settings.worker_id,
        "group": engine.settings.group_id,
        "member_id": engine.ownership.member_id,
        "started_at_ms": int(psutil.Process().create_time() * 1000),
        "ready": engine.ownership.readiness.ready,
        "epochs_count": engine.epochs_count,
        "aborts": dict(engine.meter.aborts),
        "waiting_for": waiting_for(engine),
        "tasks": [_task(task) for task in list(engine.tasks)],
    }


def waiting_for(engine: Engine) -> list[str]:
    """Give what the worker waits for outside of itself: its cluster, or room on its disk."""
    reasons = [reason for waiting in engine.waits for reason in waiting.reasons]
    return list(dict.fromkeys([*reasons, *filter(None, [engine.ownership.lacking])]))


def _task(task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "state": task.state,
        "reason": task.reason,
        "retry_at_ms": task.retry_at_ms,
        "epoch": task.epoch,
        "restored_records": task.restored_records,
        "restore_left_records": task.restore_left_records,
        "next_offsets": {f"{topic}/{partition}": at for (topic, partition), at in task.next_offsets.items()},
        "counters": task.counters,
        "recent_dead": task.judgement.recent_dead,
        "probe_left": task.judgement.probe.left if task.judgement.probe else 0,
    }
