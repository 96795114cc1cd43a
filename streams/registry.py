"""The schema registry: gives our schemas their ids, and says what the ids of other writers mean.

What it said of an id is kept for as long as the process lives, since an id never changes its meaning.
It is not kept on disk: a registry of a test that was started anew gives its ids anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

from confluent_kafka import Message

from connectors.reader import ReadRecord
from schemas.catalogue import NEWEST
from schemas.topics import Topic
from schemas.wire import FIXED, ID_HEADER, SchemaId, UnreadableSchema, Wire, WriterSchema, framing, prefix_of
from streams.messages import id_header
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.registry_client import RegistryClient

NOT_FOUND_FOR_S = 60.0
"""Then an id that was not found is asked for again: a poison record costs one question a minute.

No setting: producers register before they write, and what died meanwhile can be sent back (`tally dlq replay`).
"""


class Registry:
    """The ids that are known, and the questions that are open."""

    def __init__(self, client: RegistryClient, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now_s = now_s
        self._readers: dict[SchemaId, WriterSchema | UnreadableSchema] = {}
        self._prefixes: dict[str, dict[type, bytes]] = {}
        self._settled: set[bytes] = set()
        self._not_found_until_s: dict[SchemaId, float] = {}
        self.wire = Wire(self._readers, self._prefixes, by_registry=True)

    def enter(self, prefix: str, *, reads: Iterable[Topic] = (), writes: Iterable[Topic] = ()) -> None:
        """Register our schemas of the topics that we write, and look up those of the topics that we read.

        Blocks. May be called again after a failure: it goes on where it was.

        Raises:
            RegistryAwayError: it said nothing, or nothing definite.
            RegistryRefusedError: it does not take a schema, or the login.
        """
        for topics, register in ((writes, True), (reads, False)):
            for topic in topics:
                for record_type in topic.values:
                    ours = NEWEST[record_type]
                    # TopicRecordNameStrategy: one subject for each record on each topic.
                    schema_id = self._client.id_of(f"{topic.named(prefix)}-{ours.full_name}", ours.text, register=register)
                    if schema_id is None:
                        continue
                    self.note(schema_id, self.ask(schema_id))
                    if register:
                        self._prefixes.setdefault(topic.name, {})[record_type] = prefix_of(schema_id)

    def open_id(self, message: Message) -> SchemaId | None:
        """Give the id of a record if the registry must be asked what it means; None for all others."""
        header = id_header(message)
        value = message.value() or b""
        return None if header is None and value[:5] in self._settled else self.open_id_of(value, header)

    def open_id_of(self, value: bytes | None, header: bytes | None) -> SchemaId | None:
        """Give the same of a value and its header."""
        found = framing(value, header) if value is not None else None
        return found[0] if found and self.is_open(found[0]) else None

    def is_open(self, schema_id: SchemaId) -> bool:
        """Tell whether the registry must be asked what an id means."""
        return schema_id not in self._readers and self._not_found_until_s.get(schema_id, 0.0) <= self._now_s()

    def ask(self, schema_id: SchemaId) -> WriterSchema | UnreadableSchema | None:
        """Ask what an id means; blocks, and notes nothing. Raises like :meth:`RegistryClient.schema_of`."""
        return self._client.schema_of(schema_id)

    def learned(self, value: bytes | None, header: bytes | None) -> Wire:
        """Give the ids with the one of this record among them; blocks. Raises like :meth:`RegistryClient.schema_of`."""
        schema_id = self.open_id_of(value, header)
        if schema_id is not None:
            self.note(schema_id, self.ask(schema_id))
        return self.wire

    def note(self, schema_id: SchemaId, found: WriterSchema | UnreadableSchema | None) -> None:
        """Keep what was answered; that there is no such schema is believed for a minute only."""
        if found is None:
            now_s, missing = self._now_s(), self._not_found_until_s
            missing.pop(schema_id, None)  # the oldest stand first
            for over in list(takewhile(lambda waiting: missing[waiting] <= now_s, missing)):
                del missing[over]
            missing[schema_id] = now_s + NOT_FOUND_FOR_S
            return
        self._readers[schema_id] = found
        if isinstance(schema_id, int):
            self._settled.add(prefix_of(schema_id))


def wire_of(registry: Registry | None, record: ReadRecord) -> Wire:
    """Give what the schema id of a record means; a registry, where there is one, may be asked."""
    return FIXED if registry is None else registry.learned(record.value, dict(record.headers).get(ID_HEADER))


def connect(settings: Settings) -> Registry | None:
    """Give the registry of the settings; None: ids come from the catalogue."""
    if not settings.schema_registry_url:
        return None
    from streams.registry_client import RegistryClient  # noqa: PLC0415 - a quarter of a second that only a registry is worth

    return Registry(RegistryClient(settings.schema_registry_url))
