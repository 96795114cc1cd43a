"""A rehearsal tells of each event what the agent itself would do with it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings

from agents.ports import DAY_MS, Limits
from agents.rehearsal import OTHER_CONTENT, Outcome, rehearse
from agents.settlement.agent import declare
from agents.settlement.decide import RULE_BOOK
from agents.testing import MemoryRuntime
from schemas.events import Event, OrderPlaced
from schemas.partitioning import partition_of
from tests.property.histories import ANY_HISTORIES
from tests.unit.orders import T0_MS, cancelled, captured, failed, placed, refunded

LIMITS = Limits()
FOREVER_MS = 2**63


def outcomes(*events: Event, now_ms: int = T0_MS, future_max_ms: int = 600_000) -> list[Outcome]:
    return rehearse(events, now_ms, future_max_ms, LIMITS)


def fates(*events: Event) -> list[str]:
    return [outcome.fate for outcome in outcomes(*events)]


def test_a_history_in_order_is_applied() -> None:
    assert fates(placed(), captured(), failed(), refunded(), cancelled()) == ["applied"] * 5


def test_what_came_too_early_is_applied_when_the_rest_is_there_and_else_waits() -> None:
    assert fates(refunded(), captured(), placed()) == ["applied"] * 3
    assert fates(refunded(), captured()) == ["waiting"] * 2


def test_what_waited_and_then_broke_a_rule_is_unmatched() -> None:
    meaning = "the currency is not the order's"
    assert outcomes(captured(currency="SEK"), placed()) == [
        Outcome("unmatched", "currency_mismatch", meaning),
        Outcome("applied"),
    ]
    assert outcomes(placed(), captured(currency="SEK"))[1] == Outcome("rejected", "currency_mismatch", meaning)


def test_a_repeat_is_a_duplicate_and_one_with_other_content_is_told_apart() -> None:
    again, other = captured("e", payment_id="p-1"), captured("e", payment_id="p-2")
    assert outcomes(placed(), again, again, other)[1:] == [Outcome("applied"), Outcome("duplicate"), OTHER_CONTENT]


def test_an_event_from_the_future_is_rejected_before_the_agent_sees_it() -> None:
    early = placed(at_ms=T0_MS + 600_001)
    (outcome, second) = outcomes(early, placed("in time", at_ms=T0_MS + 600_000))
    assert (outcome.fate, outcome.reason, second) == ("rejected", "from_the_future", Outcome("applied"))


def test_an_event_beyond_the_horizon_of_those_before_it_is_rejected() -> None:
    old = placed("old", at_ms=T0_MS - 7 * DAY_MS - 1)
    assert outcomes(placed("new", order_id=_neighbour_of("o-1")), old)[1].reason == "beyond_horizon"
    assert outcomes(placed("new", order_id="elsewhere"), old)[1] == Outcome("applied")


def test_money_that_waits_longer_than_both_inputs_go_on_is_unmatched() -> None:
    neighbour, later_ms = _neighbour_of("o-1"), T0_MS + 2 * DAY_MS
    later: list[Event] = [
        placed("later", order_id=neighbour, at_ms=later_ms),
        captured("paid", order_id=neighbour, at_ms=later_ms),
    ]
    (lost, *others) = outcomes(captured(), *later, now_ms=later_ms)
    assert (lost.fate, lost.reason, bool(lost.meaning)) == ("unmatched", "waited_too_long", True)
    assert others == [Outcome("applied")] * 2


def _neighbour_of(order_id: str) -> str:
    """Give another order on the same partition."""
    here = partition_of(order_id, 12)
    return next(name for number in range(1_000) if partition_of(name := f"n-{number}", 12) == here)


@settings(max_examples=200)
@given(ANY_HISTORIES)
def test_the_outcomes_of_any_history_are_the_counters_of_the_agent(history: list[Event]) -> None:
    found = rehearse(history, FOREVER_MS, 0, LIMITS)
    batches = [[(partition_of(event.order_id, 12), event)] for event in history]
    totals = MemoryRuntime(LIMITS).run(declare, batches).totals
    counts = Counter(outcome.fate for outcome in found)
    assert counts["applied"] + counts["waiting"] + counts["unmatched"] == totals["applied"]
    assert (counts["duplicate"], counts["rejected"]) == (totals["duplicates"], totals["dead"])
    reasons = Counter(outcome.reason for outcome in found if outcome.fate == "rejected")
    assert reasons == Counter({name.removeprefix("dead|"): count for name, count in totals.items() if name.startswith("dead|")})
    meanings = {rule.reason: rule.meaning for rule in RULE_BOOK}
    assert all(outcome.meaning == meanings[outcome.reason] for outcome in found if outcome.fate == "rejected")


def test_ten_thousand_events_are_rehearsed_in_one_go() -> None:
    events: list[Event] = [placed(f"e-{number}", order_id=f"o-{number}") for number in range(10_000)]
    assert isinstance(events[0], OrderPlaced)
    assert set(outcomes(*events)) == {Outcome("applied")}
