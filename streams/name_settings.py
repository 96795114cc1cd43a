"""What a deployment, its versions and its workers are called: all names on the cluster follow from these settings."""

from __future__ import annotations

import socket

from pydantic import Field
from pydantic_settings import BaseSettings

from schemas.topics import LIVE

VERSION_PATTERN = r"^[a-z0-9]{0,12}$"
"""Of a version's name: short, since it stands before the names of all its topics."""


class NameSettings(BaseSettings):
    """The settings that names follow from."""

    prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="put before every topic, group and transactional id"
    )
    version: str = Field(
        default="",
        pattern=VERSION_PATTERN,
        description="which version, such as v2; without it v1 works, and the current one is read",
    )
    app_id: str = Field(
        default="tally", pattern=r"^[A-Za-z0-9._-]+$", description="consumer group, and part of transactional ids"
    )
    worker_id: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9._-]+$", description="names this worker")

    @property
    def own_prefix(self) -> str:
        """What stands before the names of all that is this version's own."""
        return f"{self.prefix}{self.version}." if self.has_version else self.prefix

    @property
    def has_version(self) -> bool:
        """Whether a version other than the live one is meant."""
        return self.version not in {"", LIVE}

    @property
    def group_id(self) -> str:
        """Consumer group of all workers of this deployment."""
        return f"{self.own_prefix}{self.app_id}"

    @property
    def transactional_id(self) -> str:
        """Transactional id of this worker; a second worker with the same id fences the first."""
        return f"{self.group_id}-{self.worker_id}"

    @property
    def inbox_transactional_id(self) -> str:
        """Transactional id of whoever acts on the dead letters; no worker's, because no worker's id may have a slash."""
        return f"{self.group_id}/inbox"

    @property
    def versions_transactional_id(self) -> str:
        """Transactional id of whoever starts, switches or drops a version: one hand at a time, as for dead letters."""
        return f"{self.prefix}{self.app_id}/versions"
