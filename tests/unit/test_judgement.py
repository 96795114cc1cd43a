"""When a task is paused, record by record."""

from __future__ import annotations

import pytest

from streams.judgement import FRESH, WINDOW_RECORDS, Judgement, Probe, to_bytes, why_crossed

DEAD, ALIVE = b"\1", b"\0"


@pytest.mark.parametrize("alive_before", [0, 1, 499, 500, 10_000])
def test_half_of_the_last_thousand_may_die_and_the_next_one_crosses(alive_before: int) -> None:
    judgement = FRESH.after(ALIVE * alive_before, {})
    assert not judgement.crosses(DEAD * 500, 500)
    assert judgement.crosses(DEAD * 501, 500)
    half = judgement.after(DEAD * 500, {})
    assert half.recent_dead == 500
    assert half.crosses(DEAD, 500)


def test_dead_letters_leave_the_window_after_a_thousand_records() -> None:
    half = FRESH.after(DEAD * 500, {})
    assert half.crosses(ALIVE * 500 + DEAD, 500) is False, "the first of them has left when the last one comes"
    assert half.crosses(ALIVE * 499 + DEAD, 500)
    assert half.after(ALIVE * WINDOW_RECORDS, {}) == FRESH


def test_a_bad_stretch_in_the_middle_of_an_epoch_crosses_though_the_epoch_ends_well() -> None:
    assert FRESH.crosses(ALIVE * 3_000 + DEAD * 501 + ALIVE * 4_000, 500)


@pytest.mark.parametrize(("dead_max", "crosses"), [(0, True), (999, True), (WINDOW_RECORDS, False)])
def test_the_limit_can_be_none_at_all_or_out_of_reach(dead_max: int, crosses: bool) -> None:
    assert FRESH.crosses(DEAD * 5_000, dead_max) is crosses


def test_a_task_without_dead_letters_costs_its_marker_nothing() -> None:
    assert to_bytes(FRESH.after(ALIVE * 8_000, {}).recent) == b""


def test_half_of_a_probe_may_die() -> None:
    probed = Judgement(probe=Probe(4, 4))
    assert probed.after(DEAD * 2 + ALIVE * 2, {}) == FRESH
    assert probed.after(DEAD * 3 + ALIVE, {"bad_id": 1, "boom": 2}).paused == (
        "3 of the 4 probed records are dead letters (lately boom 2, bad_id 1)"
    )


def test_the_sentence_names_the_line_the_reasons_and_where_the_records_are() -> None:
    assert why_crossed(500, {"ZeroDivisionError": 1_312, "bad_id": 2, "truncated": 1, "bad_time": 1}) == (
        "more than 500 of its last 1,000 records are dead letters (lately ZeroDivisionError 1,312, bad_id 2, bad_time 1); "
        "the records at which that was so are not committed and wait in the input"
    )
