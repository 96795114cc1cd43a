"""``context.json``: what one command leaves for the next (bootstrap servers, prefix, the local broker's pids).

:func:`streams.settings.load_settings` reads it; whoever writes merges with what is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_context(file: Path) -> dict[str, Any]:
    """Give what the file holds; empty when there is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    context: dict[str, Any] = json.loads(text)
    return context


def update_context(file: Path, changes: Mapping[str, Any]) -> None:
    """Merge ``changes`` into the file; a value of None takes the key out. The file is never seen half-written."""
    context = {key: value for key, value in (read_context(file) | dict(changes)).items() if value is not None}
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    fresh.write_text(json.dumps(context, indent=2) + "\n", encoding="utf-8")
    fresh.replace(file)
