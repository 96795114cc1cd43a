"""``tally config``: every setting with its value, its unit, and where the value comes from."""

from __future__ import annotations

import json
import sys

import click
from rich.table import Table

from streams.cli.shared import table_console
from streams.settings import Settings, load_settings, origin_of, unit_of, variable_of, without_password

EXAMPLES = """
\b
Examples:
  tally config                                    the table
  TALLY_EPOCH_RECORDS_MAX=4000 tally config       the same with one value of yours
  tally config --json | jq .epoch_records_max     for a script
"""
WIDTH_WITHOUT_TERMINAL = 200
"""Columns of the table when its output is not a terminal: no row is cut."""


@click.command("config", epilog=EXAMPLES, short_help="show every setting, its unit and its origin")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: name to value, unit, origin, variable and meaning.")
def command(as_json: bool) -> None:
    """Show what the commands of this folder and environment would run with.

    An unknown TALLY_ variable, or a value that cannot be, ends it with exit code 2 and a sentence.
    """
    settings = load_settings()
    rows = {
        name: {
            "value": without_password(str(getattr(settings, name))) if field.annotation is not int else getattr(settings, name),
            "unit": unit_of(name),
            "origin": origin_of(name, settings),
            "variable": variable_of(name),
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    }
    if as_json:
        json.dump(rows, sys.stdout, indent=2)
        click.echo()
        return
    table = Table("setting", "value", "unit", "from", "meaning", box=None, pad_edge=False)
    for row in rows.values():
        is_amount = isinstance(row["value"], int) and row["unit"] != "port"
        value = f"{row['value']:,}" if is_amount else str(row["value"]) or "-"
        table.add_row(str(row["variable"]), value, str(row["unit"]), str(row["origin"]), str(row["meaning"]))
    table_console(WIDTH_WITHOUT_TERMINAL).print(table)
