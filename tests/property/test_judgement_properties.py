"""The judgement of a task against a plain list of everything that became of its records, however they are cut into epochs."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import event, given
from hypothesis import strategies as st

from streams.judgement import FRESH, WINDOW_RECORDS, Judgement, Probe, from_bytes, to_bytes
from streams.marker import judgement_of, make_marker

DEAD_MAX = 500
SHARES = st.sampled_from([0.0, 0.02, 0.45, 0.55, 1.0])
RUNS = st.lists(st.tuples(SHARES, st.integers(1, 900), st.integers(0, 2**32)), min_size=1, max_size=6)


def outcomes_of(runs: list[tuple[float, int, int]]) -> bytes:
    """Give stretches of records that die at different rates; drawing each record's luck would be too much data for an example."""
    return bytes(int(luck.random() < share) for share, count, seed in runs for luck in [Random(seed)] for _ in range(count))


def cut(outcomes: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(outcomes), *(at % len(outcomes) for at in cuts)})
    return [outcomes[first:last] for first, last in pairwise(places)]


def dead_at(outcomes: bytes, at: int) -> int:
    """Count the dead among the last 1,000 records, the slow and obvious way."""
    return sum(outcomes[max(0, at + 1 - WINDOW_RECORDS) : at + 1])


def moved(judgement: Judgement) -> Judgement:
    """Give it as the next owner reads it."""
    return judgement_of(make_marker(1, "w", {}, {}, judgement))


@given(RUNS, st.lists(st.integers(0, 10_000), max_size=12))
def test_the_window_is_the_last_thousand_outcomes_over_epochs_restarts_and_moves(
    runs: list[tuple[float, int, int]], cuts: list[int]
) -> None:
    outcomes = outcomes_of(runs)
    judgement = FRESH
    for epoch in cut(outcomes, cuts):
        judgement = moved(judgement.after(epoch, {}))
    assert judgement.recent_dead == dead_at(outcomes, len(outcomes) - 1)
    said = f"{judgement.recent:0{WINDOW_RECORDS}b}"
    assert [int(digit) for digit in said] == [0] * max(0, WINDOW_RECORDS - len(outcomes)) + list(outcomes[-WINDOW_RECORDS:])


@given(RUNS, st.lists(st.integers(0, 10_000), max_size=12))
def test_the_line_is_crossed_in_the_epoch_that_has_the_first_record_with_too_many_dead_behind_it(
    runs: list[tuple[float, int, int]], cuts: list[int]
) -> None:
    outcomes = outcomes_of(runs)
    first = next((at for at in range(len(outcomes)) if dead_at(outcomes, at) > DEAD_MAX), None)
    event("crosses" if first is not None else "never crosses")
    judgement, begun, crossed = FRESH, 0, None
    for epoch in cut(outcomes, cuts):
        if judgement.crosses(epoch, DEAD_MAX):
            crossed = range(begun, begun + len(epoch))
            break
        judgement, begun = moved(judgement.after(epoch, {})), begun + len(epoch)
    assert (crossed is None) == (first is None)
    assert crossed is None or first in crossed


@given(
    st.integers(1, 3_000),
    st.lists(st.integers(1, 700), min_size=1, max_size=9),
    SHARES,
    st.randoms(),
)
def test_a_probe_takes_everything_and_is_judged_by_its_own_records_alone(
    records: int, steps: list[int], share: float, luck: object
) -> None:
    judgement, seen = Judgement(probe=Probe(records, records)), 0
    dead = 0
    for step in (*steps, records):
        if judgement.probe is None:
            break
        outcomes = bytes(int(luck.random() < share) for _ in range(min(step, judgement.probe.left)))  # type: ignore[attr-defined]
        assert not judgement.crosses(outcomes, DEAD_MAX)
        seen, dead = seen + len(outcomes), dead + sum(outcomes)
        judgement = moved(judgement.after(outcomes, {"bad_id": sum(outcomes)}))
    if seen < records:
        assert judgement.probe == Probe(records, records - seen, dead)
        assert not judgement.paused
    elif 2 * dead > records:
        assert judgement.paused.startswith(f"{dead:,} of the {records:,} probed records are dead letters (lately bad_id ")
        assert judgement.probe is None
    else:
        assert judgement == FRESH


@given(st.integers(0, (1 << WINDOW_RECORDS) - 1))
def test_a_window_is_as_short_as_it_can_be(recent: int) -> None:
    assert from_bytes(to_bytes(recent)) == recent
    assert not to_bytes(recent).startswith(b"\0")
    assert len(to_bytes(recent)) <= WINDOW_RECORDS // 8
