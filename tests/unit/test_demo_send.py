from __future__ import annotations

from collections.abc import Sequence

from connectors.sources.generator import Sent, plan
from streams.demo.send import PACED_RATIO, SLOW_RATIO_MAX, Sender

RECORDS = plan(40, 7, 1_795_000_000_000).sent


class Sink:
    """Takes what a publisher takes; notes how much had come when the kill was armed."""

    def __init__(self) -> None:
        self.records: list[Sent] = []
        self.closed = False
        self.armed_at = 0

    def send(self, records: Sequence[Sent]) -> int:
        self.records += records
        return len(records)

    def close(self) -> dict[str, int]:
        self.closed = True
        return {}

    def arm(self) -> None:
        self.armed_at = len(self.records)


def sent_by(*, may_burst: bool) -> tuple[Sink, Sender]:
    sink = Sink()
    sender = Sender(RECORDS, sink, 10_000.0, sink.arm)  # type: ignore[arg-type]
    if may_burst:
        sender.may_burst.set()
    sender.run()
    assert sender.error is None
    return sink, sender


def test_all_is_sent_in_order_and_the_kill_is_armed_in_the_middle_of_the_burst() -> None:
    sink, sender = sent_by(may_burst=True)
    assert sink.records == list(RECORDS)
    assert sink.closed
    assert sender.delivered.is_set()
    assert int(len(RECORDS) * PACED_RATIO) < sink.armed_at < len(RECORDS)


def test_a_burst_waits_for_a_victim_that_has_not_its_epochs_yet_but_not_for_ever() -> None:
    early, _ = sent_by(may_burst=True)
    late, sender = sent_by(may_burst=False)
    assert late.records == list(RECORDS)
    assert sender.delivered.is_set()
    assert early.armed_at < int(len(RECORDS) * SLOW_RATIO_MAX) < late.armed_at < len(RECORDS)
