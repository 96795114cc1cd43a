"""What a deployment sets of the rules that a judgement depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from connectors.reference import DAY_MS, MINUTE_MS


@dataclass(frozen=True)
class Terms:
    """Times are event time; the defaults are those of a deployment that sets nothing (``agents/ports.py``).

    ``finals_allowed``: money that met a window which was final already may be told apart as such. It is counted either way.
    """

    grace_ms: int = 10 * MINUTE_MS
    waiting_max_ms: int = DAY_MS
    unpaid_after_ms: int = 30 * MINUTE_MS
    alert_orders_max: int = 10
    alert_gross_minor_max: int = 1_000_000
    finals_allowed: bool = False

    @classmethod
    def of(cls, limits: object) -> Self:
        """Give what settings of a deployment, or an agent's limits, say under the same names."""
        return cls(**{field.name: getattr(limits, field.name) for field in fields(cls) if hasattr(limits, field.name)})
