"""A worker that a demo has started is noted before anything can end the demo."""

from __future__ import annotations

import os
import signal

import pytest

from streams.demo.workers import interrupts_later


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_the_demo_while_a_worker_starts_comes_when_the_worker_is_noted(number: int) -> None:
    noted = []

    def start() -> None:
        with interrupts_later():
            os.kill(os.getpid(), number)
            noted.append("w1")

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert noted == ["w1"]
    assert signal.getsignal(number) is before
