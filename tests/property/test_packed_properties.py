"""Packed columns are msgspec's bytes: whatever struct is written or read, and whatever happens to the bytes of one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.settlement.column_batch import KINDS, PLACED
from agents.settlement.state import Capture, OrderState, Placed
from schemas.codec import encode
from schemas.columns import as_records, fixed
from schemas.events import Event, OrderPlaced
from schemas.packed import PackedColumns
from tests.property.histories import INT64, WILD_EVENTS
from tests.property.test_columns_properties import mutated
from tests.support.columns import NEEDS_EXTENSION

pytestmark = NEEDS_EXTENSION
FUZZED_ROWS = 100
PREFIX = b"\x03"
packed = msgspec.msgpack.Encoder().encode
read = msgspec.msgpack.Decoder(OrderState).decode
orders = PackedColumns(OrderState)

NUMBERS = INT64 | st.sampled_from(
    [sign * 2**power + more for power in (5, 7, 8, 15, 16, 31, 32, 63) for sign in (1, -1) for more in (-1, 0, 1)]
)
INT64S = NUMBERS.filter(lambda number: -(2**63) <= number < 2**63)
"""Numbers around each bound at which MessagePack takes more bytes."""
TEXTS = st.text() | st.sampled_from([size * "x" for size in (31, 32, 255, 256)]) | st.just("\U0001f600" * 8)
BYTES = st.binary() | st.sampled_from([255, 256]).map(bytes)
CAPTURES = st.builds(Capture, TEXTS, INT64S, INT64S, TEXTS, INT64S, st.none() | INT64S, st.lists(TEXTS, max_size=17).map(tuple))
STATES = st.builds(
    OrderState,
    st.none() | st.builds(Placed, TEXTS, TEXTS, TEXTS, INT64S, INT64S, BYTES),
    st.none() | INT64S,
    st.lists(CAPTURES, max_size=3).map(tuple),
    INT64S,
    INT64S,
    INT64S,
    st.lists(WILD_EVENTS, max_size=3).map(tuple),
    st.lists(st.tuples(TEXTS, INT64S), max_size=17).map(tuple),
    INT64S,
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STATES, max_size=4))
def test_states_are_written_and_read_as_msgspec_does_where_the_extension_is_built(states: list[OrderState]) -> None:
    rows = [PREFIX + packed(state) for state in states]
    frame, others = orders.decode(rows, begin=1)
    assert others == []
    assert frame.schema == orders.schema
    assert [as_struct(row) for row in frame.iter_rows(named=True)] == states
    assert orders.encode(frame, PREFIX) == rows


def as_struct(row: dict[str, Any]) -> OrderState:
    seen = [(each["0"], each["1"]) for each in row["seen"]]
    waiting = [msgspec.msgpack.decode(each, type=Event) for each in row["waiting"]]
    captures = [Capture(**{**each, "refund_ids": tuple(each["refund_ids"])}) for each in row["captures"]]
    placed = row["placed"] and Placed(**row["placed"])
    return OrderState(**{**row, "placed": placed, "captures": tuple(captures), "waiting": tuple(waiting), "seen": tuple(seen)})


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
def test_long_values_are_written_and_read_as_msgspec_does_where_the_extension_is_built(count: int) -> None:
    seen = tuple((str(number), number) for number in range(count))
    placed = Placed("x" * count, "", "", 0, 0, bytes(count))
    rows = [packed(OrderState(placed=placed, seen=seen))]
    frame, others = orders.decode(rows)
    assert not others
    assert orders.encode(frame) == rows


@settings(max_examples=200, deadline=None)
@given(st.lists(WILD_EVENTS, max_size=6))
def test_events_are_written_as_msgspec_does_where_the_extension_is_built(events: list[Event]) -> None:
    found = fixed().decode([encode(event) for event in events])
    assert not found.refused
    for kind in KINDS:
        if kind not in found.frames:
            continue
        frame = as_records(kind, found.frames[kind].frame)
        of_kind = [events[index] for index in found.frames[kind].indexes]
        assert PackedColumns(kind).encode(frame) == [packed(event) for event in of_kind]
        if kind is OrderPlaced:
            names = (*PLACED, "lines")
            contents = [packed(tuple(getattr(event, name) for name in names)) for event in of_kind]
            assert PackedColumns(kind, names).encode(frame) == contents


@settings(max_examples=40, deadline=None)
@given(states=st.lists(STATES, min_size=2, max_size=3), seed=st.integers(0, 2**32))
def test_damage_hurts_no_neighbour_and_nothing_is_read_that_msgspec_refuses_where_the_extension_is_built(
    states: list[OrderState], seed: int
) -> None:
    dice = random.Random(seed)
    good = [packed(state) for state in states]
    bad = [mutated(dice, good) for _ in range(FUZZED_ROWS)]
    rows = [value for one in bad for value in (dice.choice(good), one)]
    frame, others = orders.decode(rows)
    assert others == sorted(set(others))
    assert all(index % 2 for index in others), "a good neighbour was refused"
    places = [index for index in range(len(rows)) if index not in set(others)]
    for index, row, again in zip(places, frame.iter_rows(named=True), orders.encode(frame), strict=True):
        value = rows[index]
        if not whole_but_for_what_waits(row["waiting"]):
            continue
        state = read(value)
        assert as_struct(row) == state, value.hex()
        assert read(again) == state, value.hex()


def whole_but_for_what_waits(waiting: Sequence[bytes]) -> bool:
    """Whether all that waits are events: they stand in columns as the bytes that they are, and who reads them is told."""
    try:
        for each in waiting:
            msgspec.msgpack.decode(each, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


@pytest.mark.parametrize(
    "value", [b"", b"\x9a", packed(OrderState())[:-1], packed(OrderState()) + b"\0", packed({"placed": None}), b"\xc1"]
)
def test_what_is_no_state_is_left_out_where_the_extension_is_built(value: bytes) -> None:
    good = packed(OrderState(booked_count=7))
    frame, others = orders.decode([good, value, good])
    assert others == [1]
    assert frame["booked_count"].to_list() == [7, 7]


def test_an_older_layout_is_left_to_msgspec_where_the_extension_is_built() -> None:
    older = packed(msgspec.to_builtins(OrderState())[:-1])
    assert read(older) == OrderState()
    assert orders.decode([older])[1] == [0]


def test_a_null_where_none_may_be_is_refused_where_the_extension_is_built() -> None:
    frame, _ = orders.decode([packed(OrderState())])
    with pytest.raises(ValueError, match="null stands where the row has none"):
        orders.encode(frame.with_columns(seen=None))
