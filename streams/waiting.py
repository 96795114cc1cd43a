"""What a worker waits for: said in the log when it begins, and on the status page for as long as it lasts."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.back_off import CLUSTER, BackOff

log = logging.getLogger(__name__)


class Waiting:
    """The waits of one thread.

    ``look`` is called between two attempts: it gives a sign of life, and raises if the worker is to end.
    """

    def __init__(self, look: Callable[[], None], *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.look = look
        self._sleep = sleep
        self._reasons: dict[object, str] = {}

    @property
    def reasons(self) -> list[str]:
        """Give what is waited for now."""
        return list(self._reasons.values())

    @contextmanager
    def patience(self, back_off: BackOff = CLUSTER) -> Iterator[Callable[[str], None]]:
        """Give what to call, with what is waited for, after each attempt that failed; it returns when the next one may begin."""
        attempts = 0
        me = object()

        def wait(reason: str) -> None:
            nonlocal attempts
            attempts += 1
            if self._reasons.get(me) != reason:
                log.warning("waiting for %s", reason)
            self._reasons[me] = reason
            self.look()
            self._sleep(back_off.wait_s(attempts, random.random()))

        try:
            yield wait
        finally:
            self._reasons.pop(me, None)
