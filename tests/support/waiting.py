"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from connectors.reader import ReadError

DEADLINE_S = 90.0
LOOK_S = 0.05
"""Between two looks at what costs nothing."""


def wait_for(what: str, condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Give the first true value of ``condition``; fail with ``what`` when the deadline has passed.

    What costs much to ask is asked less often: most of the time is left to those who are waited for. A cluster that does not
    answer is asked again too: on a busy machine a broker may be away for longer than a command waits for it.
    """
    end = time.monotonic() + deadline_s
    last: ReadError | None = None
    while (began := time.monotonic()) < end:
        try:
            found = condition()
        except ReadError as error:
            found, last = None, error
        if found:
            return found
        time.sleep(max(LOOK_S, 3 * (time.monotonic() - began)))
    raise AssertionError(f"after {deadline_s:.0f} s still not: {what}" + (f"; {last}" if last else "")) from last
