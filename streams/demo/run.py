"""The run itself: workers, sender, watch and screen, and the loop that holds them together."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from connectors.sources.generator import Sent
from connectors.sources.publish import Publisher
from schemas.topics import ORDERS, PAYMENTS
from streams.demo.keys import Keys
from streams.demo.kill import EPOCHS_BEFORE_KILL, Kill, evidence_in, signal_is_due
from streams.demo.result import NotRunError, Result
from streams.demo.send import Sender
from streams.demo.state import RunState, TopicPartition
from streams.demo.view import Screen, draw, line, screen_of
from streams.demo.watch import LagSeen, OffsetsSeen, Seen, StatusSeen, Watch, WindowsSeen, deltas_behind
from streams.demo.workers import Fleet, Running, logs_folder, said_by
from streams.settings import Settings
from streams.task_names import tasks_in
from streams.topology import TOPOLOGY

TURN_S = 0.05
"""Between two looks; also how exactly the moment of a death is known."""
DRAW_EVERY_S = 0.2
"""Five pictures a second look alive."""
LINE_EVERY_S = 2.0
"""Where there is no terminal: a line of the log that somebody reads later."""
READY_TIMEOUT_S = 90.0
"""For every task to be at work; 4 s on a quiet machine, and Kafka's own minimum of a session is 45 s."""
END_S = 120.0
"""After it, and as many seconds more as the orders take by :data:`END_ORDERS_PER_S`, it is judged all the same."""
END_ORDERS_PER_S = 500
"""A tenth of the usual pace."""


