"""What Avro costs per record: columns by the extension and by fastavro, beside the row codec, all in one run.

    make bench-codec
    .venv/bin/python -m bench.codec --records 4000 --repeats 15 --report codec.json

Every way takes its turn in every repeat, so that a neighbour on the machine hurts all of them; medians and ranges are over
the repeats.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import fastavro
import msgspec

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from schemas.catalogue import NEWEST
from schemas.codec import PREFIXES, decode, encode
from schemas.columns import Codec, WireColumns
from schemas.events import Cell, Deltas, FlowDeltas, OrderLine, OrderPlaced, OrderStatus, PaymentCaptured, Record, Source
from schemas.extension import is_built, way

BEGIN = 5
"""Of the datum, behind magic byte and id."""


class Figure(msgspec.Struct, frozen=True):
    """Microseconds per record: what of which way, over the repeats."""

    record: str
    value_bytes: float
    direction: str
    way: str
    median_us: float
    min_us: float
    max_us: float


def samples(count: int, seed: int = 7) -> dict[str, list[Record]]:
    """Give records like those of the demo, ``count`` of each type."""
    dice = random.Random(seed)

    def text(letters: int) -> str:
        return "".join(dice.choices("0123456789abcdef", k=letters))

    def placed() -> Record:
        lines = tuple(OrderLine(f"sku-{dice.randint(1, 500)}", dice.randint(1, 4), dice.randint(100, 9000)) for _ in range(2))
        return OrderPlaced(
            text(22),
            text(16),
            1_790_000_000_000,
            "shop",
            text(8),
            f"m-{dice.randint(1, 50)}",
            "EUR",
            dice.randint(1, 90_000),
            lines,
        )

    def captured() -> Record:
        amount = dice.randint(1, 90_000)
        return PaymentCaptured(text(22), text(16), 1_790_000_000_000, "payments", text(16), "card", amount, "EUR")

    def status() -> Record:
        at_ms = 1_790_000_000_000
        return OrderStatus(text(16), "m-7", text(8), "EUR", "captured", 900, 900, 0, False, 0, at_ms, None, at_ms, 3)  # noqa: FBT003

    def deltas() -> Record:
        cells = tuple(
            Cell((f"m-{dice.randint(1, 50)}", "EUR"), 1_790_000_000_000, (1, dice.randint(1, 9000), 0, 0, 0)) for _ in range(8)
        )
        return Deltas((Source(3, 17, 1_790_000_000_000, idle=False),), (FlowDeltas("money", cells),))

    makers: Sequence[Callable[[], Record]] = (captured, placed, status, deltas)
    return {type(maker()).__name__: [maker() for _ in range(count)] for maker in makers}


def ways(records: list[Record]) -> tuple[float, dict[tuple[str, str], Callable[[], Any]]]:
    """Give the bytes of a value, and what is measured for records of one type, by direction and way."""
    record_type = type(records[0])
    declared = json.loads(NEWEST[record_type].text)
    physical = NEWEST[record_type].physical
    values: list[bytes | None] = [encode(record) for record in records]
    whole = [value for value in values if value is not None]
    found: dict[tuple[str, str], Callable[[], Any]] = {
        ("decode", "fastavro, dicts"): lambda: [_dict(value, physical) for value in whole],
        ("decode", "row codec"): lambda: [decode(value) for value in whole],
        ("encode", "row codec"): lambda: [encode(record) for record in records],
    }
    for by_extension in (True, False) if is_built() else (False,):
        codec = Codec(physical, declared, by_extension=by_extension)
        name = "columns, extension" if by_extension else "columns, fastavro"
        frame = codec.decode(whole, BEGIN).frame
        found["decode", name] = partial(codec.decode, whole, BEGIN)
        found["encode", name] = partial(codec.encode, frame, PREFIXES[record_type])
        if by_extension:
            found["decode", "columns, extension, framed"] = partial(WireColumns(by_extension=True).decode, values)
    return sum(map(len, whole)) / len(whole), found


def _dict(value: bytes, physical: Any) -> Any:
    stream = BytesIO(value)
    stream.seek(BEGIN)
    return fastavro.schemaless_reader(stream, physical, None)


def measure(records_count: int, repeats: int) -> list[Figure]:
    """Measure everything, all ways in turn."""
    figures = []
    for name, records in samples(records_count).items():
        value_bytes, found = ways(records)
        took: dict[tuple[str, str], list[float]] = {key: [] for key in found}
        for repeat in range(repeats + 1):
            for key, call in found.items():
                begin = time.perf_counter()
                call()
                if repeat:  # the first one warms up
                    took[key].append((time.perf_counter() - begin) * 1e6 / records_count)
        figures += [
            Figure(name, value_bytes, direction, by, statistics.median(times), min(times), max(times))
            for (direction, by), times in took.items()
        ]
    return figures


@click.command()
@click.option("--records", default=4000, show_default=True, help="Records of a batch; an epoch has some thousands.")
@click.option("--repeats", default=15, show_default=True, help="Batches measured by each way.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there (JSON).")
def main(records: int, repeats: int, report: Path | None) -> None:
    """Measure what a record costs to read and to write, in microseconds.

    \b
    Example:
      python -m bench.codec --records 100 --repeats 50
    """  # noqa: D301 - \b is click's word for "keep these lines"
    click.echo(f"{way()}; batches of {records}, {repeats} repeats, {platform.machine()}, Python {platform.python_version()}")
    figures = measure(records, repeats)
    for direction in ("decode", "encode"):
        click.echo(f"\n{direction:27} {'record':17} bytes   us per record (range)")
        for figure in figures:
            if figure.direction == direction:
                spread = f"{figure.median_us:8.3f} ({figure.min_us:.3f}-{figure.max_us:.3f})"
                click.echo(f"{figure.way:27} {figure.record:17} {figure.value_bytes:5.0f} {spread}")
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


if __name__ == "__main__":
    main()
