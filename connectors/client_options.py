"""A client.properties file becomes options for librdkafka: Java's names are translated, what Tally must own is refused.

No sentence of this module repeats a value: any of them may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from connectors.properties import parse_properties

SERVERS = "bootstrap.servers"
_UNDOTTED = {"debug", "retries"}
"""Options without a dot that are librdkafka's; the others are callbacks of its Python wrapper."""
_MADE_BY_TALLY = "Tally sets it itself"
_OF_THE_BUDGET = "TALLY_MEMORY_MB decides it: set that"
OWNED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "acks": (("all", "-1"), "exactly once needs all"),
    "request.required.acks": (("all", "-1"), "exactly once needs all"),
    "allow.auto.create.topics": (("false",), "a misspelt name must not become a topic"),
    "auto.commit.interval.ms": ((), "offsets are committed inside transactions"),
    "auto.offset.reset": ((), "a position that is gone is said, never guessed"),
    "check.crcs": (("true",), "a torn record must not be booked"),
    "client.id": ((), "Tally names its clients by group and worker"),
    "delivery.report.only.error": ((), _MADE_BY_TALLY),
    "delivery.timeout.ms": ((), "TALLY_TRANSACTION_TIMEOUT_MS limits it"),
    "message.timeout.ms": ((), "TALLY_TRANSACTION_TIMEOUT_MS limits it"),
    "enable.auto.commit": (("false",), "offsets are committed inside transactions"),
    "enable.auto.offset.store": ((), "offsets are committed inside transactions"),
    "enable.idempotence": (("true",), "exactly once needs it"),
    "enable.partition.eof": (("false",), _MADE_BY_TALLY),
    "fetch.max.bytes": ((), _OF_THE_BUDGET),
    "fetch.message.max.bytes": ((), _OF_THE_BUDGET),
    "fetch.queue.backoff.ms": ((), _OF_THE_BUDGET),
    "fetch.wait.max.ms": ((), "set TALLY_EPOCH_WAIT_MS"),
    "group.id": ((), "set TALLY_PREFIX and TALLY_APP_ID"),
    "group.instance.id": ((), "a killed worker's name would stay taken until its session ends"),
    "group.protocol": ((), "set TALLY_GROUP_PROTOCOL"),
    "group.remote.assignor": (("range",), "only range keeps the topics of one task together"),
    "heartbeat.interval.ms": ((), "the broker or TALLY_SESSION_TIMEOUT_MS decides it"),
    "isolation.level": (("read_committed",), "anything else also reads what was rolled back"),
    "linger.ms": ((), _MADE_BY_TALLY),
    "log_level": ((), _MADE_BY_TALLY),
    "max.in.flight": ((), "exactly once limits it"),
    "max.in.flight.requests.per.connection": ((), "exactly once limits it"),
    "max.partition.fetch.bytes": ((), _OF_THE_BUDGET),
    "max.poll.interval.ms": ((), "set TALLY_MAX_POLL_INTERVAL_MS"),
    "message.max.bytes": ((), "the topics' limits in schemas/topics.py decide it"),
    "partition.assignment.strategy": (("range",), "only range keeps the topics of one task together"),
    "partitioner": (("murmur2_random",), "any other sends a key to another task"),
    "queue.buffering.max.kbytes": ((), _OF_THE_BUDGET),
    "queue.buffering.max.messages": ((), _OF_THE_BUDGET),
    "queue.buffering.max.ms": ((), _MADE_BY_TALLY),
    "queued.max.messages.kbytes": ((), _OF_THE_BUDGET),
    "queued.min.messages": ((), _OF_THE_BUDGET),
    "receive.message.max.bytes": ((), _OF_THE_BUDGET),
    "retry.backoff.max.ms": ((), _MADE_BY_TALLY),
    "retry.backoff.ms": ((), _MADE_BY_TALLY),
    "session.timeout.ms": ((), "set TALLY_SESSION_TIMEOUT_MS"),
    "transaction.timeout.ms": ((), "set TALLY_TRANSACTION_TIMEOUT_MS"),
    "transactional.id": ((), "set TALLY_PREFIX, TALLY_APP_ID and TALLY_WORKER_ID"),
}
"""What some client of Tally sets: the values that say the same and may stand in the file, and why no other may."""

_JAVA_NAMES = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
}
_JAVA_ONLY = {
    "sasl.jaas.config": "librdkafka wants sasl.username=... and sasl.password=... on lines of their own",
    "sasl.login.callback.handler.class": "librdkafka runs no Java classes; it knows PLAIN, SCRAM and OAUTHBEARER with OIDC",
    "sasl.client.callback.handler.class": "librdkafka runs no Java classes; it knows PLAIN, SCRAM and OAUTHBEARER with OIDC",
}
_JKS_TRUST = (
    "librdkafka reads certificates as PEM: `keytool -exportcert -rfc -keystore FILE -alias ALIAS > ca.pem`, "
    "then ssl.ca.location=ca.pem instead of the ssl.truststore lines"
)
_JKS_KEY = (
    "librdkafka reads PKCS#12: `keytool -importkeystore -srckeystore FILE -destkeystore client.p12 -deststoretype PKCS12`, "
    "then ssl.keystore.location=client.p12 and ssl.keystore.type=PKCS12"
)


