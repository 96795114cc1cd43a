"""Small readings of the client's messages."""

from __future__ import annotations

from confluent_kafka import Message


def list_headers(message: Message) -> list[tuple[str, bytes | None]]:
    """Give a record's headers in their order, names may repeat; the client's stub knows them only roughly."""
    headers: list[tuple[str, bytes | None]] = message.headers() or []  # type: ignore[assignment]
    return headers
