"""Every setting of a process, read once at the edge and passed in.

``TALLY_<NAME>`` in the environment sets a field; the cluster and the schema registry have the names that others use.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict

from connectors.client_options import SERVERS, OptionsError, read_options
from connectors.cluster import Cluster
from streams.budget import MEMORY_MB_MAX, MEMORY_MB_MIN, Budget
from streams.errors import NoCluster, SettingsError
from streams.judgement import WINDOW_RECORDS
from streams.name_settings import NameSettings
from streams.rule_settings import RuleSettings

KILL_VARIABLES = ("TALLY_KILL_AT", "TALLY_KILL_AFTER_EPOCHS", "TALLY_KILL_WHEN")
"""Not settings: they arm a kill point (``kill_points.py``)."""

DISK_FREE_BYTES_MIN = 64 << 20
"""RocksDB's write buffer of one table: what a single flush may write between two looks at the disk."""

VARIABLES = {
    "bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "client_config_file": "KAFKA_CONFIG_FILE",
    "schema_registry_url": "SCHEMA_REGISTRY_URL",
}
"""Settings whose variables have a name of their own; ``TALLY_<NAME>`` is understood too."""


class Settings(NameSettings, RuleSettings):
    """One frozen set of settings. Units stand last in the names."""

    model_config = SettingsConfigDict(env_prefix="TALLY_", frozen=True, populate_by_name=True)

    bootstrap_servers: str = Field(
        default="",
        validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "TALLY_BOOTSTRAP_SERVERS"),
        description="the cluster; without it the local broker that `tally broker up` started",
    )
    client_config_file: str = Field(
        default="",
        validation_alias=AliasChoices("KAFKA_CONFIG_FILE", "TALLY_CLIENT_CONFIG_FILE"),
        description="properties file for every Kafka client: TLS, login; what Tally must own is refused",
    )
    allow_cluster: str = Field(
        default="", description="id of the one cluster of yours on which the demo and the tests may make topics and groups"
    )
    schema_registry_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s,]+(,https?://[^\s,]+)*)?$",
        validation_alias=AliasChoices("SCHEMA_REGISTRY_URL", "TALLY_SCHEMA_REGISTRY_URL"),
        description="schema ids come from this registry (https://user:password@host logs in); without it from schemas/",
    )
    home: Path = Field(default=Path(".tally"), description="folder of the local broker, the stores and what the last demo left")
    web_host: str = Field(
        default="127.0.0.1",
        pattern=r"^[A-Za-z0-9._:-]*$",
        description="address of the status page: nobody logs in there, so other hosts only see it if you say so (0.0.0.0)",
    )
    web_port: int = Field(
        default=0, ge=0, le=65535, description="port of the status page; 0: 6066 and the number at the id's end"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="of a worker's log; auto is text on a terminal, where people read, and JSON elsewhere"
    )
    group_protocol: Literal["consumer", "classic"] = Field(
        default="consumer", description="KIP-848, or the classic range assignor"
    )
    session_timeout_ms: int = Field(
        default=6_000, ge=1_000, le=3_600_000, description="classic protocol only: after this a silent worker is dead"
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1_000, le=86_400_000, description="an epoch longer than this costs the membership"
    )
    transaction_timeout_ms: int = Field(
        default=10_000, ge=1_000, le=900_000, description="how long a dead worker's open transaction may hold readers back"
    )
    epoch_records_max: int = Field(
        default=40_000, ge=1, le=1_000_000, description="records of one epoch; more amortise a commit, and redo more"
    )
    epoch_wait_ms: int = Field(
        default=100, ge=1, le=2_000, description="how long an epoch may fill, from the poll before on: latency when idle"
    )
    commit_timeout_ms: int = Field(
        default=60_000, ge=1_000, description="a commit without an answer for so long is unknown: the tasks are restored"
    )
    idle_commit_ms: int = Field(
        default=600_000, ge=1, description="how often an idle worker commits positions that only passed markers of transactions"
    )
    live_timeout_ms: int = Field(
        default=60_000,
        ge=30_000,
        le=3_600_000,
        description="a poll loop still for so long is dead: more than the longest epoch; stuck calls are given up at half of it",
    )
    drain_timeout_ms: int = Field(
        default=4_000,
        ge=0,
        le=600_000,
        description="how long a worker that ends waits for its epoch; it needs 6 s more, so your platform must wait for both",
    )
    idle_after_ms: int = Field(
        default=30_000,
        ge=1,
        description="an input that is read to its end and brings nothing for so long is idle: longer than a producer's pause "
        "or a takeover",
    )
    idle_tick_ms: int = Field(
        default=10_000, ge=1, description="how often the time is told to a task whose inputs are all idle; each one is a commit"
    )
    future_max_ms: int = Field(
        default=600_000, ge=0, description="how far an event may be ahead of the broker's clock: more than clocks differ"
    )
    redo_attempts_max: int = Field(
        default=3, ge=1, le=100, description="failures of an agent on the same records before they are tried task by task"
    )
    restore_attempts_max: int = Field(
        default=5, ge=1, le=1_000, description="restores of a task in a row without a commit: then it stops, and a person looks"
    )
    dead_records_max: int = Field(
        default=500,
        ge=0,
        le=WINDOW_RECORDS,
        description="dead letters among a task's last 1,000 records: more pause it, before they are thousands",
    )
    disk_free_bytes: int = Field(
        default=256 << 20,
        ge=DISK_FREE_BYTES_MIN,
        description="a worker waits while its stores' disk has less: RocksDB hangs on a full one; one flush may take 64 MiB",
    )
    memory_mb: int = Field(
        default=512,
        ge=MEMORY_MB_MIN,
        le=MEMORY_MB_MAX,
        description="what queues, caches, write buffers and the epoch may take; 150 more for the rest",
    )

    _client_options: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Read the client's options with the settings, and look at those that hang together: once, at the edge.

        Raises:
            SettingsError: the file cannot be used, or two settings do not go together.
        """
        del context
        if self.group_protocol == "classic" and self.session_timeout_ms > self.max_poll_interval_ms:
            raise SettingsError(
                "TALLY_SESSION_TIMEOUT_MS cannot be more than TALLY_MAX_POLL_INTERVAL_MS: a worker that is silent would be "
                "dead after one that works"
            )
        if not self.client_config_file:
            return
        try:
            options = read_options(Path(self.client_config_file))
        except OptionsError as error:
            raise SettingsError(f"KAFKA_CONFIG_FILE {error}") from None
        servers = options.pop(SERVERS, "")
        self._client_options = options
        if not self.bootstrap_servers:
            object.__setattr__(self, "bootstrap_servers", servers)  # frozen from here on

    @property
    def cluster(self) -> Cluster:
        """The cluster, with what its clients need to be let in.

        Raises:
            NoCluster: no cluster is set and no local broker is up.
        """
        if not self.bootstrap_servers:
            raise NoCluster
        return Cluster(self.bootstrap_servers, self._client_options)

    @property
    def budget(self) -> Budget:
        """The shares of the memory budget."""
        return Budget.of(self.memory_mb)

    @property
    def call_timeout_s(self) -> float:
        """When what does not return is given up: in time for the worker to mend itself before it counts as dead."""
        return self.live_timeout_ms / 2 / 1_000

    @property
    def status_port(self) -> int:
        """Port of the status page: as set, or by the worker's id, so that w1 and w2 share a host."""
        digits = self.worker_id[len(self.worker_id.rstrip("0123456789")) :]
        return self.web_port or 6066 + int(digits or 0) % 1_000

    @property
    def client_id(self) -> str:
        """Client id of this worker's consumer; it says where the page is to be found (``fleet.py`` reads it)."""
        anywhere = self.web_host in {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
        bracketed = f"[{self.web_host}]" if ":" in self.web_host else self.web_host
        return f"{self.transactional_id}#{'' if anywhere else bracketed}:{self.status_port}"

    @property
    def state_folder(self) -> Path:
        """Folder of this worker's stores."""
        live = self.home / "state" / f"{self.prefix}{self.worker_id}"
        return self.version_folder / self.worker_id if self.has_version else live

    @property
    def version_folder(self) -> Path:
        """Folder of the stores that a version other than the live one has on this machine."""
        return self.home / "versions" / self.own_prefix.rstrip(".")

    @property
    def context_file(self) -> Path:
        """What the last local broker and demo left for the commands after them: bootstrap servers and prefix."""
        return self.home / "context.json"


def load_settings(**overrides: object) -> Settings:
    """Read the environment, then the context of the local broker for what is still unset.

    ``overrides`` (command-line options) win over both. The prefix of the last demo is used only
    on the broker that the demo used, and only when none is set.

    Raises:
        SettingsError: a value cannot be, or a TALLY_ variable is unknown.
    """
    _refuse_unknown(os.environ)
    try:
        given = Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(detail) for detail in error.errors())) from None
    if given.client_config_file and not given.bootstrap_servers:
        raise SettingsError("KAFKA_CONFIG_FILE is for a cluster of yours: set KAFKA_BOOTSTRAP_SERVERS too, or unset it")
    context: dict[str, str] = {}
    if given.context_file.exists():
        context = json.loads(given.context_file.read_text())
    update: dict[str, str] = {}
    if not given.bootstrap_servers:
        update["bootstrap_servers"] = context.get("bootstrap_servers", "")
    servers = given.bootstrap_servers or update.get("bootstrap_servers", "")
    if "prefix" not in given.model_fields_set and servers == context.get("bootstrap_servers"):
        update["prefix"] = context.get("prefix", "")
    return given.model_copy(update=update)


