"""How an agent that raised is started again: at once, since every task of its worker waits for it."""

from __future__ import annotations

from typing import Any

from mode.supervisors import OneForOneSupervisor

BURST = 10.0
"""Restarts at once: enough for the engine to try an epoch again and then its tasks alone."""
RESTARTS_PER_S = 1.0
"""After that: an agent that raises before it has taken a record must not keep the worker busy with it.

No settings: how often an agent may fail is ``redo_attempts_max``; this is only its pace.
"""


class Supervisor(OneForOneSupervisor):
    """mode's, without its waits: a replacement that crashes before it was started is found only at its next look, 5 s later.

    How often an agent may fail the engine decides, by the epoch; mode's own limit would end the agent and leave its tasks.
    """

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **{**options, "max_restarts": RESTARTS_PER_S, "over": BURST, "raises": None})

    async def restart_services(self, services: list[Any]) -> None:
        """Restart every service that crashed, started or not."""
        del services
        await super().restart_services([each for each in self._services if not self.service_operational(each)])
