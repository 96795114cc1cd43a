"""What timers and pages send waits in memory, within its share of the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streams.budget import MEMORY_MB_MIN, Budget
from streams.effects import MAX_SEND_BYTES, RECORD_OVERHEAD_BYTES, Output
from streams.errors import ClusterError
from streams.sends import SEND_BYTES, Sends
from streams.transaction import Aborted, Committed, Unknown

REPLY = Output("t.reply", b"k", b"x" * 999)
PLACE = {"t.reply": 1}


def with_room_for(records: int, script: Callable[[Sends], Awaitable[None]]) -> None:
    async def run() -> None:
        await script(Sends(records * (1_000 + SEND_BYTES)))

    asyncio.run(run())


def is_full(sends: Sends) -> bool:
    before = len(sends)
    try:
        sends.put(REPLY, by_agent=False)
    except ClusterError:
        assert len(sends) == before
        return True
    return False


def test_more_than_the_share_has_room_for_is_refused_with_a_sentence() -> None:
    async def script(sends: Sends) -> None:
        for _ in range(3):
            sends.put(REPLY, by_agent=False)
        with pytest.raises(ClusterError, match="3 records wait to be sent, more than TALLY_MEMORY_MB has room for"):
            sends.put(Output("t.reply", None, None), by_agent=False)
        sends.put(REPLY, by_agent=True)  # an agent's belongs to its epoch, which has a share of its own
        assert len(sends) == 4

    with_room_for(3, script)


@pytest.mark.parametrize("outcome", [Committed({}), Unknown("no answer")])
def test_what_was_sent_or_has_failed_makes_room_again(outcome: Committed | Unknown) -> None:
    async def script(sends: Sends) -> None:
        for _ in range(3):
            waits = [sends.put(REPLY, by_agent=False) for _ in range(3)]
            assert is_full(sends)
            sends.answer(sends.take(PLACE, by_agents_only=False), outcome)
            assert all(each.done() and (each.exception() is None) == isinstance(outcome, Committed) for each in waits)

    with_room_for(3, script)


def test_what_waits_for_the_next_transaction_after_an_abort_takes_its_room_as_before() -> None:
    async def script(sends: Sends) -> None:
        waits = [sends.put(REPLY, by_agent=False) for _ in range(3)]
        sends.answer(sends.take(PLACE, by_agents_only=False), Aborted("somebody joined"))
        assert is_full(sends)
        waits[0].cancel()
        sends.answer(sends.take(PLACE, by_agents_only=False), Aborted("somebody joined"))
        assert not is_full(sends), "nobody waits for that record any more"
        assert sends.give_up(ValueError("poison"))
        assert len(sends) == 0
        assert not is_full(sends)
        assert all(isinstance(each.exception(), ClusterError) for each in waits[1:])

    with_room_for(3, script)


def test_the_smallest_budget_takes_the_largest_record() -> None:
    async def run() -> None:
        sends = Sends(Budget.of(MEMORY_MB_MIN).producer_bytes)
        sends.put(Output("t.reply", None, b"x" * (MAX_SEND_BYTES - RECORD_OVERHEAD_BYTES)), by_agent=False)

    asyncio.run(run())