class OptionsError(Exception):
    """The file cannot be used; the sentence says which lines, and what to write instead."""


def read_options(file: Path) -> dict[str, str]:
    """Give the options of a properties file, proved by making a client of them (it connects nowhere).

    Raises:
        OptionsError: it cannot be read, an option is Tally's own or unknown to librdkafka, or the client refuses them.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionsError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionsError(f"{file} is not UTF-8: write other characters as \\u and four digits") from None
    options, problems = to_librdkafka(parse_properties(text))
    if not problems:
        problems = _missing_files(options) or _refused_by_client(options)
    if problems:
        raise OptionsError(f"{file}: {'; '.join(problems)}")
    return options


def to_librdkafka(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Translate names and values, and give what is wrong with them. Pure."""
    # As Kafka does: blanks around a value are no part of it, unless it is a password.
    found = {name: value if is_secret(name) else value.strip() for name, value in given.items()}
    problems = [f"{name} is Java's: {_JAVA_ONLY[name]}" for name in found if name in _JAVA_ONLY]
    options, stores = _without_stores(found)
    problems += stores
    translated = {_JAVA_NAMES.get(name, name): value for name, value in options.items() if name not in _JAVA_ONLY}
    if translated.get("ssl.endpoint.identification.algorithm") == "":
        translated["ssl.endpoint.identification.algorithm"] = "none"  # Java's way to say so
    for name in sorted(translated.keys() & OWNED.keys()):
        same, why = OWNED[name]
        if translated.pop(name).lower() not in same:
            problems.append(f"{name} cannot be set here: {why}")
    return translated, problems


def is_secret(name: str) -> bool:
    """Tell whether an option's value must never be shown."""
    return bool(re.search(r"password|secret|jaas|token|key|\.pem$|oauthbearer\.config", name)) and not name.endswith(".location")


def _without_stores(found: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Replace Java's trust and key stores by what librdkafka has for them."""
    options, problems = dict(found), []
    location, kind = options.pop("ssl.truststore.location", None), options.pop("ssl.truststore.type", "JKS").upper()
    options.pop("ssl.truststore.password", None)
    if location is not None and kind == "PEM":
        options["ssl.ca.location"] = location
    elif location is not None:
        problems.append(f"ssl.truststore.location is Java's: {_JKS_TRUST}")
    location, kind = options.get("ssl.keystore.location"), options.pop("ssl.keystore.type", "JKS").upper()
    if location is not None and kind == "PEM":
        # One file with the key and its certificates, as Java has it; librdkafka takes it as both.
        options["ssl.key.location"] = options["ssl.certificate.location"] = options.pop("ssl.keystore.location")
    elif location is not None and kind != "PKCS12" and not location.lower().endswith((".p12", ".pfx")):
        problems.append(f"ssl.keystore.location is no PKCS#12 file by its type or name: {_JKS_KEY}")
    return options, problems


def _missing_files(options: Mapping[str, str]) -> list[str]:
    return [
        f"{name} names a file that is not there or cannot be read"
        for name, value in options.items()
        if name.endswith(".location") and value != "probe" and not _is_readable(Path(value))
    ]


def _is_readable(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        with path.open("rb"):
            return True
    except OSError:
        return False


def _refused_by_client(options: Mapping[str, str]) -> list[str]:
    """Make a client of the options and give what it says of them: all unknown names at once, or the first other problem."""
    tried = {name: value for name, value in options.items() if "." in name or name in _UNDOTTED}
    unknown = sorted(options.keys() - tried.keys())
    tried.pop("debug", None)  # it would talk about this client too
    while True:
        try:
            Producer({**tried, SERVERS: "127.0.0.1:1", "log_level": 0}, logger=None)
        except (KafkaException, TypeError, ValueError, AttributeError) as error:
            said = error.args[0].str() if isinstance(error, KafkaException) else type(error).__name__
            name = re.fullmatch(r'No such configuration property: "(.+)"', said)
            if name is None or name[1] not in tried:
                return [*_unknown(unknown), _without_values(said, options)]
            unknown.append(name[1])
            del tried[name[1]]
        else:
            return _unknown(unknown)


def _unknown(names: list[str]) -> list[str]:
    return [f"librdkafka has no option {name}: it is misspelt, or Java's; take the line out" for name in names]


def _without_values(said: str, options: Mapping[str, str]) -> str:
    said = re.sub(r'Invalid value ".*" for', "invalid value for", said, flags=re.DOTALL)
    for name, value in options.items():
        if value and is_secret(name):
            said = said.replace(value, "...")
    return said.removeprefix("Failed to create producer: ")