class Run:
    """One run on a cluster whose topics are there. A context manager: its processes and threads end with it."""

    def __init__(self, settings: Settings, workers: int, *, kill: bool, console: Console, result: Result) -> None:
        self._settings = settings
        self._console = console
        self._result = result
        self._kill_when = logs_folder(settings) / f"{settings.prefix}kill-now"
        names = [f"w{number}" for number in range(1, workers + 1)]
        self._victim = names[-1] if kill else ""
        self._fleet = Fleet(settings, names, kill_when=self._kill_when)
        self._watch = Watch(settings, lambda: [(each.pid, each.web_port) for each in list(self._fleet.running.values())])
        self._keys = Keys()
        self._state = RunState()
        self._inputs = (ORDERS.named(settings.prefix), PAYMENTS.named(settings.prefix))
        self._sender: Sender
        self._signalled: set[int] = set()
        self._notes: list[str] = []
        self._phase = "starting"
        self._night = False
        self._began_s = time.monotonic()
        self._live: Live | None = None
        self._shown_s = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the workers; they come up while the caller makes the plan."""
        self._stack.enter_context(self._fleet)
        try:
            for worker in self._fleet.workers:
                self._start(worker)
        except BaseException:
            self._stack.close()
            raise
        self._began_s = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def carry(self, records: Sequence[Sent], events_per_s: float | None, *, orders: int) -> None:
        """Send everything, kill in the middle, and return when all of it is committed by both stages or time is up.

        Raises:
            NotRunError: `q` was pressed, or no worker is left.
            ReadError, PublishError, ClusterError: the cluster is gone.
        """
        publisher = Publisher(self._settings.cluster, self._settings.prefix)
        self._sender = self._stack.enter_context(Sender(records, publisher, events_per_s, self._kill_when.touch))
        self._stack.enter_context(self._keys)
        self._stack.enter_context(self._watch)
        if self._console.is_terminal:
            self._live = self._stack.enter_context(Live(console=self._console, auto_refresh=False, vertical_overflow="crop"))
        self._until_ready()
        self._phase = "steady"
        self._result.phases_s["workers"] = time.monotonic() - self._began_s
        self._sender.start()
        sending_s = time.monotonic()
        end_s = sending_s + END_S + orders / END_ORDERS_PER_S + self._sender.paced_s_max
        while not self._is_done():
            if time.monotonic() > end_s:
                self._result.remarks.append(f"judged after {end_s - sending_s:.0f} s, before everything was processed")
                break
            self._turn()
        self._note_speed(sending_s)

    def close_windows(self) -> dict[str, int]:
        """Start the workers anew as for a quiet night, and return when every window is final or time is up.

        Gives the exit codes of the workers of the day.

        Raises:
            NotRunError: `q` was pressed, or no worker is left.
        """
        self._phase, self._night = "closing", True
        self._show(at_once=True)
        codes = self._fleet.stop()
        for member in self._state.alive():
            self._state.forget(member.pid)
        for worker in self._fleet.workers:
            self._start(worker)
        self._watch.ask_windows()
        self._note("all is processed; the workers start anew, for a night without events: windows become final")
        end_s = time.monotonic() + END_S
        while not self._state.all_final:
            if time.monotonic() > end_s:
                self._result.remarks.append(f"judged after {END_S:.0f} s of night, before every window was final")
                break
            self._turn()
        return codes

    def stop(self) -> dict[str, int]:
        """End the workers in order, and give their exit codes."""
        self._phase = "stopping"
        self._show(at_once=True)
        codes = self._fleet.stop()
        self._phase = "judging"
        for member in self._state.alive():
            member.ended = "stopped"
        self._show(at_once=True)
        return codes

    def _until_ready(self) -> None:
        wanted = {task.name for task in tasks_in(TOPOLOGY)}
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not wanted <= self._state.tasks_running():
            if time.monotonic() > deadline_s:
                worker = self._fleet.workers[0]
                raise NotRunError(
                    f"the workers were not ready within {READY_TIMEOUT_S:.0f} s; "
                    f"{worker} said last: {self._fleet.last_words(worker)} (all of it: {self._fleet.log(worker)})"
                )
            self._turn()

    def _turn(self) -> None:
        self._follow_keys(self._keys.wait(TURN_S))
        self._follow_ended()
        self._follow_seen()
        self._follow_plan()
        if self._sender.error is not None:
            raise self._sender.error
        if self._phase == "steady" and self._sender.burst_s is not None:
            self._phase = "burst"
        self._show()

    def _follow_keys(self, pressed: str) -> None:
        if "q" in pressed:
            raise NotRunError(f"ended by hand after {self._consumed:,} of {self._sender.total_count:,} events")
        if "k" in pressed and self._fleet.running:
            self._fleet.kill(random.choice(sorted(self._fleet.running)))

    def _follow_ended(self) -> None:
        for running, code in self._fleet.take_ended():
            if code == -signal.SIGKILL:
                self._note_kill(running)
                self._start(running.worker)
                continue
            self._state.ended(running.pid, "ended")
            said = f"{running.worker} ended by itself with {said_by(code)} ({self._fleet.log(running.worker)})"
            self._result.remarks.append(said)
            self._note(f"{said}: {self._fleet.last_words(running.worker)}")
        if not self._fleet.running:
            worker = self._fleet.workers[0]
            raise NotRunError(f"every worker ended by itself; {worker} said last: {self._fleet.last_words(worker)}")

    def _follow_seen(self) -> None:
        for seen in self._watch.take():
            self._see(seen)
        for kill in self._result.kills:
            if kill.settled and kill.pid in self._state.members:
                self._state.forget(kill.pid)
                after = "had no lag" if kill.takeover_s is None else f"answered after {kill.takeover_s:.1f} s"
                self._note(f"the tasks of {kill.worker} (pid {kill.pid}) {after}")

    def _see(self, seen: Seen) -> None:
        kills = self._result.kills
        match seen:
            case StatusSeen():
                self._state.see_status(seen.pid, seen.sample, seen.at_s)
            case OffsetsSeen():
                self._state.see_offsets(seen.committed, self._inputs, seen.at_s)
                for kill in kills:
                    kill.see_offsets(seen.committed, seen.at_s)
            case LagSeen():
                for kill in [kill for kill in kills if kill.pid == seen.pid]:
                    kill.see_lag(seen.committed, seen.lag)
            case WindowsSeen():
                self._state.see_windows(seen.open_count, seen.final_count)
            case _:
                raise seen.error

    def _follow_plan(self) -> None:
        """Let the burst begin when the kill that it is for is possible; kill from outside when it is overdue, with lag."""
        victim = self._fleet.running.get(self._victim)
        if victim is None or self._state.members[victim.pid].sample.epochs_count > EPOCHS_BEFORE_KILL:
            self._sender.may_burst.set()
        if victim is None or self._kill_happened or victim.pid in self._signalled or not self._sender.sent_count > self._consumed:
            return
        started_s = self._state.members[victim.pid].started_s
        if signal_is_due(time.monotonic(), armed_s=self._sender.armed_s, started_s=started_s):
            self._signalled.add(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    @property
    def _kill_happened(self) -> bool:
        return any(kill.by != "key" for kill in self._result.kills)

    def _start(self, worker: str) -> None:
        restarted = any(kill.worker == worker for kill in self._result.kills)
        armed = worker == self._victim and not self._kill_happened and not self._night
        running = self._fleet.start(worker, armed=armed, night=self._night)
        self._state.started(worker, running.pid, time.monotonic(), restarted=restarted)

    def _note_kill(self, running: Running) -> None:
        died_s = time.monotonic()
        sample = self._state.members[running.pid].sample
        tasks = {task.name: self._inputs_of(task.name) for task in sample.tasks}
        with self._fleet.log(running.worker).open(errors="replace") as log:
            evidence = evidence_in(log, running.pid)
        by = "kill point" if evidence else "signal" if running.pid in self._signalled else "key"
        kill = Kill(running.worker, running.pid, by, died_s, tasks, sample.epochs_count, evidence=evidence)  # type: ignore[arg-type]
        self._result.kills.append(kill)
        self._state.ended(running.pid, "killed")
        self._watch.ask_lag(running.pid)
        where = f"in epoch {evidence.epoch:,}, {evidence.records:,} records to redo" if evidence else "by a signal"
        self._note(f"{running.worker} (pid {running.pid}) killed {where}")

    def _inputs_of(self, task: str) -> tuple[TopicPartition, ...]:
        name, _, partition = task.rpartition("/")
        stage = next(stage for stage in TOPOLOGY if stage.name == name)
        return tuple((topic.named(self._settings.prefix), int(partition)) for topic in stage.reads)

    def _is_done(self) -> bool:
        if not self._sender.delivered.is_set() or self._consumed < self._sender.total_count or self._state.in_flight():
            return False
        if not all(kill.settled for kill in self._result.kills):
            return False
        return not deltas_behind(self._settings.cluster, self._settings.prefix, self._state.committed)

    @property
    def _consumed(self) -> int:
        return self._state.consumed(self._inputs)

    def _note_speed(self, sending_s: float) -> None:
        done_s, burst_s = time.monotonic(), self._sender.burst_s or time.monotonic()
        self._result.phases_s |= {"steady": burst_s - sending_s, "burst": done_s - burst_s}
        self._result.events_per_s = self._consumed / (done_s - sending_s)
        self._result.peak_events_per_s = self._state.peak_per_s

    def _note(self, text: str) -> None:
        self._notes.append(f"{time.monotonic() - self._began_s:5.1f} s  {text}")
        if not self._console.is_terminal:
            self._console.print(self._notes[-1], soft_wrap=True)

    def _show(self, *, at_once: bool = False) -> None:
        now_s = time.monotonic()
        if not at_once and now_s - self._shown_s < (DRAW_EVERY_S if self._live else LINE_EVERY_S):
            return
        self._shown_s = now_s
        if self._live:
            self._live.update(draw(self._screen(now_s), *self._console.size), refresh=True)
        else:
            self._console.print(line(self._screen(now_s)), soft_wrap=True)

    def _screen(self, now_s: float) -> Screen:
        return screen_of(
            self._state,
            self._result.kills,
            title="tally demo: orders and payments, exact through a kill -9"
            if self._victim
            else "tally demo: orders and payments",
            phase=self._phase,
            began_s=self._began_s,
            now_s=now_s,
            sent=self._sender.sent_count,
            total=self._sender.total_count,
            prefix=self._settings.prefix,
            grace_ms=self._settings.grace_ms,
            notes=self._notes,
            keys=self._keys.here and self._phase not in {"stopping", "judging"},
        )
