"""What is measured of each peer beside throughput, one run of each: latency, restore, takeover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.main_job import Bench
from bench.peers.findings import LatencyRun, RestoreRun, TakeoverRun
from bench.peers.judge import Judged, judge_peer
from bench.peers.latency import MEASURED_S, WARM_UP_S, arriving, read_latencies
from bench.peers.live import run_live
from bench.peers.pace import Load
from bench.peers.programs import Peer, Run
from bench.peers.restore import ORDERS as RESTORE_ORDERS
from bench.peers.restore import fill_and_restore, halves
from bench.peers.run import forget
from bench.peers.takeover import AFTER_S, KILL_AFTER_S, takeover
from bench.product import ProductError
from connectors.ground_truth import Truth, truth_of
from connectors.sources.generator import Plan, plan

COMFORTABLE = 0.5
"""Of the events/s that a peer showed on a backlog."""


class Trials:
    """On the broker of the comparison. A peer that dies or stalls is a trial without a result: the others go on."""

    def __init__(self, bench: Bench, folder: Path, seed: int) -> None:
        self._bench = bench
        self._folder = folder
        self._seed = seed

    def latency(self, peer: Peer, pace_of: str, events_per_s: float) -> LatencyRun:
        """Measure a peer at a pace."""
        load = Load.lasting(WARM_UP_S + MEASURED_S, events_per_s, self._seed)
        run = self._made(f"{peer.name}-latency-{pace_of}", load.head)
        settings = run.settings
        nothing = LatencyRun(peer.name, pace_of, right=False)
        try:
            with arriving(settings.cluster, settings.prefix) as arrivals:
                live = run_live(self._bench, peer, peer.start, run, load)
        except ProductError as error:
            return replace(nothing, said=(str(error),))
        found = read_latencies(settings.cluster, settings.prefix, load.paced.sent, arrivals.first_ms)
        judged = self._judged(peer, run, truth_of(load.sent))
        said = tuple(judged.lines())
        return LatencyRun(peer.name, pace_of, judged.exact, live.events_per_s, live.behind_s, found, said)

    def restore(self, peer: Peer, orders: int) -> list[RestoreRun]:
        """Measure a peer that starts again without its local state, half through its events; nothing of who has no changelogs."""
        sent = plan(min(orders, RESTORE_ORDERS), self._seed)
        first, rest = halves(sent)
        run = self._made(f"{peer.name}-restore", first)
        try:
            filled = fill_and_restore(peer, run, rest, lambda what: self._bench.say(f"{peer.name}-restore: {what}"))
        except ProductError as error:
            return [RestoreRun(peer.name, peer.is_exact, said=(str(error),))]
        if filled is None:
            return []
        judged = self._judged(peer, run, truth_of(sent))
        return [RestoreRun(peer.name, peer.is_exact, filled, len(judged.problems), tuple(judged.lines()))]

    def takeover(self, peer: Peer, events_per_s: float) -> list[TakeoverRun]:
        """Kill one of two processes of a peer at a pace; nothing of who has no two processes."""
        if peer.pair is None:
            return []
        load = Load.lasting(KILL_AFTER_S + AFTER_S, events_per_s, self._seed)
        run = self._made(f"{peer.name}-takeover", load.head)
        try:
            live = run_live(self._bench, peer, peer.pair, run, load, KILL_AFTER_S)
        except ProductError as error:
            return [TakeoverRun(peer.name, peer.is_exact, said=(str(error),))]
        judged = self._judged(peer, run, truth_of(load.sent))
        assert live.killed_at_s is not None  # noqa: S101 - the load lasts longer than that
        found = takeover(live.samples, live.inputs, live.killed_at_s, live.load_ended_at_s)
        said = tuple(judged.lines())
        return [TakeoverRun(peer.name, peer.is_exact, live.events_per_s, live.behind_s, found, len(judged.problems), said)]

    def _judged(self, peer: Peer, run: Run, truth: Truth) -> Judged:
        """Judge a run, and delete what it left when it was right."""
        self._bench.say(f"{run.settings.prefix.rstrip('.')}: the judge reads what it committed", now=True)
        judged = judge_peer(run.settings, truth, is_ours=peer.is_ours)
        if judged.exact:
            forget(run.settings, run.folder)
        return judged

    def _made(self, name: str, ahead: Plan) -> Run:
        """Make topics and folder, and send what is there before the peer is."""
        settings = self._bench.publish(name, ahead)
        folder = self._folder / name
        folder.mkdir()
        return Run(settings, folder, folder / "no-shape.json", self._bench.broker_pid)
