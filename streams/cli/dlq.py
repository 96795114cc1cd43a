"""``tally dlq``: the dead letters as an inbox. See what died and why, mend it, send it back, or put it aside."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.documents import document_of
from schemas.events import DeadLetterDone, Event
from streams.cli import dlq_text
from streams.cli.dlq_options import Inbox, act_options, filter_options
from streams.cli.shared import cluster_options
from streams.document_files import problem_lines, read_documents
from streams.errors import RefusedError
from streams.inbox.desk import Act, Desk, done_about
from streams.inbox.filters import Filter, summarise
from streams.inbox.letters import DeadLetter
from streams.inbox.mending import mended, with_changes
from streams.inbox.replay import ATTEMPTS_MAX, Left, Replay, carry_out, said_of
from streams.inbox.routes import event_of

RATE_PER_S = 200.0
"""Letters a second: a worker decides a hundred times as many, so live events hardly notice."""
PARKED_PER_S = 10_000.0
"""Parking sends nothing to any input."""

EXAMPLES = """
\b
Examples:
  tally dlq list                                       what died, by reason
  tally dlq list payments.dlq --reason bad_time --each each of them, with its address
  tally dlq show payments.dlq/7@123                    all about one, and what to do
  tally dlq mend payments.dlq/7@123 --set amount_minor=500 --set currency=EUR
  tally dlq replay payments.dlq/7@124 orders.dlq/0@3   send back what died through no fault of its own
  tally dlq replay --reason ZeroDivisionError --dry-run
  tally dlq park orders.dlq/0@4 --because "sent by a test"
"""


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Look at dead letters, mend them, send them back to where they came from, or put them aside.

    A letter is named by its address, such as payments.dlq/7@123. What was done is noted in the same transaction in which the
    letter is sent, so doing it twice, or being killed in the middle, sends nothing twice.
    """


