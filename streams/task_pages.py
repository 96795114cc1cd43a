"""The pages on which operators pause a task and let it go on: ``POST /tasks/settlement/7/pause``, and ``.../resume``."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from faust.web.views import View
from msgspec import Meta, Struct

from streams.pauses import Pauses, Request

ANSWER_S = 30.0
"""For the epoch that runs, for a restore, and for the commit; a request that was not begun until then is withdrawn.

No settings here: a person waits for the answer, and says N and the reason anew each time.
"""
BECAUSE_CHARS_MAX = 1_000
"""Of what an operator says; it stands in every marker of the task until it is resumed."""
PROBE_RECORDS_MAX = 1_000_000
"""A probe buries whatever dies in it, so it is meant to be small."""


class Pausing(Struct, forbid_unknown_fields=True):
    """What the page to pause a task takes, as JSON."""

    because: Annotated[str, Meta(min_length=1, max_length=BECAUSE_CHARS_MAX)]

    def about(self, task: str) -> Request:
        """Give what the engine is asked."""
        return Request(task, because=self.because)


class Resuming(Struct, forbid_unknown_fields=True):
    """What the page to resume a task takes: after how many records it is judged anew; 0 is no probe."""

    probe: Annotated[int, Meta(ge=0, le=PROBE_RECORDS_MAX)] = 0

    def about(self, task: str) -> Request:
        """Give what the engine is asked."""
        return Request(task, probe_records=self.probe)


def add_task_pages(app: Any, pauses: Pauses) -> None:
    """Put both pages on the worker's web server. They answer with ``task`` and ``said`` once it is committed, or cannot be."""

    async def answered(view: View, request: Any, body: type[Pausing | Resuming], task: str) -> Any:
        if request.content_type != "application/json":
            # Else any web page could make the operator's browser send it: JSON is what a browser asks leave for first.
            return view.json({"task": task, "said": "the request must have the content type application/json"}, status=415)
        try:
            wanted = msgspec.json.decode(await view.read_request_content(request) or b"{}", type=body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return view.json({"task": task, "said": f"the request cannot be read: {error}"}, status=400)
        answer = await pauses.ask(wanted.about(task), ANSWER_S)
        return view.json({"task": task, "said": answer.said}, status=answer.status)

    @app.page("/tasks/{stage}/{partition}/pause")
    class Pause(View):
        async def post(self, request: Any, stage: str, partition: str) -> Any:
            """Pause a task."""
            return await answered(self, request, Pausing, f"{stage}/{partition}")

    @app.page("/tasks/{stage}/{partition}/resume")
    class Resume(View):
        async def post(self, request: Any, stage: str, partition: str) -> Any:
            """Let a task go on; one that is stopped is restored, and judged again."""
            return await answered(self, request, Resuming, f"{stage}/{partition}")
