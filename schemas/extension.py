"""The extension that makes columns, ``columns_rs/``: whether this process has it. Importing this imports nothing large."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

PLAN_VERSION = 3
"""Of the plans; an extension that was built for others is not used."""


@cache
def _extension() -> tuple[Any, str]:
    """Give the extension or None, and a sentence."""
    try:
        found: Any = importlib.import_module("tally_columns")
    except ImportError as error:
        return None, f"Avro columns by fastavro: the extension is not built ({error}); make setup builds it where cargo exists"
    if getattr(found, "PLAN_VERSION", None) != PLAN_VERSION:
        return None, "Avro columns by fastavro: the extension is of another version; make setup builds it anew"
    return found, "Avro columns by the extension (rust)"


def way() -> str:
    """Say by which way this process has its columns, and why; for a log."""
    return _extension()[1]


def is_built() -> bool:
    """Whether the extension is there."""
    return _extension()[0] is not None


def extension() -> Any:
    """Give the extension.

    Raises:
        RuntimeError: it is not built; the sentence says how it is.
    """
    found, why = _extension()
    if found is None:
        raise RuntimeError(why)
    return found
