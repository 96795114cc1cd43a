"""`make bench-scale`: cost per event and bytes per live key by keys, partitions, workers, repeats, hot keys and memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench.product import ROOT
from bench.scale.declare import program
from bench.scale.report import ScaleReport
from bench.scale.rows import ROW_NAMED, Row, chosen, too_many_events
from bench.scale.run import Result, Spec
from streams.errors import NotRunnable

RUN = "bench.scale.run"


def run(spec: Spec, folder: Path) -> Result | str:
    """Run one row in a process of its own, which says on standard error how far it is; give a sentence when it fails.

    Raises:
        NotRunnable: Kafka cannot run here, so no other row can either.
    """
    file = folder / "spec.json"
    file.write_bytes(msgspec.json.encode(spec))
    ended = subprocess.run(
        [*program(spec.row.partitions, RUN), str(file)], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )  # fmt: skip
    if ended.returncode == NotRunnable.exit_code:
        raise NotRunnable("Kafka cannot run on this machine; see above")
    if ended.returncode != 0:
        return f"ended with {ended.returncode}; see above"
    return msgspec.json.decode(ended.stdout, type=Result)


def measure(rows: Sequence[Row], report: ScaleReport, events_count: int, repeats: int, seed: int) -> None:
    """Run every row, and all of them again for each repeat, so that what else the machine does comes to all of them.

    Raises:
        NotRunnable: Kafka cannot run here.
    """
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder:
        for repeat in range(1, repeats + 1):
            for number, row in enumerate(rows, 1):
                click.echo(f"run {repeat} of {repeats}, row {number} of {len(rows)}: {row.name}, {row.meaning}", err=True)
                result = run(Spec(row, events_count, seed + repeat - 1), Path(folder))
                if isinstance(result, str):
                    report.failed.append((row.name, result))
                else:
                    report.runs.append(result)
                    click.echo(f"{row.name}: {'WRONG' if result.problems else 'right'}, {_headline(result)}", err=True)


def _headline(result: Result) -> str:
    if result.figures is None:
        return "no figures: all was through with the first commit, so ask for more --events"
    return f"{result.figures.cpu_us_per_event:.1f} µs CPU per event, {result.figures.events_per_s:,.0f} events/s"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", "names", default=",".join(ROW_NAMED), show_default=True, help="Which, with commas between them.")
@click.option("--events", default=150_000, show_default=True, type=click.IntRange(min=1_000), help="Of one run.")
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(min=1), help="Runs of each row, in turn.")
@click.option(
    "--keys-share", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True),
    help="Of each row's live keys, never less than 1,000: for a try.",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Of orders and events.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON.")
def main(names: str, events: int, repeats: int, keys_share: float, seed: int, report_file: Path | None) -> None:
    """Measure what an event costs and what a live key takes, as functions of what a deployment may have more of.

    A live key is an order in settlement's state. Each row turns one knob of the base. Its orders are written to the changelog
    as settlement would have, restored, and then events come for them at random; every run is judged.

    \b
    Examples:
      make bench-scale ARGS="--report scale.json"
      make bench-scale ARGS="--rows base,partitions-48 --repeats 3"
      .venv/bin/python -m bench.scale.main --events 20000 --keys-share 0.01

    Exit codes: 0 measured, 1 a run was not right or failed (the others go on), 2 asked for wrongly,
    3 Kafka cannot run on this machine.
    """  # noqa: D301 - \b is click's word for "keep these lines"
    try:
        rows = [row.shrunk(keys_share) for row in chosen(names)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rows") from error
    if said := too_many_events(rows, events):
        raise click.BadParameter(said, param_hint="--events")
    arguments = {"rows": names, "events": events, "repeats": repeats, "keys_share": keys_share, "seed": seed}
    report = ScaleReport(arguments)
    try:
        measure(rows, report, events, repeats, seed)
    except NotRunnable as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo("\n".join(report.lines()))
    if report_file is not None:
        report.write(report_file)
        click.echo(f"report: {report_file}")
    sys.exit(0 if report.exact else 1)


if __name__ == "__main__":
    main()