def load_cluster_settings(**overrides: object) -> Settings:
    """Read the same for a command that needs a cluster.

    Raises:
        SettingsError: a value cannot be.
        NoCluster: no cluster is set and no local broker is up.
    """
    settings = load_settings(**overrides)
    if not settings.bootstrap_servers:
        raise NoCluster
    return settings


def variable_of(name: str) -> str:
    """Give the environment variable of a setting."""
    return VARIABLES.get(name, f"TALLY_{name.upper()}")


def without_password(text: str) -> str:
    """Give a text, such as a URL, in which nobody can read a password."""
    return re.sub(r"(//[^/:@\s]*):[^/@\s]*@", r"\1:***@", text)


def unit_of(name: str) -> str:
    """Give the unit that stands last in a setting's name; empty for names and counts of nothing."""
    last = name.rpartition("_")[2]
    if last == "max":
        return name.split("_")[-2]
    return last if last in {"ms", "bytes", "mb", "port"} else ""


def origin_of(name: str, settings: Settings) -> str:
    """Say where a setting's value comes from: its variable, the local broker's context, or its default."""
    if variable_of(name) in os.environ or f"TALLY_{name.upper()}" in os.environ:
        return "environment"
    if name == "bootstrap_servers" and settings.client_config_file:
        return settings.client_config_file
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    return "default" if getattr(settings, name) == default else str(settings.context_file)


def _refuse_unknown(environment: Iterable[str]) -> None:
    """Refuse a variable that nothing reads: a setting that is misspelt is a setting that is not there.

    Raises:
        SettingsError: with the nearest one that there is.
    """
    known = {*(f"TALLY_{name.upper()}" for name in Settings.model_fields), *KILL_VARIABLES}
    for variable in sorted(environment):
        if variable.startswith("TALLY_") and variable not in known:
            names = sorted(name.removeprefix("TALLY_") for name in known)
            near = difflib.get_close_matches(variable.removeprefix("TALLY_"), names, n=1)
            hint = f"did you mean TALLY_{near[0]}?" if near else "`tally config` shows what there is"
            raise SettingsError(f"there is no setting {variable}; {hint}")


def _sentence(detail: ErrorDetails) -> str:
    name = str(detail["loc"][0])
    field = Settings.model_fields.get(name)
    meaning = f" ({field.description})" if field else ""
    variable = name if name.isupper() else variable_of(name)
    given = without_password(repr(detail["input"]))
    return f"{variable} cannot be {given}: {detail['msg'][0].lower()}{detail['msg'][1:]}{meaning}"
