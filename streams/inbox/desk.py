"""The one hand that acts on the inbox: what is sent and the note that it was done are one Kafka transaction.

Its transactional id is one per deployment. So a second operator fences the first instead of doubling what it does; and since
the notes are read only when the id is ours, nothing that an earlier hand did, or began, is unknown.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.cluster import Cluster
from connectors.reader import read_topic
from schemas.codec import Undecodable, decode, encode
from schemas.events import DeadLetterDone
from schemas.topics import DEAD_LETTERS_DONE
from streams.errors import ClusterError, InboxTakenError
from streams.inbox.letters import Address, DeadLetter, short_name
from streams.inbox.routes import Outgoing
from streams.settings import Settings

CALL_TIMEOUT_S = 30.0
"""For one answer to a transactional call, a restart of a broker included."""
_unheard = logging.getLogger(f"{__name__}.client")
_unheard.addHandler(logging.NullHandler())  # what goes wrong is said once, as a sentence
RECORD_BYTES_MAX = 64 << 20
"""The client's own limit; an input's is on compressed batches, so a record may be larger than any topic's number."""


@dataclass(frozen=True)
class Act:
    """One thing to do about one letter: ``action`` is replayed, mended or parked; a parked one sends nothing."""

    letter: DeadLetter
    action: str
    sent: Outgoing | None = None
    because: str = ""


def read_done(cluster: Cluster, prefix: str) -> dict[str, DeadLetterDone]:
    """Give what was done about each letter, by its address.

    Raises:
        ReadError: the cluster does not answer, or has no such topic.
    """
    done: dict[str, DeadLetterDone] = {}
    for record in read_topic(cluster, DEAD_LETTERS_DONE.named(prefix)):
        with contextlib.suppress(Undecodable):  # what another hand wrote there says nothing
            note = decode(record.value)
            if isinstance(note, DeadLetterDone):
                done[note.address] = note
    return done


def done_about(letter: DeadLetter, done: Mapping[str, DeadLetterDone]) -> DeadLetterDone | None:
    """Give what was done about this very letter, not about one at its address in a topic that was deleted since."""
    note = done.get(str(letter.address))
    return note if note is not None and note.digest == letter.digest else None


class NotTakenError(ClusterError):
    """A topic will never take a record of a batch, so nothing of the batch was done; the others may be done without it."""


class Desk:
    """Takes the inbox over from whoever had it, and acts on it. ``done`` is everything that was done so far.

    Raises:
        ClusterError: the cluster refuses, or does not answer.
        ReadError: the topic of the notes is not there.
    """

    def __init__(
        self,
        settings: Settings,
        by: str,
        *,
        make_client: Callable[[dict[str, Any]], Producer] = Producer,
        read_notes: Callable[[Cluster, str], dict[str, DeadLetterDone]] = read_done,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._prefix = settings.prefix
        self._by = by
        self._now_ms = now_ms
        self._producer = make_client({
            **settings.cluster.producer(),
            "client.id": settings.inbox_transactional_id,
            "logger": _unheard,
            "transactional.id": settings.inbox_transactional_id,
            "transaction.timeout.ms": settings.transaction_timeout_ms,
            "partitioner": "murmur2_random",
            "message.max.bytes": RECORD_BYTES_MAX,
            "compression.type": "zstd",
        })  # fmt: skip
        self._call("take the inbox over", lambda: self._producer.init_transactions(CALL_TIMEOUT_S))
        self.done = read_notes(settings.cluster, settings.prefix)

    def do(self, acts: Sequence[Act]) -> list[DeadLetterDone]:
        """Do all of it or nothing, and give the notes.

        Raises:
            InboxTakenError: another operator took the inbox over; nothing of this was done.
            NotTakenError: a topic refused a record; nothing was done.
            ClusterError: the cluster refused, and nothing was done; or it gave no answer, and the next ``Desk`` knows.
        """
        self._call("begin", self._producer.begin_transaction)
        reports = _Reports()
        for number, act in enumerate(acts):
            if act.sent is not None:
                self._produce(act.sent, partial(reports.take, number))
        self._flush(reports)
        at_ms = self._now_ms()
        notes = [
            DeadLetterDone(
                address=str(act.letter.address),
                digest=act.letter.digest,
                action=act.action,
                at_ms=at_ms,
                by=self._by,
                because=act.because,
                went_to=self._place(reports.places.get(number)),
            )
            for number, act in enumerate(acts)
        ]
        topic = DEAD_LETTERS_DONE.named(self._prefix)
        for number, note in enumerate(notes, len(acts)):
            self._produce(Outgoing(topic, -1, note.address.encode(), encode(note), ()), partial(reports.take, number))
        self._flush(reports)
        self._call("commit", lambda: self._producer.commit_transaction(CALL_TIMEOUT_S))
        self.done.update((note.address, note) for note in notes)
        return notes

    def _place(self, place: Address | None) -> str:
        return "" if place is None else str(place._replace(topic=short_name(place.topic, self._prefix)))

    def _produce(self, sent: Outgoing, on_delivery: Callable[[KafkaError | None, Message], None]) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(sent.headers)
        self._call(
            f"take a record for {sent.topic}",
            lambda: self._producer.produce(
                sent.topic, sent.value, sent.key, sent.partition, on_delivery=on_delivery, headers=headers
            ),
        )

    def _flush(self, reports: _Reports) -> None:
        """Wait until all is delivered; what was refused, or is late, aborts the transaction."""
        late: list[int] = []
        self._call("take the records", lambda: late.append(self._producer.flush(CALL_TIMEOUT_S)))
        if reports.refused or any(late):
            said = reports.refused or f"{late[0]} records were not delivered within {CALL_TIMEOUT_S:.0f} s"
            self._abort()
            raise (NotTakenError if reports.never else ClusterError)(f"nothing of this batch was done: {said}")

    def _call(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except SystemError:
            # A fatal error that the client raises within a delivery report comes wrapped, or is lost; its next call says it.
            self._call(what, lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
            raise
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in _FENCED:
                raise InboxTakenError from error
            self._abort()
            raise ClusterError(
                f"the cluster did not {what}: {reason.str()}; run the command again, it does only what is not done yet",
                retriable=reason.retriable(),
            ) from error

    def _abort(self) -> None:
        # If this fails too the cluster ends the transaction by its time-out, or the next hand does.
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(CALL_TIMEOUT_S)


class _Reports:
    """What the cluster said of each record: where it stands, or why it was refused (the first time)."""

    def __init__(self) -> None:
        self.places: dict[int, Address] = {}
        self.refused = ""
        self.never = False

    def take(self, number: int, error: KafkaError | None, message: Message) -> None:
        topic = message.topic() or ""
        if error is None:
            self.places[number] = Address(topic, message.partition() or 0, message.offset() or 0)
        elif not self.refused:
            self.refused = f"{topic} refused a record of {len(message.value() or b''):,} bytes: {error.str()}"
            self.never = error.code() in _NEVER


_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}  # noqa: SLF001 - no other name
_NEVER = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD}
"""Refusals of one record for what it is; the same record will be refused again."""
