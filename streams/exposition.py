"""The metrics page: the list of ``metrics.py`` filled from the state of the engine, at the moment it is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psutil
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from agents.settlement.books import WAITING_EVENTS
from agents.settlement.clocks import NEWEST as CLOCK
from schemas.currencies import DECIMALS
from streams import metrics
from streams.engine import Engine
from streams.inbox.remedies import REMEDIES
from streams.lag import Lag
from streams.marker import TopicPartition
from streams.meter import Histogram
from streams.metrics import METRICS, Kind, Metric
from streams.tasks import Task
from streams.topology import Stage, Topology

CONTENT_TYPE = "text/plain; version=0.0.4"

Samples = dict[Metric, list[tuple[tuple[str, ...], float]]]

EXCEPTION = "exception"
OTHER = "other"
EXPECTED_CAUSES = ("ILLEGAL_GENERATION", "STUCK")
"""Of aborts; they are there with 0 from the start, so that their first increase can be seen."""
_CAUSES = {name for name in vars(KafkaError) if re.fullmatch(r"[A-Z_]+", name)} | set(EXPECTED_CAUSES)


def page(engine: Engine, topology: Topology, lags: Mapping[TopicPartition, Lag], now_ms: int) -> bytes:
    """Give the page in Prometheus' text format; ``lags`` are by input partition, ``now_ms`` milliseconds since 1970."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(engine, topology, lags, now_ms))
    return generate_latest(registry)


class _Page:
    """The collector of one answer."""

    def __init__(self, engine: Engine, topology: Topology, lags: Mapping[TopicPartition, Lag], now_ms: int) -> None:
        self._engine = engine
        self._topology = topology
        self._lags = lags
        self._now_ms = now_ms

    def collect(self) -> Iterator[Family]:
        """Give every metric of the list; one without samples is given too, so that its name and meaning are seen."""
        engine = self._engine
        samples: Samples = {metric: [] for metric in METRICS}
        histograms = {metrics.EPOCHS: engine.meter.epoch_seconds, metrics.RESTORES: engine.meter.restore_seconds}
        for stage in self._topology:
            self._add_counters(samples, stage)
        self._add_worker(samples)
        for task in engine.tasks:
            if task.stage is not None:
                self._add_task(samples, task, task.stage)
        samples[metrics.WAITING] = [((currency, measure), amount) for (currency, measure), amount in _waiting(engine.tasks)]
        samples[metrics.WAITING_EVENTS] = [((), sum(task.counters.get(WAITING_EVENTS, 0) for task in engine.tasks))]
        for metric in METRICS:
            yield _family(metric, samples[metric], histograms.get(metric))

    def _add_counters(self, samples: Samples, stage: Stage) -> None:
        reasons: Counter[str] = Counter()
        for partition in range(stage.changelog.partitions):
            counter = self._engine.meter.counters.get((stage.name, partition), Counter())
            place = stage.name, str(partition)
            other = counter["duplicates|other_content"]
            samples[metrics.CONSUMED].append((place, counter["consumed"]))
            samples[metrics.APPLIED].append((place, counter["applied"]))
            samples[metrics.DUPLICATES].append(((*place, "same"), counter["duplicates"] - other))
            samples[metrics.DUPLICATES].append(((*place, "other"), other))
            for name, amount in list(counter.items()):
                kind, _, reason = name.partition("|")
                if kind == "dead" and reason:
                    reasons[reason if reason in REMEDIES else EXCEPTION] += amount
        samples[metrics.IN_COLUMNS].append(((stage.name,), self._engine.meter.in_columns[stage.name]))
        if any(topic.dead_letters for topic in stage.reads):
            samples[metrics.DEAD_LETTERS] += [((stage.name, reason), reasons[reason]) for reason in (*REMEDIES, EXCEPTION)]

    def _add_worker(self, samples: Samples) -> None:
        engine = self._engine
        causes = Counter(dict.fromkeys(EXPECTED_CAUSES, 0))
        for cause, count in list(engine.meter.aborts.items()):
            causes[cause if cause in _CAUSES else OTHER] += count
        samples[metrics.ABORTS] = [((cause,), count) for cause, count in sorted(causes.items())]
        settings = engine.settings
        for metric, value in (
            (metrics.RESTORED, engine.meter.restored_records),
            (metrics.TRANSACTION_AGE, engine.committer.transaction_age_s),
            (metrics.POLL_AGE, engine.threads.silent_s),
            (metrics.READY, int(engine.ownership.readiness.ready)),
            (metrics.CLUSTER_WAITS, sum(len(waiting.reasons) for waiting in engine.waits)),
            (metrics.MEMORY_BUDGET, settings.memory_mb << 20),
            (metrics.MEMORY, psutil.Process().memory_info().rss),
        ):
            samples[metric] = [((), value)]
        samples[metrics.WORKER] = [((settings.worker_id, settings.group_id), 1)]

    def _add_task(self, samples: Samples, task: Task, stage: Stage) -> None:
        place = stage.name, str(task.partition)
        samples[metrics.TASK_STATE].append(((*place, str(task.state)), 1))
        samples[metrics.RESTORE_LEFT].append((place, task.restore_left_records))
        for topic in stage.reads:
            newest_ms = task.counters.get(CLOCK + topic.name, 0)
            if newest_ms:
                samples[metrics.NEWEST_EVENT].append(((*place, topic.name), newest_ms / 1000))
        lags = [lag for where in task.inputs if (lag := self._lags.get(where)) is not None]
        if len(lags) == len(task.inputs):
            samples[metrics.LAG_RECORDS].append((place, sum(lag.records for lag in lags)))
            seconds = [lag.seconds(self._now_ms) for lag in lags]
            if None not in seconds:
                samples[metrics.LAG_SECONDS].append((place, max(second or 0.0 for second in seconds)))


def _waiting(tasks: Iterable[Task]) -> list[tuple[tuple[str, str], float]]:
    found: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        for name, amount in list(task.counters.items()):
            account, _, rest = name.partition("|")
            currency, _, measure = rest.partition("|")
            if account == "waiting" and currency in DECIMALS:
                found[currency, measure] += amount
    return sorted(found.items())


def _family(metric: Metric, samples: list[tuple[tuple[str, ...], float]], histogram: Histogram | None) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        assert histogram is not None  # noqa: S101 - each of the list has one
        buckets: Any = histogram.cumulated()
        return HistogramMetricFamily(metric.name, metric.meaning, buckets=buckets, sum_value=histogram.sum)
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
