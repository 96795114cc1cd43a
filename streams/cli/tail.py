"""``tally tail``: shows the committed records of a topic, decoded, one readable line each."""

from __future__ import annotations

import difflib
import heapq
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
import msgspec

from connectors.reader import ReadRecord, follow_topic, list_topics, offsets_since, read_topic
from schemas import codec
from schemas.currencies import money
from schemas.topics import BY_NAME, MARKER_KEY, Kind, Topic
from schemas.wire import FIXED, ID_HEADER, Wire
from streams.cli.moments import moment_ms
from streams.cli.shared import cluster_answers, cluster_options
from streams.errors import MissingTopic
from streams.printable import printable
from streams.registry import Registry, connect, wire_of
from streams.settings import Settings, load_cluster_settings
from streams.versions import ONLY_LIVE, Versions, read_by, read_versions

HEX_BYTES_MAX = 48
"""Of a value that cannot be decoded; enough to see header and first fields."""

EXAMPLES = """
\b
Examples:
  tally tail revenue-by-merchant-1m --limit 5     the five newest rows
  tally tail order-status --key o-1-000123        the history of one order
  tally tail payments.dlq                         dead letters, each with its reason
  tally tail orders --from latest                 what comes from now on, until Ctrl-C
  tally tail order-status --from -15m             what came in the last quarter of an hour
  tally tail order-status --uncommitted           also what open and aborted transactions wrote
  tally tail revenue-changelog --key '!marker'    what each epoch stood for
  TALLY_VERSION=v2 tally tail order-status        of this version, not of the current one (`tally reprocess`)
"""


def _begin(context: click.Context, parameter: click.Parameter, value: str) -> str | int:
    """Give the word as it is, or the time in milliseconds since 1970."""
    if value in {"earliest", "latest"}:
        return value
    since_ms = moment_ms(context, parameter, value)
    assert since_ms is not None  # noqa: S101 - there is a value
    return since_ms


