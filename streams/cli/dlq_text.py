"""How dead letters are shown: as lines, as tables, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from agents.rehearsal import Outcome
from schemas.codec import Undecodable
from schemas.documents import document_of
from schemas.events import DeadLetterDone, Event
from streams.cli.shared import table_console
from streams.cli.tail import text, time_text
from streams.inbox.desk import Act
from streams.inbox.filters import Summary
from streams.inbox.letters import DeadLetter
from streams.inbox.remedies import REMEDIES
from streams.inbox.replay import Left, said_of
from streams.inbox.routes import Outgoing, event_of
from streams.printable import printable

SENTENCE_CHARACTERS_MAX = 100
"""Of a reason in a line; `show` has it whole."""
HEX_BYTES_PER_LINE = 16
"""As every hex dump has it."""
HEX_LINES_MAX = 32
"""Of a value that is no record: its first 512 bytes."""


def summary_table(rows: Sequence[Summary]) -> None:
    """Print one row per topic and reason, and below each table how to see one letter."""
    table = Table(box=None, pad_edge=False)
    table.add_column("letters", justify="right")
    for heading in ("topic", "class", "reason", "oldest", "newest", "newest letter", "it says"):
        table.add_column(heading, no_wrap=heading != "it says", overflow="fold")
    for row in rows:
        times = (time_text(row.oldest_ms)[:19] + "Z", time_text(row.newest_ms)[:19] + "Z")
        cells = (row.topic, row.error_class, row.reason, *times, str(row.sample.address), first_line(row.sample.message))
        table.add_row(f"{row.count:,}", *(Text(printable(cell)) for cell in cells))  # not markup: it comes from outside
    table_console().print(table)


def summary_json(row: Summary) -> str:
    """Give one summary as a JSON object."""
    return json.dumps({
        "topic": row.topic, "class": row.error_class, "reason": row.reason, "letters": row.count, "done": row.done,
        "oldest_ms": row.oldest_ms, "newest_ms": row.newest_ms, "sample": str(row.sample.address),
        "message": row.sample.message,
    }, ensure_ascii=False)  # fmt: skip


def first_line(message: str) -> str:
    """Give the beginning of a sentence."""
    line = message.split("\n", 1)[0]
    return line if len(line) <= SENTENCE_CHARACTERS_MAX else f"{line[:SENTENCE_CHARACTERS_MAX]}..."


def letter_line(letter: DeadLetter, note: DeadLetterDone | None) -> str:
    """Give one letter as one line."""
    parts = [
        str(letter.address), time_text(letter.at_ms), f"{letter.error_class}/{letter.reason}", f"key {text(letter.record.key)}",
        f"from {letter.source}", f"death {letter.attempt}", first_line(letter.message),
    ]  # fmt: skip
    if note is not None:
        parts.append(f"[{said_of(note)}]")
    return printable("  ".join(parts))


def step_line(step: Act | Left, *, would: bool = False) -> str:
    """Say what is done about one letter, or ``would`` be, or why nothing is."""
    return printable(f"{step.letter.address}  {'would be ' if would else ''}{step_text(step)}")


def step_text(step: Act | Left) -> str:
    """Say the same without the letter's address."""
    if isinstance(step, Left):
        return f"left: {step.why}"
    return f"{step.action}: {route_text(step.sent) if step.sent else step.because or 'no reason was given'}"


def next_text(step: Act | Left, broken: Outcome | None) -> str:
    """Say what a replay would do, and that it would be in vain when the event breaks a rule by itself."""
    again = f"; and would die again, of {broken.reason}" if broken and isinstance(step, Act) and step.sent else ""
    return f"would be {step_text(step)}{again}"


def today_text(event: Event | None, broken: Outcome | None) -> str:
    """Say which rule the event would break by itself today; nothing where there is no event."""
    if event is None:
        return ""
    # What its order says, and whether it is too old for its partition, only a worker knows.
    return f"breaks {broken.reason}: {broken.meaning}" if broken else "breaks no rule by itself; what is booked is not looked at"


