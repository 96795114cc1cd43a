"""One peer on a paced load: started on an empty state, looked at until everything is committed, one process killed if asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.main_job import Bench
from bench.peers.pace import SENDS, Load, sending
from bench.peers.programs import Peer, Run
from bench.peers.run import SAMPLE_S, Backlog, Committed, TreeWatch, follow
from bench.product import Offsets, Sample, Worker, first_complete

READY_S = 3.0
"""After the head of the load is committed: whoever joined last has its partitions by then."""

Start = Callable[[Run], AbstractContextManager[list[Worker]]]


@dataclass(frozen=True)
class LiveRun:
    """What was seen while the load was on and until everything was committed; moments of the monotonic clock.

    ``events_per_s`` is the pace at which the records were delivered. ``killed_at_s`` is None when nobody was.
    """

    samples: Sequence[Sample]
    inputs: Offsets
    events_per_s: float
    load_ended_at_s: float
    killed_at_s: float | None = None

    @property
    def behind_s(self) -> float:
        """How long after the last record everything was committed: many seconds are a pace above what the peer can do."""
        done = first_complete(self.samples, self.inputs)
        return max(done.moment.at_s - self.load_ended_at_s, 0.0) if done is not None else float("inf")


def run_live(bench: Bench, peer: Peer, start: Start, run: Run, load: Load, kill_after_s: float | None = None) -> LiveRun:
    """Start a peer, wait until it has the head of the load, send the rest at its pace, and wait until all is committed.

    With ``kill_after_s`` the last of its processes is killed with SIGKILL so long after the pace began.

    Raises:
        ProductError: a process died that was not killed, or it stopped moving.
    """
    settings, name = run.settings, run.settings.prefix.rstrip(".")

    def on_inputs() -> Backlog:
        return Backlog.of(settings.cluster, settings.prefix, peer.group_id(settings), peer.internal)

    def say(what: str) -> None:
        bench.say(f"{name}: {what}")

    with start(run) as workers:
        head = on_inputs()
        follow(head, workers, run.broker_pid, say, quiet_s=READY_S)
        watch = Watched(head, workers, run.broker_pid)
        with sending(load, settings, run.folder) as sender:
            watch.while_sending(sender, say, kill_after_s)
            load_ended_at_s = time.monotonic()
            if sender.process.returncode != 0:
                raise sender.fail("could not send the load")
            events_per_s = float(sender.log().split()[-1])
        everything = on_inputs()
        samples = [*watch.samples, *follow(everything, watch.alive, run.broker_pid, say)]
        for worker in watch.alive:
            worker.stop()
    return LiveRun(samples, everything.inputs, events_per_s, load_ended_at_s, watch.killed_at_s)


class Watched:
    """The processes of a peer while the load is on, and what is seen of them."""

    def __init__(self, backlog: Backlog, workers: Sequence[Worker], broker_pid: int) -> None:
        self._backlog = backlog
        self._tree = TreeWatch([worker.process.pid for worker in workers], broker_pid)
        self.alive = list(workers)
        self.samples: list[Sample] = []
        self.killed_at_s: float | None = None

    def while_sending(self, sender: Worker, say: Callable[[str], None], kill_after_s: float | None) -> None:
        """Look until the sender has ended; kill the last process when its time has come.

        Raises:
            ProductError: a process died that was not killed.
        """
        sender.wait_for(lambda: SENDS in sender.log(), "had its plan")
        began_s = time.monotonic()
        committed = Committed(self._backlog.cluster, self._backlog.group_id, self._backlog.places)
        try:
            while sender.process.poll() is None:
                self.samples.append(Sample(self._tree.now(), committed.now()))
                load_s = time.monotonic() - began_s
                say(f"{load_s:.0f} s of load")
                if kill_after_s is not None and self.killed_at_s is None and load_s > kill_after_s:
                    self.killed_at_s = kill(self.alive.pop())
                ended = [worker for worker in self.alive if worker.process.poll() is not None]
                if ended:
                    raise ended[0].fail(f"ended with {ended[0].process.returncode} in the middle of the load")
                time.sleep(SAMPLE_S)
        finally:
            committed.close()


def kill(worker: Worker) -> float:
    """End a process as a power cut does, and give the moment."""
    worker.process.send_signal(signal.SIGKILL)
    at_s = time.monotonic()
    worker.process.wait()
    return at_s
