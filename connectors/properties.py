"""Java's properties files, as Kafka's own tools read them: comments, escapes, lines that go on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LINE = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)


def parse_properties(text: str) -> dict[str, str]:
    r"""Give names and values; the last line of a name counts.

    ``#`` and ``!`` begin comments; ``=``, ``:`` or a blank ends a name; a backslash escapes (``\t``, ``\u00e9``, ``\=``) and, at
    the end of a line, joins it with the next. A value keeps its blanks at the end.
    """
    found = {}
    for line in _logical_lines(text):
        match = _LINE.fullmatch(line)
        assert match is not None  # noqa: S101 - every part may be empty
        found[_unescaped(match[1])] = _unescaped(match[2])
    return found


def _logical_lines(text: str) -> Iterator[str]:
    begun = ""
    for natural in re.split(r"\r\n|\r|\n", text):
        line = natural.lstrip(" \t\f")
        if not begun and (not line or line[0] in "#!"):
            continue
        begun += line
        backslashes = len(begun) - len(begun.rstrip("\\"))
        if backslashes % 2:
            begun = begun[:-1]
            continue
        yield begun
        begun = ""
    if begun:
        yield begun


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escaped = match[1]
        return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(plain, text)
