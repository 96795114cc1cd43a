"""Waits get longer, are never twice the same, are said for as long as they last, and end when the worker is to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.back_off import ABORTED, CLUSTER, DISK, REGISTRY, BackOff
from streams.errors import WorkerError
from streams.waiting import Waiting

KINDS = st.sampled_from([ABORTED, CLUSTER, DISK, REGISTRY])


@given(KINDS, st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_lies_between_half_and_all_of_what_doubling_gives_and_has_a_limit(
    back_off: BackOff, attempt: int, luck: float
) -> None:
    whole = back_off.wait_s(attempt, 1.0)
    assert whole / 2 <= back_off.wait_s(attempt, luck) <= whole <= back_off.most_s
    assert whole <= back_off.wait_s(attempt + 1, 1.0) <= 2 * whole
    assert back_off.wait_s(attempt, 0.2) < back_off.wait_s(attempt, 0.8), "two workers do not come back at once"


@pytest.mark.parametrize("back_off", [ABORTED, CLUSTER, DISK, REGISTRY])
def test_the_first_wait_is_short_the_hundredth_is_the_longest_and_none_is_none(back_off: BackOff) -> None:
    assert back_off.wait_s(0, 1.0) == 0
    assert back_off.wait_s(1, 1.0) == back_off.first_s
    assert back_off.wait_s(100, 1.0) == back_off.most_s


def test_what_is_waited_for_is_said_once_and_shown_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    slept: list[float] = []
    looked: list[list[str]] = []
    waiting = Waiting(lambda: looked.append(waiting.reasons), sleep=slept.append)
    with waiting.patience(BackOff(1.0, 4.0)) as wait, waiting.patience() as other:
        for _ in range(4):
            wait("the cluster: it is away")
        other("room on the disk")
        assert waiting.reasons == ["the cluster: it is away", "room on the disk"]
        wait("the cluster: it is back, without a leader")
    assert waiting.reasons == []
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the cluster: it is away",
        "waiting for room on the disk",
        "waiting for the cluster: it is back, without a leader",
    ]
    assert looked[0] == ["the cluster: it is away"], "a page that is asked meanwhile has it"
    assert 0.5 <= slept[0] <= 1.0 <= slept[1] <= 2.0 <= slept[2] <= 4.0


def test_a_wait_ends_when_the_worker_is_to_end_and_is_over_then() -> None:
    def stop() -> None:
        raise WorkerError("stopped")

    waiting = Waiting(stop, sleep=lambda _: pytest.fail("it slept"))
    with pytest.raises(WorkerError), waiting.patience() as wait:
        wait("the cluster")
    assert waiting.reasons == []
