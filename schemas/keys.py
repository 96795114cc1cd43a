"""Record keys of aggregate rows: all dimensions and the window's start, readable and escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote

_READABLE = " !$&'()*+,-./:;=@_~"
"""What stays as it is in a key, beside letters and digits; ``|`` parts the fields and ``%`` begins an escape."""
_MEMORY = 65_536
"""Texts that are kept: merchants, products and minutes come again and again."""


@lru_cache(_MEMORY)
def minute_text(time_ms: int) -> str:
    """Give a time as ``2026-11-23T17:04Z``."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


@lru_cache(_MEMORY)
def dimensions_text(dimensions: tuple[str, ...]) -> str:
    """Give dimensions as one text, such as ``m-17|EUR``."""
    return "|".join(quote(dimension, safe=_READABLE) for dimension in dimensions)


def dimensions_in(text: str) -> tuple[str, ...]:
    """Give the dimensions that :func:`dimensions_text` made ``text`` of."""
    return tuple(unquote(dimension) for dimension in text.split("|"))


def row_key(*dimensions: str, window_start_ms: int) -> str:
    """Give the key of a window's row, such as ``m-17|EUR|2026-11-23T17:04Z``."""
    return f"{dimensions_text(dimensions)}|{minute_text(window_start_ms)}"
