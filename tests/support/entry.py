"""``python -m tests.support.entry``: a worker as ``tally worker`` runs it, on a topology of the tests' choice."""

from __future__ import annotations

import importlib
import logging
import os
import sys

from streams.errors import TallyError
from streams.settings import load_settings
from streams.topology import TOPOLOGY
from streams.worker import run_worker


def main() -> int:
    logging.basicConfig(level="INFO", format="%(created).3f %(asctime)s %(levelname)s %(name)s %(message)s")
    topology = TOPOLOGY
    if chosen := os.environ.get("TEST_TOPOLOGY"):
        module, name = chosen.split(":")
        topology = getattr(importlib.import_module(module), name)
    try:
        run_worker(load_settings(), topology)
    except TallyError as error:
        print(f"tally: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
