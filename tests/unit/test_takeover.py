"""How long a takeover takes, in one sentence that says why."""

from __future__ import annotations

from streams.takeover import MEASURED_RECORDS_MIN, RESTORED_PER_S, Takeover, Wait, restore_rate

SESSION = Wait(45_000, "the broker's group.consumer.session.timeout.ms")


def takeover(transaction_ms: int = 10_000, scan_ms: int = 10_000) -> Takeover:
    return Takeover(SESSION, Wait(transaction_ms, "T"), Wait(scan_ms, "S"), 340_000, 170_000, is_measured=True)


def test_the_sentence_has_every_part_and_where_it_comes_from() -> None:
    assert takeover().sentence == (
        "a takeover of this worker's tasks takes about 47 s: 45 s until the group gives a silent worker up (the broker's "
        "group.consumer.session.timeout.ms), while the cluster ends its open transaction within 20 s (T, S); then ~2 s to "
        "restore 340,000 records (170,000 a second, as measured here)"
    )


def test_a_transaction_that_may_last_longer_than_the_session_decides() -> None:
    assert takeover(transaction_ms=60_000).seconds == 72.0


def test_a_rate_is_measured_only_by_a_restore_of_some_size() -> None:
    assert restore_rate(MEASURED_RECORDS_MIN, 0.5) == (MEASURED_RECORDS_MIN * 2, True)
    assert restore_rate(MEASURED_RECORDS_MIN - 1, 0.5) == (RESTORED_PER_S, False)
    assert restore_rate(0, 0.0) == (RESTORED_PER_S, False)
