"""A peer that starts again without its local state: how soon every partition goes on, and what it read for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.peers.programs import Peer, Run
from bench.peers.run import SAMPLE_S, Backlog, follow
from bench.product import RESTORED, Offsets, Restore, Sample, parse_restore
from connectors.cluster import Cluster
from connectors.reader import end_offsets, list_topics, read_topic
from connectors.sources.generator import Plan
from connectors.sources.publish import publish
from streams.settings import Settings

ORDERS = 60_000
"""At most, of a restore: half of them fill the state, and half show that it is right after it came back."""
SESSION_S = 8.0
"""From the end of a process to its next start. Kafka Streams stays in its group until its session ends: no part of a restore."""


@dataclass(frozen=True)
class Filled:
    """A start on an empty state, and one without local state after that.

    ``ready_s`` is from the start of the process until every partition of the inputs has gone on; ``told`` is what the peer's own
    log says of the restore in it, where it says it; ``changelog_records_count`` is what is committed on its changelogs before.
    """

    start_s: float
    ready_s: float
    changelog_records_count: int
    told: Restore | None

    @property
    def records_per_s(self) -> float | None:
        """Records restored a second by the peer's own word; None where it says nothing, or was too quick for its clock."""
        return self.told.records_per_s if self.told is not None else None


def halves(sent: Plan) -> tuple[Plan, Plan]:
    """Give a plan in two. Pure."""
    at = len(sent.sent) // 2
    return Plan(sent.seed, sent.start_ms, sent.sent[:at]), Plan(sent.seed, sent.start_ms, sent.sent[at:])


def fill_and_restore(peer: Peer, run: Run, rest: Plan, say: Callable[[str], None]) -> Filled | None:
    """Let a peer take what is on the inputs, stop it, send the ``rest``, and start it again in an empty folder.

    None: it has no changelogs, and keeps its state in some other way.

    Raises:
        ProductError: it died, or stopped moving.
    """
    settings = run.settings
    empty, again = (replace(run, folder=run.folder / name) for name in ("empty", "again"))
    started_at_s = time.monotonic()
    before, _ = _through(peer, empty, say)
    first_at_s = next(each.moment.at_s for each in before if any(each.committed.values()))
    stopped_at_s = time.monotonic()
    changelog_records_count = count_changelogs(settings.cluster, settings.prefix)
    if not changelog_records_count:
        return None
    publish(rest, settings.cluster, settings.prefix)
    while time.monotonic() < stopped_at_s + SESSION_S:
        time.sleep(SAMPLE_S)
    restarted_at_s = time.monotonic()
    after, log = _through(peer, again, say)
    inputs = _inputs(settings, peer)
    ready_at_s = gone_on(after, before[-1].committed, inputs.inputs)
    told = parse_restore(log) if RESTORED.search(log) else None
    return Filled(first_at_s - started_at_s, ready_at_s - restarted_at_s, changelog_records_count, told)


def gone_on(samples: Sequence[Sample], before: Offsets, ends: Offsets) -> float:
    """Give the moment by which everything that has more than ``before`` has committed some of it. Pure."""
    more = [place for place, end in ends.items() if end > before.get(place, 0)]
    moved = (each for each in samples if all(each.committed.get(place, 0) > before.get(place, 0) for place in more))
    return next(moved).moment.at_s


def count_changelogs(cluster: Cluster, prefix: str) -> int:
    """Give how many committed records are on the changelogs of a run, which everybody calls by this word."""
    names = [name for name in list_topics(cluster) if prefix in name and "changelog" in name]
    return sum(1 for name in names if any(end_offsets(cluster, name).values()) for _ in read_topic(cluster, name))


def _inputs(settings: Settings, peer: Peer) -> Backlog:
    return Backlog.of(settings.cluster, settings.prefix, peer.group_id(settings), peer.internal)


def _through(peer: Peer, run: Run, say: Callable[[str], None]) -> tuple[list[Sample], str]:
    """Run a peer until everything is committed; give what was seen, and its log."""
    run.folder.mkdir()
    backlog = _inputs(run.settings, peer)
    with peer.start(run) as workers:
        samples = follow(backlog, workers, run.broker_pid, say)
        for worker in workers:
            worker.stop()
        return samples, "".join(worker.log() for worker in workers)
