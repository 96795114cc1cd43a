"""A deployment's live workers, as an operator's command finds them: the group's members, and what each one's page says.

A worker's consumer says where its page is, in its client id: ``tally-w1#127.0.0.1:6067``, or ``tally-w1#:6067`` for a page that
listens on every address of the host that the cluster sees. A worker whose page does not answer is still listed, with the
partitions that the cluster says it owns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka_errors import passes
from streams import marker
from streams.errors import ClusterError
from streams.settings import Settings
from streams.task_names import tasks_in
from streams.topology import TOPOLOGY, Topology, topology_of

PAGE_TIMEOUT_S = 2.0
"""A page answers within milliseconds, unless its worker is frozen or decides a large epoch just now."""
ASK_TIMEOUT_S = 40.0
"""Of what a page is asked to do: it answers when that is committed, or gives up after half a minute."""
CLUSTER_TIMEOUT_S = 10.0
"""For the cluster to answer at all."""
GROUP_TIMEOUT_S = 60.0
"""Of a question that a cluster which has just answered should answer within milliseconds; see :func:`_described`."""
AGAIN_S = 0.2
"""Between two questions to a coordinator that is on its way."""
PAGES_AT_ONCE_MAX = 16
"""More workers than partitions have nothing to do, so this asks all of them at once."""

# A page is asked directly: a proxy of the operator's shell knows nothing of it.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Member:
    """A member of the group, as the cluster describes it; ``page`` is the address of its page, empty if it names none."""

    worker: str
    member_id: str
    host: str
    page: str
    partitions: tuple[marker.TopicPartition, ...]

    @property
    def place(self) -> str:
        """Host and port of its page, or just the host."""
        return self.page.removeprefix("http://") or self.host


@dataclass(frozen=True)
class Worker:
    """A member and its status page, as plain values; an empty ``status`` means that the page did not answer."""

    member: Member
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Tell whether its page answered."""
        return bool(self.status)

    @property
    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """Give what its page says of each of its tasks, by name."""
        return {task["task"]: task for task in self.status.get("tasks", ())}


def find_workers(admin: AdminClient, settings: Settings) -> list[Worker]:
    """Give every worker of a deployment, by name; a deployment that never ran has none.

    A dead worker is one of them until the group has given it up.

    Raises:
        ClusterError: the cluster did not answer.
    """
    members = find_members(admin, settings)
    pages = {member.page for member in members if member.page}
    if not pages:
        return [Worker(member) for member in members]
    with ThreadPoolExecutor(min(len(pages), PAGES_AT_ONCE_MAX)) as pool:
        answers = dict(zip(pages, pool.map(_read_status, pages), strict=True))
    return [Worker(member, own_status(member, settings.group_id, answers.get(member.page, {}))) for member in members]


def find_members(admin: AdminClient, settings: Settings) -> list[Member]:
    """Give the members of a consumer group, in either protocol, by name; raises like :func:`find_workers`."""
    group = _described(admin, settings)
    members = [
        member_of(settings.group_id, seen.client_id, seen.member_id, seen.host, _partitions(seen))
        for seen in (group.members if group else ())
    ]
    return sorted(members, key=lambda member: (member.worker, member.member_id))


def member_of(group_id: str, client_id: str, member_id: str, host: str, partitions: Iterable[marker.TopicPartition]) -> Member:
    """Read what a member's client id says; somebody else's consumer in the group is named by its whole client id."""
    name, mark, listens = client_id.rpartition("#")
    address, colon, port = listens.rpartition(":")
    host = host.removeprefix("/")
    if not (mark and colon and port.isdecimal() and name.startswith(f"{group_id}-")):
        return Member(client_id, member_id, host, "", tuple(sorted(partitions)))
    address = address or (f"[{host}]" if ":" in host else host)
    return Member(name.removeprefix(f"{group_id}-"), member_id, host, f"http://{address}:{port}", tuple(sorted(partitions)))


