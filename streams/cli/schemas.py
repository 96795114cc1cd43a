"""``tally schemas check``: whether the schema files may go where old records and old readers are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from schemas.catalogue import AVRO_FOLDER
from schemas.compatibility import check_folder
from streams.errors import SettingsError


@click.group()
def command() -> None:
    """Look after the Avro schemas in schemas/avro.

    \b
    Example:
      tally schemas check
    """  # noqa: D301 - \b is click's word for "keep these lines"


@command.command(short_help="Tell what is wrong with the schema files.")
@click.option(
    "--against", type=click.Path(path_type=Path), default=None,
    help="A folder with the schema files of another release; default what schemas/avro/released.json recorded.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The sentences as a JSON array.")
def check(against: Path | None, as_json: bool) -> None:
    """Tell what is wrong with the schema files, one sentence each; exit code 1 when anything is.

    What was released may not change, and every version of a record must read what every other writes.

    \b
    Examples:
      tally schemas check
      tally schemas check --against /tmp/production/schemas/avro
    """  # noqa: D301 - as above
    try:
        problems = check_folder(AVRO_FOLDER, against)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if as_json:
        click.echo(json.dumps(problems, ensure_ascii=False))
    else:
        for problem in problems or ["every released schema is as it was, and every version reads every other"]:
            click.echo(problem)
    sys.exit(1 if problems else 0)
