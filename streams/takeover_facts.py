"""What the cluster says of how long a takeover takes; what it does not tell is its default, and said so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from streams import marker
from streams.admin import admin_client
from streams.aside import aside
from streams.engine import Engine
from streams.lag import offsets_of
from streams.meter import Meter
from streams.questions import EARLIEST, LATEST
from streams.settings import Settings
from streams.takeover import Takeover, Wait, restore_rate

log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""For the cluster to say its session times; without an answer Kafka's own are told."""
LOOK_S = 0.5
"""Between two looks at whether the first tasks are restored."""
SESSION = "group.consumer.session.timeout.ms"
SCAN = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
DEFAULTS_MS = {SESSION: 45_000, SCAN: 10_000}
"""Kafka's own, of brokers."""


async def say_takeover(engine: Engine) -> None:
    """Say in the log how long a takeover takes, once the first tasks are restored; nothing waits for it."""
    while not engine.ownership.readiness.ready:  # noqa: ASYNC110 - it is looked at once a turn, and costs nothing
        await asyncio.sleep(LOOK_S)
    changelogs = [task.changelog for task in engine.tasks if task.changelog is not None]
    if not changelogs:
        return
    try:
        found = await aside("takeover", lambda: takeover_of(engine.settings, changelogs, engine.meter))
    except KafkaException as error:
        log.info("how long a takeover takes is not known, the cluster does not answer: %s", error.args[0].str())
    else:
        log.info("%s", found.sentence)


def takeover_of(settings: Settings, changelogs: Iterable[marker.TopicPartition], meter: Meter) -> Takeover:
    """Ask the cluster.

    Raises:
        KafkaException: it does not answer.
    """
    admin = admin_client(settings)
    broker = _broker_config(admin)
    wanted = list(changelogs)
    starts, ends = offsets_of(admin, wanted, EARLIEST), offsets_of(admin, wanted, LATEST)
    rate, is_measured = restore_rate(meter.restored_records, meter.restore_seconds.sum)
    session = (
        _of_broker(broker, SESSION)
        if settings.group_protocol == "consumer"
        else Wait(settings.session_timeout_ms, "TALLY_SESSION_TIMEOUT_MS")
    )
    transaction = Wait(settings.transaction_timeout_ms, "TALLY_TRANSACTION_TIMEOUT_MS")
    records = sum(ends[where] - starts[where] for where in wanted)
    return Takeover(session, transaction, _of_broker(broker, SCAN), records, rate, is_measured)


def _of_broker(config: Mapping[str, str], name: str) -> Wait:
    if name in config:
        return Wait(int(config[name]), f"the broker's {name}")
    return Wait(DEFAULTS_MS[name], f"Kafka's default of {name}, for the broker does not tell its own")


def _broker_config(admin: AdminClient) -> dict[str, str]:
    """Give the configuration of one broker; empty where describing it is not allowed."""
    brokers = sorted(admin.list_topics(timeout=ANSWER_S).brokers)
    asked = ConfigResource(ResourceType.BROKER, str(brokers[0]))
    try:
        [future] = admin.describe_configs([asked], request_timeout=ANSWER_S).values()
        return {name: entry.value for name, entry in future.result().items() if entry.value is not None}
    except KafkaException as refused:
        log.debug("the broker's configuration is not told: %s", refused)
        return {}