def own_status(member: Member, group_id: str, status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the status if it is this member's own, else an empty one.

    An address may answer for somebody else: for the worker that was started in the place of a dead one, whose membership lasts
    until its session ends; or for a stranger, when a page that listens on its own host only is asked from another one.
    """
    own = {"group": group_id, "worker": member.worker, "member_id": member.member_id}
    return status if own.items() <= status.items() else {}


def committed_offsets(settings: Settings, inputs: Iterable[marker.TopicPartition]) -> dict[marker.TopicPartition, int | None]:
    """Give the group's committed offset of each input, None where there is none, whatever transactions are open.

    A consumer asks that never joins: librdkafka 2.16's admin client crashes the process when the group's coordinator is moving
    or loading. A cluster on which no group ever was makes the coordinator now.

    Raises:
        KafkaException: the cluster does not answer.
    """
    asked = [TopicPartition(*where) for where in inputs]
    group = {"group.id": settings.group_id, "isolation.level": "read_uncommitted"}
    consumer = Consumer({**settings.cluster.consumer(), **group, "log_level": 2})
    deadline_s = time.monotonic() + CLUSTER_TIMEOUT_S
    try:
        while True:
            try:
                answer = consumer.committed(asked, timeout=CLUSTER_TIMEOUT_S)
            except KafkaException as error:
                if not passes(error.args[0]) or time.monotonic() > deadline_s:
                    raise
                time.sleep(AGAIN_S)
            else:
                return {(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in answer}
    finally:
        consumer.close()


def owner_of(task: str, workers: Iterable[Worker], prefix: str, topology: Topology = TOPOLOGY) -> Worker | None:
    """Give the worker that owns ``settlement/7``: by its page, else by what the cluster says it owns."""
    known = list(workers)
    by_page = next((worker for worker in known if task in worker.tasks), None)
    by_cluster = next((worker for worker in known if task in tasks_of(worker.member.partitions, prefix, topology)), None)
    return by_page or by_cluster


def tasks_of(partitions: Iterable[marker.TopicPartition], prefix: str, topology: Topology = TOPOLOGY) -> list[str]:
    """Give the names of the tasks of which all inputs are among the partitions, stage by stage."""
    owned = set(partitions)
    return [
        name
        for name, stage, partition in tasks_in(topology)
        if all((topic.named(prefix), partition) in owned for topic in stage.reads)
    ]


def ask_page(address: str, document: Mapping[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """POST a JSON document to a worker's page; give the HTTP status and the answer, None when there is no answer."""
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    request = Request(address, body, headers, method="POST")  # noqa: S310 - its scheme is ours
    try:
        with _OPENER.open(request, timeout=ASK_TIMEOUT_S) as answer:
            status, text = answer.status, answer.read()
    except HTTPError as refused:
        status, text = refused.code, refused.read()
    except (OSError, HTTPException):
        return 0, None
    try:
        found = json.loads(text)
    except ValueError:
        return status, {}
    return status, found if isinstance(found, dict) else {}


def _described(admin: AdminClient, settings: Settings) -> Any:
    """Give the group's description.

    librdkafka 2.16 aborts the process, or never ends it, after a describe_consumer_groups that timed out. So it is asked first
    whether cluster and coordinator answer, and then the question has time.
    """
    try:
        admin.list_topics(timeout=CLUSTER_TIMEOUT_S)
        committed_offsets(settings, [(topology_of(settings.version)[0].changelog.named(settings.prefix), 0)])
        return admin.describe_consumer_groups([settings.group_id], request_timeout=GROUP_TIMEOUT_S)[settings.group_id].result()
    except KafkaException as refused:
        error: KafkaError = refused.args[0]
        if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return None
        said = f"{error.str()} ({error.name()})"
        raise ClusterError(
            f"the cluster did not tell who is in group {settings.group_id}: {said}", retriable=passes(error)
        ) from None


def _partitions(member: Any) -> list[marker.TopicPartition]:
    return [(p.topic, p.partition) for p in member.assignment.topic_partitions] if member.assignment else []


def _read_status(page: str) -> dict[str, Any]:
    """Give a status page, empty when it does not answer in time or is none."""
    try:
        with _OPENER.open(f"{page}/status", timeout=PAGE_TIMEOUT_S) as answer:
            status = json.load(answer)
    except (OSError, ValueError, HTTPException):
        return {}
    return status if isinstance(status, dict) else {}
