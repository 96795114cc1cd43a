"""Small readings of the client's messages."""

from __future__ import annotations

from confluent_kafka import Message

from schemas.wire import ID_HEADER


def list_headers(message: Message) -> list[tuple[str, bytes | None]]:
    """Give a record's headers in their order, names may repeat; the client's stub knows them only roughly."""
    headers: list[tuple[str, bytes | None]] = message.headers() or []  # type: ignore[assignment]
    return headers


def id_header(message: Message) -> bytes | None:
    """Give the header that has the value's schema id, if there is one."""
    if message.headers() is None:
        return None
    return next((value for name, value in list_headers(message) if name == ID_HEADER), None)
