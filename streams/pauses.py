"""Tasks are paused and resumed: by what becomes of their records, and by operators who ask for it on the worker's page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from streams.effects import Effects
from streams.epoch import Epoch
from streams.judgement import Judgement, Probe, why_crossed
from streams.tasks import Task, Tasks, TaskState

Decree = Callable[[Mapping[Task, Judgement]], Awaitable[None]]


class Failed(NamedTuple):
    """An attempt at an epoch that raised."""

    error: Exception


class Crossed(NamedTuple):
    """Too many records of these tasks died in an attempt: nothing of it is committed, the tasks are paused before it."""

    verdicts: dict[Task, Judgement]


def judged(epoch: Epoch, effects: Effects, dead_max: int) -> dict[Task, Judgement] | Crossed:
    """Give how the tasks of an attempt stand after it."""
    after, instead = dict(epoch.verdicts), {}
    for task, outcomes in epoch.outcomes(effects.dead).items():
        counted = effects.counters[task].items() if task in effects.dead else ()
        reasons = {name.removeprefix("dead|"): count for name, count in counted if name.startswith("dead|")}
        before = task.foreseen.judgement
        if before.crosses(outcomes, dead_max):
            instead[task] = paused(task, why_crossed(dead_max, reasons))
        else:
            after[task] = before.after(outcomes, reasons)
    return Crossed(instead) if instead else after


def paused(task: Task, reason: str) -> Judgement:
    """Give the verdict that pauses a task."""
    return replace(task.judgement, paused=reason, probe=None)


class Answer(NamedTuple):
    """What became of a request: an HTTP status, and a sentence."""

    status: int
    said: str


@dataclass
class Request:
    """An operator wants a task paused (``because``), or to go on: at once, or with a probe of some records first."""

    task: str
    because: str = ""
    probe_records: int = 0
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    looked_again: bool = False


class Pauses:
    """Carries out what operators ask for, between two epochs.

    ``decree`` commits how tasks stand from now on, ``look_again`` restores a task; both are the engine's.
    """

    def __init__(self, tasks: Tasks, decree: Decree, look_again: Callable[[Task], Awaitable[None]]) -> None:
        self._tasks = tasks
        self._decree = decree
        self._look_again = look_again
        self._requests: list[Request] = []

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for something to be done between two epochs."""
        return bool(self._requests)

    async def ask(self, request: Request, within_s: float) -> Answer:
        """Let the engine carry out a request, and wait for what becomes of it; one that it cannot begin in time is withdrawn."""
        self._requests.append(request)
        try:
            return await asyncio.wait_for(request.answer, within_s)
        except TimeoutError:
            return Answer(503, f"nothing was done about {request.task} within {within_s:.0f} s: its worker waits or restores")

    async def serve(self) -> None:
        """Carry out what was asked for; what has to wait for a restore is looked at again between the next two epochs."""
        requests, self._requests = self._requests, []
        for request in requests:
            if request.answer.done():
                continue
            answer = await self._serve(request)
            if answer is None:
                self._requests.append(request)
            elif not request.answer.done():
                request.answer.set_result(answer)

    async def _serve(self, request: Request) -> Answer | None:
        """Take the next step towards what is wanted; None: there is one more to take, later."""
        task = self._tasks.named(request.task)
        if task is None:
            return Answer(404, f"{request.task} is not a task of this worker")
        if task.state is TaskState.RESTORING:
            return None
        if task.state is TaskState.STOPPED and not request.because and not request.looked_again:
            request.looked_again = True
            await self._look_again(task)
            return None
        return _nothing_to_do(task, request) or await self._commit(task, request)

    async def _commit(self, task: Task, request: Request) -> Answer | None:
        records = request.probe_records
        if request.because:
            verdict, said = paused(task, f"by an operator: {request.because}"), "is paused"
        else:
            verdict = Judgement(probe=Probe(records, records) if records else None)
            said = f"goes on; after {records:,} records it is judged by these" if records else "goes on"
        await self._decree({task: verdict})
        return Answer(200, f"{task.name} {said}") if task.judgement == verdict else None


def _nothing_to_do(task: Task, request: Request) -> Answer | None:
    """Say why there is nothing to commit: it is so already, or it cannot be."""
    if task.state is TaskState.STOPPED:
        return Answer(409, f"{task.name} is stopped: {task.reason}")
    if request.because and task.state is TaskState.PAUSED:
        return Answer(200, f"{task.name} is paused already: {task.reason}")
    ends_probe = task.judgement.probe is not None and not request.probe_records
    if not request.because and task.state is TaskState.RUNNING and not ends_probe:
        return Answer(200, f"{task.name} runs")
    if not request.because and task.state is TaskState.HELD:
        return Answer(200, f"{task.name} goes on by itself; it is held: {task.reason}")
    if task.stage is None:
        return Answer(409, f"{task.name} is of no stage of the topology: it has no marker that could say that it is paused")
    return None
