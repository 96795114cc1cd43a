"""How many tasks a deployment has."""

from __future__ import annotations

from streams.task_names import tasks_in
from streams.topology import TOPOLOGY

TASKS = len(tasks_in(TOPOLOGY))
