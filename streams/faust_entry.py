"""For Faust's own command line: ``faust -A streams.faust_entry worker``. ``tally worker`` does the same with more care."""

from __future__ import annotations

from streams.app import create_app
from streams.settings import load_settings

app = create_app(load_settings())
