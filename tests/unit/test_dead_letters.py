"""Headers of dead letters: the original ones first, then why, after KIP-1034."""

from __future__ import annotations

import pytest

from streams.dead_letters import MAX_STACKTRACE_CHARACTERS, Cause, Headers, dead_letter_headers

RULE = Cause("rule", "bad_time", "occurred_at is before the year 2000 or after 9999")


def headers_of(cause: Cause, original: Headers | None) -> Headers:
    return dead_letter_headers(cause, topic="t.orders", partition=3, offset=41, agent="settlement", at_ms=5, original=original)


def test_headers_are_named_after_kip_1034_and_ours_say_the_rest() -> None:
    assert headers_of(RULE, None) == [
        ("__streams.errors.exception", b"bad_time"),
        ("__streams.errors.message", b"occurred_at is before the year 2000 or after 9999"),
        ("__streams.errors.stacktrace", b""),
        ("__streams.errors.topic", b"t.orders"),
        ("__streams.errors.partition", b"3"),
        ("__streams.errors.offset", b"41"),
        ("__tally.errors.class", b"rule"),
        ("__tally.errors.reason", b"bad_time"),
        ("__tally.errors.at", b"5"),
        ("__tally.errors.attempt", b"1"),
        ("__tally.errors.agent", b"settlement"),
    ]


def test_original_headers_stand_first_as_they_came_twice_named_and_null_ones_too() -> None:
    original: Headers = [("trace", b"\xff\xfe"), ("trace", b"2"), ("nothing", None)]
    assert headers_of(RULE, original)[:4] == [*original, ("__streams.errors.exception", b"bad_time")]


def test_a_record_that_died_before_counts_its_attempts_and_has_each_of_our_headers_once() -> None:
    once = headers_of(RULE, [("trace", b"1")])
    thrice = headers_of(RULE, headers_of(RULE, once))
    assert dict(thrice)["__tally.errors.attempt"] == b"3"
    assert [name for name, _ in thrice] == [name for name, _ in once]
    assert thrice[0] == ("trace", b"1")


@pytest.mark.parametrize("forged", [b"", None, b"-1", b"a", b"1" * 5_000, b"\xff", "²".encode(), b" 1"])
def test_an_attempt_count_that_somebody_else_wrote_counts_as_none(forged: bytes | None) -> None:
    assert dict(headers_of(RULE, [("__tally.errors.attempt", forged)]))["__tally.errors.attempt"] == b"1"


def test_i5_a_stack_trace_is_cut_at_its_head_so_that_the_error_itself_is_kept() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("x" * MAX_STACKTRACE_CHARACTERS + " the end")

    with pytest.raises(ValueError, match="the end") as raised:
        deep(50)
    stacktrace = dict(headers_of(Cause.raised(raised.value), None))["__streams.errors.stacktrace"]
    assert stacktrace is not None
    assert len(stacktrace) <= MAX_STACKTRACE_CHARACTERS
    assert stacktrace.endswith(b" the end\n")


def test_text_that_is_no_unicode_is_written_all_the_same() -> None:
    headers = dict(headers_of(Cause("exception", "E", "lone \ud800 surrogate"), None))
    assert headers["__streams.errors.message"] == b"lone ? surrogate"
