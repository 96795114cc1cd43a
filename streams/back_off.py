"""How long to wait between two tries at something that passes by itself."""

from __future__ import annotations

import random

FIRST_S = 0.5
"""A restart of what is away takes seconds; a glitch is over by then."""
LONGEST_S = 15.0
"""What has come back is found within this; one question in so long is no load for anybody."""


def back_off_s(tries: int, jitter: float) -> float:
    """Give the seconds to wait after ``tries`` (1 for the first); ``jitter``, 0 to 1, keeps many from coming at once."""
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(tries - 1, 16))
    return longest * (1 + jitter) / 2


def jitter() -> float:
    """Give a number between 0 and 1, another one each time."""
    return random.random()
