"""A batch of whatever bytes: each record is one row or one dead letter, and its neighbours do not notice (invariant I4)."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from agents.settlement.decide import decide
from schemas.codec import REASONS, encode
from schemas.events import Event
from schemas.topics import ORDERS, ORDERS_DLQ, PAYMENTS, PAYMENTS_DLQ
from streams.batch import EngineBatch, StageRecords
from streams.effects import Effects, Output
from streams.tasks import Tasks
from streams.topology import TOPOLOGY
from tests.property.damage import RECORDS, damaged
from tests.property.histories import CLASHING_EVENTS, WILD_EVENTS
from tests.support.outputs import each_of
from tests.unit.messages import PREFIX, SETTLEMENT, message, running_task

PARTITIONS = 2
Place = tuple[str, int, int]
"""Topic with prefix, partition, offset."""


class Came(NamedTuple):
    """A record as it arrives; ``event`` is what a well-behaved producer has put into it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    event: Event | None


def _good(event: Event, partition: int) -> Came:
    topic = ORDERS if type(event) in ORDERS.values else PAYMENTS
    return Came(topic.name, partition, event.order_id.encode(), encode(event), event)


INPUTS = st.sampled_from([ORDERS.name, PAYMENTS.name])
NUMBERS = st.integers(0, PARTITIONS - 1)
KEYS = st.none() | st.binary(max_size=8)
GOOD = st.builds(_good, CLASHING_EVENTS | WILD_EVENTS, NUMBERS)
DAMAGED = st.builds(Came, INPUTS, NUMBERS, KEYS, damaged(), st.none())
STRANGE = st.builds(Came, INPUTS, NUMBERS, KEYS, st.none() | st.binary(max_size=16) | RECORDS.map(encode), st.none())
BATCHES = st.lists(GOOD | DAMAGED | STRANGE, min_size=1, max_size=12)


class Begun:
    """The batch of the settlement stage that these records make, and where each record stands."""

    def __init__(self, came: list[Came]) -> None:
        self.effects = Effects()
        self.came: dict[Place, Came] = {}
        tasks = Tasks(TOPOLOGY, PREFIX)
        self.owners = {partition: running_task(tasks, SETTLEMENT, partition, (0, 0)) for partition in range(PARTITIONS)}
        messages = []
        for offset, each in enumerate(came):
            self.came[PREFIX + each.topic, each.partition, offset] = each
            messages.append(message(each.topic, offset, each.value, partition=each.partition, key=each.key))
        self.batch = EngineBatch(StageRecords(SETTLEMENT, PREFIX, messages, self.owners), self.effects, lambda: 0)

    def rows(self) -> dict[Place, Any]:
        found = {}
        for row in self.batch.rows:
            at = row.message  # type: ignore[attr-defined]
            found[at.topic(), at.partition(), at.offset()] = row
        assert len(found) == len(self.batch.rows), "a record is a row twice"
        return found

    def dead(self) -> dict[Place, Output]:
        found = {}
        for output in each_of(self.effects.outputs):
            headers = dict(output.headers or [])
            topic, partition, offset = (headers[f"__streams.errors.{name}"] or b"" for name in ("topic", "partition", "offset"))
            found[topic.decode(), int(partition), int(offset)] = output
        assert len(found) == len(self.effects.outputs), "a record was buried twice"
        return found

    def counters(self) -> Counter[str]:
        """Of all tasks together, after a look at each."""
        total: Counter[str] = Counter()
        for partition, owner in self.owners.items():
            counter = self.effects.counters.get(owner, Counter())
            assert counter["consumed"] == sum(each.partition == partition for each in self.came.values())
            assert counter["dead"] == sum(count for name, count in counter.items() if name.startswith("dead|"))
            total.update(counter)
        return total


@settings(max_examples=400)
@given(BATCHES)
def test_i4_each_record_of_a_batch_of_any_bytes_is_either_a_row_or_a_dead_letter(came: list[Came]) -> None:
    begun = Begun(came)
    rows, dead = begun.rows(), begun.dead()
    event(f"dead letters: {min(len(dead), 3)}, rows: {min(len(rows), 3)}")
    assert rows.keys() | dead.keys() == begun.came.keys()
    assert not rows.keys() & dead.keys()
    assert list(rows) == sorted(rows, key=lambda place: place[2]), "rows stand in order of arrival"
    for place, each in begun.came.items():
        if each.event is not None:
            assert rows[place].event == each.event, "a good record suffered from its neighbours"
    for place, output in dead.items():
        each, headers = begun.came[place], dict(output.headers or [])
        dlq = ORDERS_DLQ if each.topic == ORDERS.name else PAYMENTS_DLQ
        assert (output.topic, output.key, output.value) == (dlq.named(PREFIX), each.key, each.value)
        assert headers["__tally.errors.class"] == b"undecodable"
        assert (headers["__tally.errors.reason"] or b"").decode() in REASONS
    counters = begun.counters()
    assert (counters["consumed"], counters["dead"]) == (len(came), len(dead))


@settings(max_examples=400)
@given(BATCHES)
def test_i4_after_the_rule_book_the_outcomes_of_any_bytes_add_up_and_none_is_an_exception(came: list[Came]) -> None:
    begun = Begun(came)
    states: dict[tuple[int, str], Any] = {}
    for row in begun.batch.rows:
        slot = (row.partition, row.event.order_id)
        decision = begun.batch.attempt(row, decide, states.get(slot))
        if decision is not None:
            states[slot] = decision.state
    counters = begun.counters()
    assert counters["consumed"] == counters["applied"] + counters["duplicates"] + counters["dead"] == len(came)
    classes = Counter(dict(output.headers or [])["__tally.errors.class"] for output in each_of(begun.effects.outputs))
    assert classes.total() == len(begun.dead()) == counters["dead"]
    assert classes.keys() <= {b"undecodable", b"rule"}, "the rule book raised for a record that could be read"
