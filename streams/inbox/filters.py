"""Which letters are meant, and what many of them come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.events import DeadLetterDone
from streams.inbox.letters import DeadLetter


@dataclass(frozen=True)
class Filter:
    """What a letter must have to be meant; None asks for nothing.

    ``sources`` are texts of which one must be the letter's source: a full topic name, or one with ``/partition``.
    Times are those of burial; ``until_ms`` is exclusive.
    """

    error_class: str | None = None
    reason: str | None = None
    sources: frozenset[str] = frozenset()
    key: bytes | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether the letter is meant."""
        topic = letter.source.topic or ""
        return (
            (self.error_class is None or letter.error_class == self.error_class)
            and (self.reason is None or letter.reason == self.reason)
            and (not self.sources or not self.sources.isdisjoint({topic, f"{topic}/{letter.source.partition}"}))
            and (self.key is None or letter.record.key == self.key)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
        )


@dataclass
class Summary:
    """The letters of one topic that died of one reason; ``sample`` is the newest, ``done`` counts what was done by action."""

    topic: str
    error_class: str
    reason: str
    oldest_ms: int
    newest_ms: int
    sample: DeadLetter
    count: int = 0
    done: dict[str, int] = field(default_factory=dict)


def summarise(letters: Iterable[tuple[DeadLetter, DeadLetterDone | None]]) -> list[Summary]:
    """Give one summary per topic, class and reason, the most frequent first."""
    found: dict[tuple[str, str, str], Summary] = {}
    for letter, done in letters:
        key = (letter.address.topic, letter.error_class, letter.reason)
        summary = found.get(key)
        if summary is None:
            summary = found[key] = Summary(*key, letter.at_ms, letter.at_ms, letter)
        summary.count += 1
        summary.oldest_ms = min(summary.oldest_ms, letter.at_ms)
        if letter.at_ms >= summary.newest_ms:
            summary.newest_ms, summary.sample = letter.at_ms, letter
        if done is not None:
            summary.done[done.action] = summary.done.get(done.action, 0) + 1
    return sorted(found.values(), key=lambda each: (-each.count, each.topic, each.reason))
