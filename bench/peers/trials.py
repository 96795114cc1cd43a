"""What is measured of each peer beside throughput, one run of each: latency, restore, takeover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.main_job import Bench
from bench.peers.findings import LatencyRun
from bench.peers.judge import judge_peer
from bench.peers.latency import MEASURED_S, WARM_UP_S, arriving, read_latencies
from bench.peers.live import run_live
from bench.peers.pace import Load
from bench.peers.programs import Peer, Run
from bench.peers.run import forget
from bench.product import ProductError
from connectors.ground_truth import truth_of

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
        run = self._made(f"{peer.name}-latency-{pace_of}", load)
        settings = run.settings
        nothing = LatencyRun(peer.name, pace_of, right=False)
        try:
            with arriving(settings.cluster, settings.prefix) as arrivals:
                live = run_live(self._bench, peer, peer.start, run, load)
        except ProductError as error:
            return replace(nothing, said=(str(error),))
        judged = judge_peer(settings, truth_of(load.sent), is_ours=peer.is_ours)
        found = read_latencies(settings.cluster, settings.prefix, load.paced.sent, arrivals.first_ms)
        if judged.exact:
            forget(settings, run.folder)
        said = tuple(judged.lines())
        return LatencyRun(peer.name, pace_of, judged.exact, live.events_per_s, live.behind_s, found, said)

    def _made(self, name: str, load: Load) -> Run:
        """Make topics and folder, and send the head of the load."""
        settings = self._bench.publish(name, load.head)
        folder = self._folder / name
        folder.mkdir()
        return Run(settings, folder, folder / "no-shape.json", self._bench.broker_pid)
