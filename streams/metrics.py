"""Every metric of a worker, in one list. ``docs/metrics.md`` is made from it (``make docs``), and the page answers from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum

from streams.meter import SECONDS


class Kind(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric; ``name`` is that of its series (of a histogram without ``_bucket``, ``_sum``, ``_count``)."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str


CONSUMED = Metric(
    "tally_records_consumed_total", Kind.COUNTER, "records", ("stage", "partition"),
    "records of committed epochs; each is applied, a duplicate or a dead letter",
)  # fmt: skip
APPLIED = Metric(
    "tally_records_applied_total", Kind.COUNTER, "records", ("stage", "partition"),
    "records that changed state, or were accepted and wait",
)  # fmt: skip
DUPLICATES = Metric(
    "tally_records_duplicate_total", Kind.COUNTER, "records", ("stage", "partition", "content"),
    "records whose event_id was seen before, with the `same` content or with `other` content",
)  # fmt: skip
DEAD_LETTERS = Metric(
    "tally_dead_letters_total", Kind.COUNTER, "records", ("stage", "reason"),
    "records that could not be processed, by the reason in README's tables; `exception` is any exception that a rule raised",
)  # fmt: skip
IN_COLUMNS = Metric(
    "tally_records_in_columns_total", Kind.COUNTER, "records", ("stage",),
    "records of committed epochs that were decided in columns, many at once; all other consumed ones were decided one by one",
)  # fmt: skip
EPOCHS = Metric(
    "tally_epoch_duration_seconds", Kind.HISTOGRAM, "seconds", (),
    "of each committed epoch, from its first decision to its last write; `_count` counts epochs",
)  # fmt: skip
ABORTS = Metric(
    "tally_epoch_aborts_total", Kind.COUNTER, "attempts", ("cause",),
    "attempts at an epoch that were not committed and were made again, by the client's name of the error; "
    "ILLEGAL_GENERATION is somebody joining the group, and normal",
)  # fmt: skip
RESTORED = Metric(
    "tally_restored_records_total", Kind.COUNTER, "records", (), "changelog records that were read back into stores"
)
RESTORES = Metric(
    "tally_restore_duration_seconds", Kind.HISTOGRAM, "seconds", (),
    "of each restore, of all tasks that came at once; `_count` counts them",
)  # fmt: skip
RESTORE_LEFT = Metric(
    "tally_restore_left_records", Kind.GAUGE, "records", ("stage", "partition"),
    "changelog offsets that an owned task has still to read before it can run; 0 once it is restored",
)  # fmt: skip
TASK_STATE = Metric(
    "tally_task_state", Kind.GAUGE, "1", ("stage", "partition", "state"),
    "1 for each owned task, in its state: restoring, running, held (waits for something that passes), paused or stopped",
)  # fmt: skip
LAG_RECORDS = Metric(
    "tally_lag_records", Kind.GAUGE, "records", ("stage", "partition"),
    "offsets that an owned task has still to process; 0 when only markers of transactions are left. Looked at every 10 s, absent "
    "while the cluster does not answer",
)  # fmt: skip
LAG_SECONDS = Metric(
    "tally_lag_seconds", Kind.GAUGE, "seconds", ("stage", "partition"),
    "for how long the oldest unprocessed record of the task has been in Kafka; 0 if there is none, absent if unknown",
)  # fmt: skip
NEWEST_EVENT = Metric(
    "tally_newest_event_timestamp_seconds", Kind.GAUGE, "seconds", ("stage", "partition", "topic"),
    "the newest occurred_at that an owned task has accepted, since 1970; absent before the first",
)  # fmt: skip
WAITING = Metric(
    "tally_waiting_minor", Kind.GAUGE, "minor units", ("currency", "measure"),
    "money of accepted payments and refunds that wait for what they refer to, in owned tasks",
)  # fmt: skip
WAITING_EVENTS = Metric(
    "tally_waiting_events", Kind.GAUGE, "events", (),
    "accepted events that wait for what they refer to, in owned tasks: those with money, failed payments and cancellations",
)  # fmt: skip
TRANSACTION_AGE = Metric(
    "tally_transaction_age_seconds", Kind.GAUGE, "seconds", (),
    "for how long the transaction that is under way has been open; 0 between two",
)  # fmt: skip
POLL_AGE = Metric(
    "tally_poll_age_seconds", Kind.GAUGE, "seconds", (),
    "since the poll loop last turned, or said that it waits for the cluster; above TALLY_LIVE_TIMEOUT_MS `/health/live` fails",
)  # fmt: skip
READY = Metric(
    "tally_ready", Kind.GAUGE, "1", (), "1 once the worker has restored its first tasks, or was given none; as `/health/ready`"
)
CLUSTER_WAITS = Metric(
    "tally_cluster_waits",
    Kind.GAUGE,
    "waits",
    (),
    "things that the worker waits for just now because the cluster does not give them",
)
MEMORY_BUDGET = Metric(
    "tally_memory_budget_bytes",
    Kind.GAUGE,
    "bytes",
    (),
    "what the settings allow for queues, caches, write buffers and the epoch",
)
MEMORY = Metric("tally_memory_resident_bytes", Kind.GAUGE, "bytes", (), "resident memory of the whole process")
WORKER = Metric("tally_worker_info", Kind.GAUGE, "1", ("worker", "group"), "1; says which worker answers")

METRICS = (
    CONSUMED, APPLIED, DUPLICATES, DEAD_LETTERS, IN_COLUMNS, EPOCHS, ABORTS, RESTORED, RESTORES, RESTORE_LEFT, TASK_STATE,
    LAG_RECORDS, LAG_SECONDS, NEWEST_EVENT, WAITING, WAITING_EVENTS, TRANSACTION_AGE, POLL_AGE, READY, CLUSTER_WAITS,
    MEMORY_BUDGET, MEMORY, WORKER,
)  # fmt: skip

_INTRODUCTION = """\
# Metrics

`http://<worker>/metrics` on the port of the worker's status page, in Prometheus' text format. This page is made from
`streams/metrics.py` by `make docs`; dashboards and alert rules may use these names and labels only.

**Counters** begin at 0 in each worker process and count what that process committed. They do not move with a task, so
`sum(rate(tally_records_consumed_total[5m]))` over all workers counts every record once, whatever moved or restarted
meanwhile. Only what a killed worker did after it was last asked is missing there. The exact totals of a task, since its
first record, move with the task and are on the status page.

**Gauges** with a `partition` are there for the tasks that the worker owns now, and vanish when a task leaves. A task has one
owner, so `sum(tally_lag_records)` over all workers is the lag of the deployment; a task that nobody owns has none:
`tally status` finds it.

**Labels** are bounded: `stage` and `partition` by the topology, `reason` by README's tables and `exception`, `cause` by the
client's names of errors and `other`, `currency` by ISO 4217.
"""


def markdown() -> str:
    """Give docs/metrics.md."""
    rows = []
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        rows.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    head = ["| name | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    bounds = ", ".join(f"{bound:g}" for bound in SECONDS)
    return "\n".join([_INTRODUCTION, *head, *rows, "", f"Histograms have the upper bounds {bounds} seconds.", ""])


if __name__ == "__main__":
    sys.stdout.write(markdown())