@click.command("tail", epilog=EXAMPLES, short_help="show a topic's records, decoded")
@click.argument("topic")
@click.option(
    "--limit", type=click.IntRange(1), default=None, help="Records to show; of compacted topics the newest, else the first."
)
@click.option(
    "--from", "begin", metavar="earliest|latest|TIME", callback=_begin, default="earliest", show_default=True,
    help="earliest: what is there now; a TIME (2026-11-23T17:00:00Z, or -15m): what came since; latest: what comes from now on.",
)  # fmt: skip
@click.option("--key", default=None, help="Only records with this key.")
@click.option("--uncommitted", is_flag=True, help="Also what belongs to open and aborted transactions: no total counts that.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@cluster_options
def command(
    *,
    topic: str,
    limit: int | None,
    begin: str | int,
    key: str | None,
    uncommitted: bool,
    as_json: bool,
    prefix: str | None,
    bootstrap_servers: str | None,
) -> None:
    """Show the committed records of TOPIC: a declared name (such as order-status) or a full one."""
    settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
    with suppress(KeyboardInterrupt), cluster_answers():
        name, declared = find_topic(
            topic, settings, list_topics(settings.cluster), read_versions(settings.cluster, settings.prefix)
        )
        records = _records(settings, name, begin, committed_only=not uncommitted)
        if key is not None:
            records = (record for record in records if record.key == key.encode())
        registry = connect(settings)
        newest = declared is not None and declared.is_compacted and begin != "latest"
        found = False
        for record in limited(records, limit, newest=newest):
            found, wire = True, _wire(registry, record, declared)
            click.echo(json_line(record, declared, wire) if as_json else line(record, declared, wire))
        if not found:
            click.echo(nothing_found(name, declared, key, committed_only=not uncommitted), err=True)


def nothing_found(name: str, declared: Topic | None, key: str | None, *, committed_only: bool) -> str:
    """Say what was looked for in vain, and what the topic's keys are made of where somebody asked for one."""
    none = "no committed record" if committed_only else "no record"
    if key is None:
        return f"{none} of {name} is there"
    made_of = f": its keys are {declared.key}" if declared is not None else ""
    return printable(f"{none} of {name} has the key {key}{made_of}")


def _records(settings: Settings, name: str, begin: str | int, *, committed_only: bool) -> Iterable[ReadRecord]:
    if begin == "latest":
        return follow_topic(settings.cluster, name, committed_only=committed_only)
    since = offsets_since(settings.cluster, name, begin) if isinstance(begin, int) else None
    return read_topic(settings.cluster, name, committed_only=committed_only, from_offsets=since)


def _wire(registry: Registry | None, record: ReadRecord, declared: Topic | None) -> Wire:
    """Give what the record's schema id means; changelogs have the catalogue's ids everywhere."""
    return FIXED if declared is not None and declared.kind is Kind.CHANGELOG else wire_of(registry, record)


def find_topic(asked: str, settings: Settings, there: Iterable[str], versions: Versions = ONLY_LIVE) -> tuple[str, Topic | None]:
    """Give a topic's full name and its declaration, if it has one; of an output that of the version that readers are to read.

    Raises:
        MissingTopic: a sentence with near matches, or with what to run.
    """
    names = set(there)
    declared = BY_NAME.get(asked)
    declared = declared and read_by(declared, settings.version, versions)
    if declared is not None and declared.named(settings.prefix) in names:
        return declared.named(settings.prefix), declared
    if asked in names:
        # The longest declared name that ends the full one: `x.payments.dlq` is `payments.dlq`.
        ends = [topic for topic in BY_NAME.values() if asked.endswith(topic.name)]
        return asked, max(ends, key=lambda topic: len(topic.name), default=None)
    if declared is not None:
        full = declared.named(settings.prefix)
        raise MissingTopic(f"the cluster has no topic {full} yet: run `tally topics apply`, or check --prefix")
    near = difflib.get_close_matches(asked, {*BY_NAME, *names}, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"declared are {', '.join(BY_NAME)}"
    raise MissingTopic(f"there is no topic {asked}; {hint}")


def limited(records: Iterable[ReadRecord], limit: int | None, *, newest: bool) -> Iterator[ReadRecord]:
    """Give all records, the first ``limit``, or with ``newest`` the last ``limit`` by time, newest last."""
    if limit is None or not newest:
        yield from islice(records, limit)
        return
    # The place breaks ties, since bytes and None cannot be compared.
    numbered = ((record.timestamp_ms, record.offset, record.partition, record) for record in records)
    yield from (item[3] for item in sorted(heapq.nlargest(limit, numbered, key=_place), key=_place))


def _place(item: tuple[int, int, int, ReadRecord]) -> tuple[int, int, int]:
    return item[:3]


def line(record: ReadRecord, declared: Topic | None, wire: Wire = FIXED) -> str:
    """Give a record as one readable line: time, partition/offset, key, fields; for a dead letter also why it died."""
    parts = [time_text(record.timestamp_ms), f"{record.partition}/{record.offset}", text(record.key)]
    if declared is not None and declared.kind is Kind.DLQ:
        headers = error_headers(record)
        parts.append(f"{headers.get('reason', 'no reason')}: {headers.get('message', 'no message')}")
    whole = "  ".join([*parts, value_text(record, declared, wire)])
    return printable(whole)


def value_text(record: ReadRecord, declared: Topic | None, wire: Wire = FIXED) -> str:
    """Give the value's fields, or its bytes as hex with the reason why they are no record."""
    fields, reason = decoded(record, declared, wire)
    if fields is None:
        value = record.value or b""
        dots = "..." if len(value) > HEX_BYTES_MAX else ""
        return f"{value[:HEX_BYTES_MAX].hex() or 'null'}{dots} ({reason})"
    currency = fields.get("currency")
    shown = {name: item for name, item in fields.items() if name != "currency" or "_minor" not in "".join(fields)}
    return " ".join(_field(name, item, currency) for name, item in shown.items())


def decoded(record: ReadRecord, declared: Topic | None, wire: Wire = FIXED) -> tuple[dict[str, Any] | None, str]:
    """Give the fields of the value by their Python names, ``type`` first, or None and the reason."""
    if declared is not None and declared.kind is Kind.CHANGELOG and record.key != MARKER_KEY:
        return None, "a row of the store; only markers are records" if record.value is not None else "a tombstone"
    try:
        value = codec.decode(record.value, wire, dict(record.headers).get(ID_HEADER) if wire.by_registry else None)
    except codec.Undecodable as error:
        return None, f"{error.reason}: {error}"
    return {"type": type(value).__name__, **_plain(value)}, ""


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    return {name: _plain_item(item) for name, item in msgspec.structs.asdict(value).items()}


def _plain_item(item: Any) -> Any:
    if isinstance(item, msgspec.Struct):
        return _plain(item)
    return [_plain_item(part) for part in item] if isinstance(item, tuple) else item


def _field(name: str, item: Any, currency: str | None) -> str:
    if name == "type":
        return str(item)
    if name.endswith("_ms") and isinstance(item, int | None):
        return f"{name.removesuffix('_ms')}={'-' if item is None else time_text(item)}"
    if name.endswith("_minor") and currency is not None:
        return f"{name.removesuffix('_minor')}={money(currency, item)}"
    if isinstance(item, dict):
        return f"{name}={{{', '.join(f'{key}={part}' for key, part in sorted(item.items()))}}}"
    if isinstance(item, list):
        return f"{name}=[{'; '.join(' '.join(_field(key, part, currency) for key, part in entry.items()) for entry in item)}]"
    return f"{name}={item}"


def json_line(record: ReadRecord, declared: Topic | None, wire: Wire = FIXED) -> str:
    """Give a record as one JSON object; amounts stay integers in minor units and times milliseconds."""
    fields, reason = decoded(record, declared, wire)
    whole: dict[str, Any] = {
        "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "timestamp_ms": record.timestamp_ms, "key": None if record.key is None else text(record.key), "value": fields,
    }  # fmt: skip
    if fields is None:
        whole |= {"value_hex": None if record.value is None else record.value.hex(), "undecodable": reason}
    if record.headers:
        whole["headers"] = {name: None if value is None else text(value) for name, value in record.headers}
    return json.dumps(whole, ensure_ascii=False)


def error_headers(record: ReadRecord) -> dict[str, str]:
    """Give the error headers of a dead letter by the last part of their names: ``reason``, ``message``, ..."""
    return {name.rpartition(".")[2]: text(value) for name, value in record.headers if ".errors." in name}


def time_text(time_ms: int) -> str:
    """Give a time as ``2026-11-23T17:04:05.678Z``; one that no calendar holds stays a number."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms}ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(key: bytes | None) -> str:
    """Give bytes as text; what is not UTF-8 is escaped."""
    return "-" if key is None else key.decode("utf-8", "backslashreplace")
