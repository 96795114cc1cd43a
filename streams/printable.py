"""Text from outside, made fit for a terminal: its bytes must not steer it. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what is not printable."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
