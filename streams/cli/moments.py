"""Times as people give them to commands."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment_ms(_: click.Context | None, __: click.Parameter | None, value: str | None) -> int | None:
    """Read a time: ISO 8601 (UTC unless it says otherwise), or so long ago, such as ``-90m`` or ``2d``."""
    if value is None:
        return None
    ago = re.fullmatch(r"-?(\d{1,9})([smhd])", value)
    if ago:
        return time.time_ns() // 1_000_000 - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no time; write 2026-11-23T17:00:00Z, or 90m or 2d for so long ago") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def duration_ms(_: click.Context | None, __: click.Parameter | None, value: str | None) -> int | None:
    """Read a duration, such as ``90m`` or ``7d``."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd])", value)
    if not found:
        raise click.BadParameter(f"{value!r} is no duration; write 90m, or 7d")
    return int(found[1]) * _UNITS_MS[found[2]]
