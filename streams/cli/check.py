"""``tally check``: which rule each event of a file would break, by the rules that the workers run. Needs no cluster."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import BinaryIO

import click

from agents.rehearsal import Fate, Outcome, rehearse
from schemas.events import Event
from schemas.topics import BY_NAME, INPUTS
from streams.document_files import problem_lines, read_documents
from streams.inbox.remedies import REMEDIES
from streams.printable import printable
from streams.settings import load_settings

EXAMPLES = """
\b
Examples:
  tally check order.json                  one event after the other, or an array of them
  tally check events.json --topic orders  events of payments are wrong here
  tally check - --json < events.json      one JSON object for each document
"""
PHRASES: dict[Fate, str] = {
    "applied": "would be applied",
    "duplicate": "would be dropped as a duplicate",
    "waiting": "would wait for what it refers to, which is not in the file",
    "unmatched": "would be accepted, wait, and leave as a row of unmatched-payments",
    "rejected": "would be rejected",
}
WELL = {"applied", "duplicate", "waiting"}
"""What may become of an event that nobody has to mend."""


@click.command("check", epilog=EXAMPLES, short_help="tell which rule an event would break")
@click.argument("file", type=click.File("rb"))
@click.option("--topic", type=click.Choice([topic.name for topic in INPUTS]), default=None, help="Take only this input's events.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each document.")
def command(file: BinaryIO, topic: str | None, as_json: bool) -> None:
    """Tell what would become of each event in FILE (- is standard input), and of what breaks a rule what to do.

    The events are taken as a history that begins with nothing and arrives now, in the order of the file: a
    payment without its order waits. What a cluster already knows is not asked. Exit code 1 when an event would
    not be booked, or a document is no event.
    """
    settings = load_settings()
    documents = read_documents(file, BY_NAME[topic] if topic else None)
    numbered = [(document.number, document.event) for document in documents if document.event is not None]
    outcomes = rehearse([event for _, event in numbered], time.time_ns() // 1_000_000, settings.future_max_ms, settings.limits)
    lines = {
        number: line(number, event, outcome, as_json=as_json) for (number, event), outcome in zip(numbered, outcomes, strict=True)
    }
    for document in documents:
        for each in problem_lines([document], as_json=as_json) if document.event is None else [lines[document.number]]:
            click.echo(each)
    counts = Counter(outcome.fate for outcome in outcomes) + Counter(invalid=len(documents) - len(numbered))
    if not as_json:
        click.echo(", ".join(f"{count} {fate}" for fate, count in counts.items()))
    sys.exit(0 if counts.keys() <= WELL else 1)


def line(number: int, event: Event, outcome: Outcome, *, as_json: bool) -> str:
    """Give what would become of an event as one line."""
    name, remedy = type(event).__name__, REMEDIES.get(outcome.reason, "")
    if as_json:
        about = {
            "document": number,
            "type": name,
            "event_id": event.event_id,
            "order_id": event.order_id,
            "outcome": outcome.fate,
        }
        why = {"reason": outcome.reason, "meaning": outcome.meaning, "remedy": remedy}
        return json.dumps(about | {key: text for key, text in why.items() if text}, ensure_ascii=False)
    parts = [f"document {number}: {name} {event.event_id} {PHRASES[outcome.fate]}"]
    if outcome.reason:
        parts.append(f"{outcome.reason}: {outcome.meaning}")
    if remedy:
        parts.append(f"what to do: {remedy}")
    return printable("; ".join(parts))