@command.command(name="list", short_help="Show letters, counted by reason or each.")
@click.argument("topic", required=False)
@filter_options
@click.option("--each", is_flag=True, help="One line for each letter instead of one for each reason.")
@click.option("--all", "also_done", is_flag=True, help="Also letters that were replayed, mended or parked.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Lines to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@cluster_options
def list_command(
    topic: str | None, *, each: bool, also_done: bool, limit: int | None, as_json: bool,
    prefix: str | None, bootstrap_servers: str | None, **wanted: Any,
) -> None:  # fmt: skip
    """Show the letters of TOPIC, or of every dead-letter topic: how many died of which reason.

    TOPIC may be any topic with headers of Kafka Streams, Kafka Connect or Spring.

    \b
    Examples:
      tally dlq list --since 2h
      tally dlq list orders.dlq --class undecodable --each --limit 20
    """  # noqa: D301 - \b is click's word for "keep these lines"
    inbox = Inbox(prefix, bootstrap_servers)
    done = inbox.done()
    letters = ((letter, done_about(letter, done)) for letter in inbox.letters(inbox.topics(topic), inbox.filter(**wanted)))
    shown = (pair for pair in letters if also_done or pair[1] is None)
    if each:
        for letter, note in islice(shown, limit):
            line = json.dumps(dlq_text.letter_json(letter, note), ensure_ascii=False) if as_json else None
            click.echo(line or dlq_text.letter_line(letter, note))
        return
    rows = summarise(shown)[:limit]
    if as_json:
        for row in rows:
            click.echo(dlq_text.summary_json(row))
    elif rows:
        dlq_text.summary_table(rows)
        click.echo(f"next: tally dlq show {rows[0].sample.address}")
    else:
        click.echo("no dead letters" + ("" if also_done else " that nothing was done about; --all shows the others"))


@command.command(short_help="Show all about one letter, and what to do.")
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@cluster_options
def show(address: str, *, as_json: bool, prefix: str | None, bootstrap_servers: str | None) -> None:
    """Show all about the letter at ADDRESS: why it died, what its producer should do, what a replay would do.

    \b
    Example:
      tally dlq show payments.dlq/7@123
    """  # noqa: D301 - as above
    inbox = Inbox(prefix, bootstrap_servers)
    letter, done = inbox.letter(address), inbox.done()
    note = done_about(letter, done)
    if as_json:
        click.echo(json.dumps(dlq_text.letter_json(letter, note), ensure_ascii=False))
        return
    step = Replay(inbox.mailbox, inbox.routes, named=True).step(letter, done)
    event = event_of(inbox.whole(letter))
    broken = None if event is None else inbox.broken_rule(event)
    click.echo(dlq_text.letter_text(letter, note, dlq_text.next_text(step, broken), dlq_text.today_text(event, broken)))


@command.command(short_help="Change a letter's event and send it.")
@click.argument("address")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Set a field, such as lines[0].quantity=2.")
@click.option("--file", "file", type=click.File("rb"), help="Send this document instead; - is standard input.")
@click.option("--edit", is_flag=True, help="Edit the document in $EDITOR.")
@click.option("--new-id", is_flag=True, help="Give the event a new event_id.")
@click.option("--now", "as_of_now", is_flag=True, help="Say that it occurred now, whatever occurred_at says.")
@act_options
@cluster_options
def mend(
    address: str, *, changes: tuple[str, ...], file: BinaryIO | None, edit: bool, new_id: bool, as_of_now: bool,
    dry_run: bool, by: str | None, because: str, prefix: str | None, bootstrap_servers: str | None,
) -> None:  # fmt: skip
    """Send the event of the letter at ADDRESS with other fields, or another event in its place.

    It must fit its schema and break no rule that an event can break by itself. It keeps its event_id: what was rejected left
    no trace, so the id is still free, and if it was used meanwhile the mended event is the duplicate that it should be.

    \b
    Examples:
      tally dlq mend payments.dlq/7@123 --set amount_minor=500 --set currency=EUR
      tally dlq mend orders.dlq/0@3 --file order.json      for a letter that cannot be decoded
      tally dlq mend orders.dlq/11@5 --now                 for one that came too late (beyond_horizon), and is not booked
    """  # noqa: D301 - as above
    inbox = Inbox(prefix, bootstrap_servers)
    letter = inbox.letter(address)
    if as_of_now:
        changes = (*changes, f"occurred_at={time.time_ns() // 1_000_000}")
    if not (changes or file or edit or new_id):
        raise click.UsageError(
            "say what is other: --set, --file, --edit, --new-id or --now; `tally dlq replay` sends it as it is"
        )
    event = _mended(inbox.whole(letter), changes, file, edit=edit, new_id=new_id)
    if (broken := inbox.broken_rule(event)) is not None:
        raise RefusedError(f"it would die again, of {broken.reason}: {broken.meaning}; nothing was sent")
    if not dry_run:
        inbox.may_write_events()
    act = Act(letter, "mended", inbox.routes.event(letter, event), because)
    done = inbox.done() if dry_run else (desk := inbox.desk(by)).done
    note = done_about(letter, done)
    if note is not None and note.action != "parked":
        raise RefusedError(f"{address} {said_of(note)}; nothing was sent: if it died again, `tally dlq list --each` has it anew")
    if not dry_run:
        desk.do([act])
    click.echo(dlq_text.step_line(act, would=dry_run))


@command.command(short_help="Send letters back as they are.")
@click.argument("letters", nargs=-1, metavar="[ADDRESS|TOPIC]...")
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter of every dead-letter topic.")
@click.option(
    "--rate", type=click.FloatRange(0.1), default=RATE_PER_S, show_default=True, help="Letters per second at most."
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=None, help="Letters to replay or park at most.")
@click.option(
    "--attempts-max", type=click.IntRange(1), default=ATTEMPTS_MAX, show_default=True,
    help="A letter that died so often is parked instead.",
)  # fmt: skip
@act_options
@cluster_options
def replay(
    letters: tuple[str, ...], *, everything: bool, rate: float, limit: int | None, attempts_max: int,
    dry_run: bool, by: str | None, because: str, prefix: str | None, bootstrap_servers: str | None, **wanted: Any,
) -> None:  # fmt: skip
    """Send letters back, as they are, to the topic they came from, under their keys and with their headers.

    Meant are the letters at each ADDRESS, or those of each TOPIC that the options choose. What was replayed or mended is left.
    An event whose key, partition or topic was wrong goes under its order_id, to that key's partition, to the topic of its type.

    \b
    Examples:
      tally dlq replay payments.dlq/7@123
      tally dlq replay orders.dlq --reason unknown_schema_id --rate 50
      tally dlq replay --all --dry-run
    """  # noqa: D301 - as above
    inbox = Inbox(prefix, bootstrap_servers)
    named, chosen = _chosen(inbox, letters, inbox.filter(**wanted), everything=everything)
    how = Replay(inbox.mailbox, inbox.routes, attempts_max, because, named=named)
    if dry_run:
        for step in islice(how.steps(chosen(), inbox.done()), limit):
            click.echo(dlq_text.step_line(step, would=True))
        return
    desk = inbox.desk(by)
    steps = islice(how.steps(chosen(), desk.done), limit)
    _carry_out(steps, desk, rate, None if named else min(_undone_count(chosen(), desk.done), limit or sys.maxsize))


@command.command(short_help="Put letters aside.")
@click.argument("letters", nargs=-1, metavar="[ADDRESS|TOPIC]...")
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter of every dead-letter topic.")
@act_options
@cluster_options
def park(
    letters: tuple[str, ...], *, everything: bool,
    dry_run: bool, by: str | None, because: str, prefix: str | None, bootstrap_servers: str | None, **wanted: Any,
) -> None:  # fmt: skip
    """Put letters aside: they stay for the record and are not offered again. By its address a parked one can still be sent.

    \b
    Examples:
      tally dlq park orders.dlq/0@4 --because "sent by a test"
      tally dlq park --reason already_cancelled --because "repeats, nothing to do"
    """  # noqa: D301 - as above
    inbox = Inbox(prefix, bootstrap_servers)
    named, chosen = _chosen(inbox, letters, inbox.filter(**wanted), everything=everything)
    desk = None if dry_run else inbox.desk(by)
    done = inbox.done() if desk is None else desk.done

    def steps() -> Iterator[Act | Left]:
        for letter in chosen():
            note = done_about(letter, done)
            if note is None:
                yield Act(letter, "parked", because=because)
            elif named:
                yield Left(letter, said_of(note))

    if desk is None:
        for step in steps():
            click.echo(dlq_text.step_line(step, would=True))
    else:
        _carry_out(steps(), desk, PARKED_PER_S, None)


def _mended(letter: DeadLetter, changes: tuple[str, ...], file: BinaryIO | None, *, edit: bool, new_id: bool) -> Event:
    """Give the event to send: the letter's or the file's, changed as asked."""
    event = event_of(letter)
    if file is not None:
        documents = read_documents(file)
        wrong = "; ".join(problem_lines(documents, as_json=False))
        if wrong or len(documents) > 1:
            raise RefusedError(f"{wrong or f'the file has {len(documents)} documents, and a letter is one'}; nothing was sent")
        event = documents[0].event
    if event is None:
        raise RefusedError(f"{letter.address} holds no event ({letter.message}): give the whole document with --file")
    document: Any = document_of(event)
    document = with_changes(document, changes)
    if edit:
        edited = click.edit(json.dumps(document, indent=2, ensure_ascii=False), extension=".json")
        if edited is None:
            raise RefusedError("the editor changed nothing; nothing was sent")
        try:
            document = json.loads(edited)
        except ValueError as error:
            raise RefusedError(f"what the editor left is no JSON: {error}; nothing was sent") from error
    if new_id and isinstance(document, dict):
        document["event_id"] = str(uuid.uuid4())
    return mended(document)


def _chosen(
    inbox: Inbox, asked: tuple[str, ...], wanted: Filter, *, everything: bool
) -> tuple[bool, Callable[[], Iterator[DeadLetter]]]:
    """Give whether each letter was named, and a way to read those that are meant, which may be used again."""
    addresses = [each for each in asked if "@" in each]
    if addresses:
        if len(addresses) < len(asked) or wanted != Filter() or everything:
            raise click.UsageError("name letters by their addresses, or choose them by topics and options; not both")
        return True, lambda: (inbox.letter(address) for address in addresses)
    if not asked and wanted == Filter() and not everything:
        raise click.UsageError("say which letters: addresses, topics, options such as --reason, or --all")
    topics = [name for each in asked or (None,) for name in inbox.topics(each)]
    return False, lambda: inbox.letters(topics, wanted)


def _carry_out(steps: Iterable[Act | Left], desk: Desk, rate_per_s: float, total: int | None) -> None:
    """Do the steps with a line for each that needs one; Ctrl-C ends it after the batch that is on its way."""
    refused_count = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with _until_interrupted() as stop, bar as progress:
        task = progress.add_task("letters", total=total)

        def on_done(batch: list[Act | Left]) -> None:
            nonlocal refused_count
            for step in batch:
                refused_count += isinstance(step, Left) and step.refused
                if total is None or isinstance(step, Left) or step.action == "parked":
                    click.echo(dlq_text.step_line(step))
            progress.advance(task, len(batch))

        counts = carry_out(steps, desk, rate_per_s, stop, on_done)
    click.echo(", ".join(f"{count:,} {what}" for what, count in sorted(counts.items(), reverse=True)) or "no such letters")
    if stop.is_set():
        click.echo("stopped; the other letters are as they were", err=True)
    if refused_count or stop.is_set():
        sys.exit(1)


@contextlib.contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Give a flag that Ctrl-C sets instead of raising; a second Ctrl-C raises."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: object) -> None:
        del number, frame
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _undone_count(letters: Iterable[DeadLetter], done: Mapping[str, DeadLetterDone]) -> int:
    return sum(done_about(letter, done) is None for letter in letters)
