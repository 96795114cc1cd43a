"""Options that several ``tally dlq`` commands share, and what they come to: which letters are meant, on which cluster."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click

from agents.rehearsal import Outcome
from connectors.reader import list_topics
from schemas.events import DeadLetterDone, Event
from schemas.topics import INPUTS
from schemas.wire import FIXED
from streams.cli.moments import moment_ms
from streams.cli.shared import cluster_answers, refuse_version
from streams.cli.tail import find_topic
from streams.errors import RefusedError
from streams.inbox.desk import Desk, read_done
from streams.inbox.filters import Filter
from streams.inbox.letters import DeadLetter, parse_address
from streams.inbox.mailbox import Mailbox
from streams.inbox.mending import broken_rule
from streams.inbox.routes import Routes
from streams.registry import connect
from streams.settings import Settings, load_cluster_settings

F = TypeVar("F", bound=Callable[..., Any])


def filter_options(function: F) -> F:
    """Add the options that say which letters are meant."""
    classes = click.Choice(["undecodable", "envelope", "rule", "exception", "unknown"])
    for option in (
        click.option("--until", "until_ms", callback=moment_ms, help="Buried before this time."),
        click.option("--since", "since_ms", callback=moment_ms, help="Buried since: 2026-11-23T17:00:00Z, or 90m, 2d ago."),
        click.option("--key", help="With this key."),
        click.option("--source", help="Came from this topic, or topic/partition."),
        click.option("--reason", help="Died of this reason, such as bad_time."),
        click.option("--class", "error_class", type=classes, help="Died of this class of reasons."),
    ):
        function = option(function)
    return function


def act_options(function: F) -> F:
    """Add the options of commands that change something."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--by", default=None, help="Who does it; without it the user's name."),
        click.option("--because", default="", help="Why; it is noted with what was done."),
    ):
        function = option(function)
    return function


class Inbox:
    """The dead letters of one deployment, as the commands see them.

    Raises:
        ClusterError: the cluster does not answer; so does every method.
    """

    def __init__(self, prefix: str | None, bootstrap_servers: str | None) -> None:
        self.settings: Settings = load_cluster_settings(prefix=prefix, bootstrap_servers=bootstrap_servers)
        refuse_version(self.settings, "acts on the dead letters of the live version; what it sends back, every version reads")
        self.registry = connect(self.settings)
        with cluster_answers():
            counts = list_topics(self.settings.cluster)
        self.mailbox = Mailbox(self.settings.cluster, self.settings.prefix, counts, self.registry)
        self.routes = Routes(self.settings.prefix, counts, FIXED if self.registry is None else self.registry.wire)
        self._there = counts

    def filter(
        self, *, error_class: str | None, reason: str | None, source: str | None, key: str | None,
        since_ms: int | None, until_ms: int | None,
    ) -> Filter:  # fmt: skip
        """Give the filter that the options say."""
        sources = frozenset() if source is None else frozenset({source, self.settings.prefix + source})
        return Filter(error_class, reason, sources, None if key is None else key.encode(), since_ms, until_ms)

    def topics(self, asked: str | None) -> list[str]:
        """Give the full names of the topics that are meant: the one asked for, or all dead-letter topics.

        Raises:
            MissingTopic: there is no such topic.
        """
        return self.mailbox.topics() if asked is None else [find_topic(asked, self.settings, self._there)[0]]

    def letters(self, topics: list[str], wanted: Filter) -> Iterator[DeadLetter]:
        """Give the letters of topics that a filter takes."""
        with cluster_answers():
            yield from (letter for letter in self.mailbox.letters(topics) if wanted.takes(letter))

    def letter(self, address: str) -> DeadLetter:
        """Give the letter at an address.

        Raises:
            RefusedError: it is no address, or nothing is there.
        """
        place = parse_address(address)
        with cluster_answers():
            return self.mailbox.letter(place)

    def whole(self, letter: DeadLetter) -> DeadLetter:
        """Give the letter with what was cut from it, if its source still has that; else as it is."""
        try:
            with cluster_answers():
                return self.mailbox.whole(letter)
        except RefusedError:
            return letter

    def broken_rule(self, event: Event) -> Outcome | None:
        """Give the rule that an event would break by itself if it were sent now; None if none."""
        return broken_rule(event, time.time_ns() // 1_000_000, self.settings.future_max_ms)

    def done(self) -> Mapping[str, DeadLetterDone]:
        """Give what was done so far."""
        with cluster_answers():
            return read_done(self.settings.cluster, self.settings.prefix)

    def may_write_events(self) -> None:
        """Have ids for the events that are about to be written, where a registry gives them."""
        if self.registry is not None:
            self.registry.enter(self.settings.prefix, writes=INPUTS)

    def desk(self, by: str | None) -> Desk:
        """Take the inbox over, to act on it; ``by`` is noted."""
        with cluster_answers():
            return Desk(self.settings, by or getpass.getuser())