def route_text(sent: Outgoing) -> str:
    """Say where a record goes, and what is other than it was."""
    partition = "any partition" if sent.partition < 0 else f"partition {sent.partition}"
    return f"to {sent.topic}, {partition}" + "".join(f", {remark}" for remark in sent.remarks)


def letter_text(letter: DeadLetter, note: DeadLetterDone | None, next_step: str, today: str) -> str:
    """Give everything about one letter, to be read by a person."""
    times = "for the first time" if letter.attempt == 1 else f"death number {letter.attempt}"
    facts = [
        ("buried", f"{time_text(letter.at_ms)}, {times}" + (f", by {letter.buried_by}" if letter.buried_by else "")),
        ("came from", str(letter.source)),
        ("why", f"{letter.reason} ({letter.error_class}): {letter.message}"),
        ("producer", REMEDIES.get(letter.reason, "")),
        ("today", today),
        ("cut", letter.cut),
        ("done", "nothing yet" if note is None else f"{said_of(note)}, at {time_text(note.at_ms)}"),
        ("a replay", next_step),
        ("headers of", "nobody we know" if letter.family == "none" else letter.family),
        ("key", text(letter.record.key)),
    ]
    lines = [str(letter.address), *(f"  {name:<11} {said}" for name, said in facts if said)]
    lines += [f"  {'header':<11} {name}: {header_text(value)}" for name, value in letter.headers]
    if letter.stacktrace:
        lines += ["  stack trace", *(f"    {line}" for line in letter.stacktrace.rstrip().splitlines())]
    return "\n".join(printable(line) for line in [*lines, "", *body_text(letter).split("\n")])


def body_text(letter: DeadLetter) -> str:
    """Give the value as a JSON document if it is an event, else as hex with the reason."""
    event = event_of(letter)
    if event is not None:
        return json.dumps(document_of(event), indent=2, ensure_ascii=False)
    found = letter.event
    why = f"{found.reason}: {found}" if isinstance(found, Undecodable) else f"a {type(found).__name__}, which no input carries"
    return "\n".join([why, *hex_lines(letter.record.value or b"")])


def hex_lines(value: bytes) -> list[str]:
    """Give bytes as lines of offset, hex and text."""
    lines = []
    for at in range(0, min(len(value), HEX_BYTES_PER_LINE * HEX_LINES_MAX), HEX_BYTES_PER_LINE):
        part = value[at : at + HEX_BYTES_PER_LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - ASCII that can be seen
        lines.append(f"{at:06x}  {part.hex(' '):<{HEX_BYTES_PER_LINE * 3}} {shown}")
    left = len(value) - HEX_BYTES_PER_LINE * HEX_LINES_MAX
    return [*lines, f"... and {left:,} bytes"] if left > 0 else lines


def header_text(value: bytes | None) -> str:
    """Give a header's value as text if it is UTF-8, else as hex."""
    if value is None:
        return "null"
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def letter_json(letter: DeadLetter, note: DeadLetterDone | None) -> dict[str, Any]:
    """Give everything about one letter as a JSON-ready object."""
    event = event_of(letter)
    value = letter.record.value
    return {
        "address": str(letter.address), "class": letter.error_class, "reason": letter.reason, "message": letter.message,
        "family": letter.family, "buried_by": letter.buried_by, "buried_at_ms": letter.at_ms, "attempt": letter.attempt,
        "source": letter.source._asdict(), "cut": letter.cut, "stacktrace": letter.stacktrace,
        "producer_should": REMEDIES.get(letter.reason), "key": None if letter.record.key is None else text(letter.record.key),
        "headers": [[name, None if item is None else header_text(item)] for name, item in letter.headers],
        "event": None if event is None else document_of(event),
        "value_hex": value.hex() if event is None and value is not None else None,
        "done": None if note is None else {
            "action": note.action, "at_ms": note.at_ms, "by": note.by, "because": note.because, "went_to": note.went_to,
        },
    }  # fmt: skip
