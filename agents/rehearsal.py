"""What would become of events: the very agent and rules, run in memory on the events alone. Pure.

A rehearsal begins with nothing: what is already booked on a cluster is not known to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from agents.envelope import Envelope, refusal
from agents.outcomes import Rejected
from agents.ports import Limits
from agents.settlement import agent as settlement
from agents.settlement.decide import RULE_BOOK
from agents.settlement.lifecycle import WAITED_TOO_LONG
from agents.settlement.rows import order_key
from agents.settlement.state import ORDER_STATE
from agents.testing import MemoryRuntime
from schemas.events import Event
from schemas.partitioning import partition_of
from schemas.topics import PARTITIONS, UNMATCHED_PAYMENTS

Fate = Literal["applied", "duplicate", "waiting", "unmatched", "rejected"]
_MEANINGS = {
    **{rule.reason: rule.meaning for rule in RULE_BOOK},
    WAITED_TOO_LONG: "what it refers to had not come when both inputs had long gone on",
}


class Outcome(NamedTuple):
    """What would become of one event. ``reason`` and ``meaning`` say why it is not booked, if there is more to say."""

    fate: Fate
    reason: str = ""
    meaning: str = ""


OTHER_CONTENT = Outcome(
    "duplicate", "other_content", "another event came under this event_id before: what is corrected needs a new one"
)


def rehearse(events: Sequence[Event], now_ms: int, future_max_ms: int, limits: Limits) -> list[Outcome]:
    """Give the outcome of each event, when they arrive in this order, all at ``now_ms``, and everything has settled.

    They arrive as ``tally send`` sends them: under their order's key, on its partition.
    """
    events = [replace(event) for event in events]  # told apart by identity: equal ones may meet different fates
    refused = {place: refused for place, event in enumerate(events) if (refused := _refusal(event, now_ms, future_max_ms))}
    admitted = [(_partition_of(event), event) for place, event in enumerate(events) if place not in refused]
    world = MemoryRuntime(limits).run(settlement.declare, ([row] for row in admitted))
    ended = {id(letter.event): Outcome("rejected", letter.reason, letter.detail) for letter in world.dead_letters}
    ended |= {id(drop.event): OTHER_CONTENT if drop.other_content else Outcome("duplicate") for drop in world.dropped}
    rows = (row.value for row in world.rows[UNMATCHED_PAYMENTS.name])
    unmatched = {(row.order_id, row.event_id): Outcome("unmatched", row.reason, _MEANINGS.get(row.reason, "")) for row in rows}
    states = world.tables.get(ORDER_STATE.name, {}).values()
    waiting = {(event.order_id, event.event_id): Outcome("waiting") for state in states for event in state.waiting}
    accepted = unmatched | waiting

    def outcome(place: int, event: Event) -> Outcome:
        if place in refused:
            return Outcome("rejected", refused[place].reason, refused[place].detail)
        return ended.get(id(event)) or accepted.get((event.order_id, event.event_id), Outcome("applied"))

    return [outcome(place, event) for place, event in enumerate(events)]


def _partition_of(event: Event) -> int:
    return partition_of(event.order_id, PARTITIONS)


def _refusal(event: Event, now_ms: int, future_max_ms: int) -> Rejected | None:
    key, partition = order_key(event), _partition_of(event)
    return refusal(Envelope(key, key, partition, partition, now_ms, future_max_ms), event)
