"""Before a worker joins: does the cluster let it do all that it will do? What is missing is said at once, not one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.acls import Right, Role, rights_of
from streams.errors import MissingRightsError
from streams.questions import Questions
from streams.settings import Settings
from streams.topology import Topology
from streams.waiting import Waiting

PROBE_TIMEOUT_S = 10.0
"""For the coordinator of a transactional id; asked only when other rights are missing already."""


def check_rights(settings: Settings, topology: Topology, waiting: Waiting) -> None:
    """Ask the cluster what it lets this worker do; wait for it as long as it is away.

    A cluster without an authorizer lets everybody do everything, and one that does not tell is not asked twice.

    Raises:
        MissingRightsError: with every right that is missing.
    """
    needed = rights_of(Role.WORKER, settings, topology)
    topics = {right.name for right in needed if right.resource == "topic"}
    questions = Questions(settings.cluster, settings.group_id, waiting)
    missing = missing_on_topics(needed, questions.allowed_operations(topics))
    if not questions.may_see_group():
        missing += [right for right in needed if right.resource == "group"]
    if not missing:
        return  # making the producer tells of the transactional id, and takes it over only then
    if not _has_transactional_id(settings):
        missing += [right for right in needed if right.resource == "transactional-id"]
    raise MissingRightsError([str(right) for right in missing])


def missing_on_topics(needed: Iterable[Right], allowed: Mapping[str, frozenset[str] | None]) -> list[Right]:
    """Give the rights on topics that the cluster does not give. Pure.

    ``allowed`` has the operations of each topic, None where the cluster does not tell.
    """
    wanted = [right for right in needed if right.resource == "topic"]
    return [right for right in wanted if (given := allowed.get(right.name)) is not None and right.operation not in given]


def _has_transactional_id(settings: Settings) -> bool:
    """Ask for the coordinator of the worker's transactional id, which needs the same right as using it."""
    config = {
        **settings.cluster.producer(),
        "client.id": settings.transactional_id,
        "transactional.id": settings.transactional_id,
        "log_level": 0,
    }
    try:
        Producer(config, logger=None).init_transactions(PROBE_TIMEOUT_S)
    except KafkaException as error:
        return bool(error.args[0].code() != KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return True
