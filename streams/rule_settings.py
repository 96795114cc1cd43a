"""What a deployment sets of the rules: it reaches the agents as :class:`agents.ports.Limits`. All times are event time."""

from __future__ import annotations

import dataclasses

from pydantic import Field
from pydantic_settings import BaseSettings

from agents.ports import Limits


class RuleSettings(BaseSettings):
    """The settings that rules ask for."""

    dedup_horizon_ms: int = Field(
        default=Limits().dedup_horizon_ms, ge=1, description="an event this much older than its partition's newest is never new"
    )
    waiting_max_ms: int = Field(
        default=Limits().waiting_max_ms, ge=1, description="event time after which a payment without its order is given up"
    )
    grace_ms: int = Field(
        default=Limits().grace_ms, ge=0, description="how long after its end a window waits for what comes late, in event time"
    )
    idle_delay_ms: int = Field(
        default=Limits().idle_delay_ms,
        ge=0,
        description="how far behind the clock it follows while all inputs are idle",
    )
    unpaid_after_ms: int = Field(
        default=Limits().unpaid_after_ms, ge=1, description="an order without any payment for so long is on unpaid-orders"
    )
    keep_closed_ms: int = Field(
        default=Limits().keep_closed_ms, ge=1, description="how long a closed order is known, for refunds that come late"
    )
    alert_orders_max: int = Field(
        default=Limits().alert_orders_max, ge=0, description="more orders of a customer within an hour are an alert"
    )
    alert_gross_minor_max: int = Field(
        default=Limits().alert_gross_minor_max,
        ge=0,
        description="more ordered by a customer within an hour is an alert",
    )

    @property
    def limits(self) -> Limits:
        """What of the settings the rules ask for."""
        return Limits(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Limits)})
