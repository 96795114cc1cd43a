"""Questions to a schema registry over HTTP, by Confluent's own client, and which of its answers are definite.

A module of its own, imported only where a registry is used: the client brings an HTTP client and
a login library, a quarter of a second of imports.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.wire import SchemaId, UnreadableSchema, WriterSchema, understood
from streams.errors import RegistryAwayError, RegistryRefusedError
from streams.settings import without_password

ANSWER_TIMEOUT_S = 3
"""Of connecting, and of each piece of an answer; a registry answers in milliseconds."""
ID_MAX = 2**31 - 1
"""Of a registry's number; it need not be asked for a larger one."""
_NOT_FOUND_CODES = range(40_400, 40_500)
"""The registry's own words for it, beside the status 404 that any web server has for a path that is wrong."""
_REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
"""Of the login, or of the schema: asking again does not help."""


class RegistryClient:
    """Questions to a registry over HTTP, by Confluent's client. They block: never ask on the event loop."""

    def __init__(self, url: str) -> None:
        self.shown_url = without_password(url)
        # No tries of its own: how often to ask again is decided, and said, by who asks.
        self._client: SchemaRegistryClient = SchemaRegistryClient({"url": url, "timeout": ANSWER_TIMEOUT_S, "max.retries": 0})

    def schema_of(self, schema_id: SchemaId) -> WriterSchema | UnreadableSchema | None:
        """Give what an id means; None: the registry says that there is no such schema.

        Raises:
            RegistryAwayError: it said nothing, or nothing definite.
        """
        if isinstance(schema_id, int) and schema_id > ID_MAX:
            return None
        client = self._client
        if isinstance(schema_id, UUID):
            found = self._asked(lambda: client.get_schema_by_guid(str(schema_id)))
        else:
            found = self._asked(lambda: client.get_schema(schema_id))
        if found is None:
            return None
        if not found.schema_str:
            raise RegistryAwayError(f"{self._no_registry}: its answer has no schema")
        if found.references:
            return UnreadableSchema("incompatible_schema", "the schema is made of others (references), which are not read")
        return understood(found.schema_str, found.schema_type or "AVRO")

    def id_of(self, subject: str, text: str, *, register: bool) -> int | None:
        """Give the id of a schema of ours; None: it has none, and ``register`` is not set.

        Raises:
            RegistryAwayError: it said nothing, or nothing definite.
            RegistryRefusedError: it does not take the schema, or the login.
        """
        client = self._client
        schema = Schema(json.dumps(json.loads(text), separators=(",", ":")), "AVRO")
        found = self._asked(lambda: client.lookup_schema(subject, schema), subject)
        if found is not None:
            return int(found.schema_id)
        if not register:
            return None
        registered = self._asked(lambda: client.register_schema(subject, schema), subject)
        if registered is None:
            raise RegistryAwayError(f"the schema registry at {self.shown_url} did not take the schema of {subject}")
        return int(registered)

    def _asked(self, ask: Callable[[], Any], subject: str = "") -> Any:
        """Ask; None: it is not found. With a ``subject`` it is our schema, and a refusal is final."""
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code != HTTPStatus.NOT_FOUND:
                if subject and error.http_status_code in _REFUSALS:
                    sentence = f"the schema registry at {self.shown_url} refuses the schema of {subject}: {error}"
                    raise RegistryRefusedError(
                        f"{sentence}; register it with a login that may, or give this one the right"
                    ) from error
            elif error.error_code in _NOT_FOUND_CODES or self._is_a_registry():
                return None
            elif subject:
                raise RegistryRefusedError(f"{self._no_registry}: check SCHEMA_REGISTRY_URL, with its path") from error
            else:
                raise RegistryAwayError(self._no_registry) from error
            raise self._away(error) from error
        except Exception as error:
            raise self._away(error) from error

    def _is_a_registry(self) -> bool:
        """Ask for what every registry knows: a wrong path has status 404 too, and would make a dead letter of every record."""
        try:
            self._client.get_schema_types()
        except SchemaRegistryError as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                return False
            raise self._away(error) from error
        except Exception as error:
            raise self._away(error) from error
        return True

    @property
    def _no_registry(self) -> str:
        return f"what answers at {self.shown_url} is no schema registry"

    def _away(self, error: Exception) -> RegistryAwayError:
        said = without_password(f"{type(error).__name__}: {error}")
        return RegistryAwayError(f"the schema registry at {self.shown_url} does not answer ({said})")
