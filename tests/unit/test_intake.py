"""Columns are read ahead where records are polled; when that fails, the poll does not."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import pytest

from streams.arrivals import Reader
from streams.group import Polled
from streams.intake import Intake
from tests.unit.messages import PREFIX, SETTLEMENT, message
from tests.unit.orders import placed


class Prefixed:
    prefix = PREFIX


class Group:
    polled = Polled([message("orders", 0, placed())])

    def poll(self, _: float) -> Polled:
        return self.polled


def test_a_poll_gives_its_records_though_no_columns_can_be_read_of_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no columns today")

    monkeypatch.setattr(Reader, "columns_of", fails)
    nothing: Any = None
    stage = replace(SETTLEMENT, columns_from=1)
    intake = Intake(cast("Any", Prefixed()), (stage,), nothing, nothing, nothing, nothing, nothing)
    intake.connect(cast("Any", Group()))
    with caplog.at_level(logging.ERROR):
        assert intake.poll(0.0) is Group.polled
    assert "no columns could be read for settlement; its epoch tries again" in caplog.text
