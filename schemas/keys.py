"""Record keys of aggregate rows: all dimensions and the window's start, readable and escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

_READABLE = " !$&'()*+,-./:;=@_~"
"""What stays as it is in a key, beside letters and digits; ``|`` parts the fields and ``%`` begins an escape."""


def minute_text(time_ms: int) -> str:
    """Give a time as ``2026-11-23T17:04Z``."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


def row_key(*dimensions: str, window_start_ms: int) -> str:
    """Give the key of a window's row, such as ``m-17|EUR|2026-11-23T17:04Z``."""
    fields = [quote(dimension, safe=_READABLE) for dimension in dimensions]
    return "|".join([*fields, minute_text(window_start_ms)])
