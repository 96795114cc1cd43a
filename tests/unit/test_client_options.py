"""A client.properties of somebody's own: read as Java reads it, translated for librdkafka, and never said aloud."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from hypothesis import given
from hypothesis import strategies as st

from connectors.client_options import OWNED, OptionsError, read_options, to_librdkafka
from connectors.cluster import CONSUMERS_ONLY, PRODUCERS_ONLY, Cluster
from connectors.properties import parse_properties
from streams.budget import Budget, fetch_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# comment\n! comment\n\n  # comment\na=b", {"a": "b"}),
        ("a = b\nc:d\ne f\ng", {"a": "b", "c": "d", "e": "f", "g": ""}),
        ("a=b=c:d\n", {"a": "b=c:d"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=b\r\nc=d\re=f", {"a": "b", "c": "d", "e": "f"}),
        ("a=one,\\\n   two,\\\n   three\nb=x", {"a": "one,two,three", "b": "x"}),
        ("a=one\\\\\nb=x", {"a": "one\\", "b": "x"}),
        ("a=\\u00e9\\t\\n\\z\\\\", {"a": "é\t\nz\\"}),
        ("a\\=b\\ c\\:d=e", {"a=b c:d": "e"}),
        ("a=# no comment", {"a": "# no comment"}),
        ("a= b ", {"a": "b "}),
        ("a=b\\", {"a": "b"}),
        ("# a comment does not go on \\\na=b", {"a": "b"}),
    ],
)
def test_properties_are_read_as_java_reads_them(text: str, found: dict[str, str]) -> None:
    assert parse_properties(text) == found


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_properties(text)


NAMES = st.text(min_size=1)


@given(st.dictionaries(NAMES, st.text()))
def test_what_is_escaped_comes_back(properties: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        return "".join(f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else sign for sign in text)

    lines = [f"{escaped(name)}={escaped(value)}" for name, value in properties.items()]
    assert parse_properties("\n".join(lines)) == properties


@pytest.mark.parametrize(
    ("given_options", "options"),
    [
        ({"security.protocol": "SASL_SSL ", "sasl.password": " p "}, {"security.protocol": "SASL_SSL", "sasl.password": " p "}),
        ({"ssl.truststore.location": "ca.pem", "ssl.truststore.type": "PEM"}, {"ssl.ca.location": "ca.pem"}),
        ({"ssl.truststore.certificates": "PEM"}, {"ssl.ca.pem": "PEM"}),
        (
            {"ssl.keystore.location": "me.pem", "ssl.keystore.type": "PEM", "ssl.key.password": "p"},
            {"ssl.key.location": "me.pem", "ssl.certificate.location": "me.pem", "ssl.key.password": "p"},
        ),
        (
            {"ssl.keystore.location": "me.store", "ssl.keystore.type": "PKCS12", "ssl.keystore.password": "p"},
            {"ssl.keystore.location": "me.store", "ssl.keystore.password": "p"},
        ),
        ({"ssl.keystore.key": "K", "ssl.keystore.certificate.chain": "C"}, {"ssl.key.pem": "K", "ssl.certificate.pem": "C"}),
        ({"ssl.endpoint.identification.algorithm": ""}, {"ssl.endpoint.identification.algorithm": "none"}),
        ({"acks": "all", "isolation.level": "READ_COMMITTED", "enable.auto.commit": "false"}, {}),
    ],
)
def test_names_of_java_become_names_of_librdkafka(given_options: dict[str, str], options: dict[str, str]) -> None:
    assert to_librdkafka(given_options) == (options, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sasl.jaas.config=L required password=hunter2;",
            ["sasl.jaas.config is Java's", "sasl.username=... and sasl.password=..."],
        ),
        (
            "ssl.truststore.location=hunter2.jks\nssl.truststore.password=hunter2",
            ["keytool -exportcert -rfc", "ssl.ca.location="],
        ),
        ("ssl.keystore.location=hunter2.jks\nssl.keystore.password=hunter2", ["keytool -importkeystore", "PKCS12"]),
        ("sasl.login.callback.handler.class=hunter2", ["librdkafka runs no Java classes"]),
        (
            "key.serializer=hunter2\nno.such=hunter2\nerror_cb=hunter2",
            ["no option error_cb", "no option key.serializer", "no option no.such"],
        ),
        (
            "acks=1\ngroup.id=hunter2",
            ["acks cannot be set here: exactly once needs all", "group.id cannot be set here: set TALLY_PREFIX"],
        ),
        ("security.protocol=hunter2", ['invalid value for configuration property "security.protocol"']),
        ("socket.timeout.ms=hunter2", ['configuration property "socket.timeout.ms"']),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.password=hunter2",
            ["sasl.username and sasl.password must be set"],
        ),
        ("ssl.ca.location=hunter2.pem", ["ssl.ca.location names a file that is not there"]),
        ("security.protocol=SSL\nssl.ca.pem=hunter2", ["from ssl.ca.pem: not in PEM format"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_all_at_once_with_what_to_write_and_never_with_a_value(
    tmp_path: Path, text: str, said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "client.properties"
    file.write_text(text)
    with pytest.raises(OptionsError) as refused:
        read_options(file)
    assert str(refused.value).startswith(f"{file}: ")
    for words in said:
        assert words in str(refused.value)
    assert "hunter2" not in str(refused.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "name",
    [
        "fetch.max.bytes", "max.partition.fetch.bytes", "fetch.message.max.bytes", "queued.min.messages",
        "queued.max.messages.kbytes", "fetch.queue.backoff.ms", "receive.message.max.bytes",
        "queue.buffering.max.messages", "queue.buffering.max.kbytes",
    ],
)  # fmt: skip
def test_what_the_memory_budget_decides_is_refused_with_the_setting_to_use(name: str, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text(f"{name}=1000000\n")
    with pytest.raises(OptionsError, match=rf": {name} cannot be set here: TALLY_MEMORY_MB decides it: set that$"):
        read_options(file)


def test_every_option_of_the_memory_budget_is_tallys_own() -> None:
    """So neither a line of the file nor the order in which a client's options are put together can undo the budget."""
    budget = Budget.of(512)
    assert budget.producer_config().keys() | fetch_config(budget.consumer_bytes).keys() <= OWNED.keys()


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="cannot be read: No such file"):
        read_options(tmp_path / "none")
    latin = tmp_path / "latin"
    latin.write_bytes(b"sasl.password=\xe9\n")
    with pytest.raises(OptionsError, match=r"is not UTF-8: write other characters as \\u and four digits"):
        read_options(latin)


def test_options_for_one_kind_of_client_make_the_other_kind_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    values = {
        "compression.type": "lz4", "compression.codec": "lz4", "queuing.strategy": "fifo", "enable.gapless.guarantee": "false",
        "queue.buffering.backpressure.threshold": "1", "request.timeout.ms": "9000", "fetch.error.backoff.ms": "500",
        "coordinator.query.interval.ms": "9000", "sticky.partitioning.linger.ms": "9000",
    }  # fmt: skip
    options = {name: values.get(name, "1000000") for name in CONSUMERS_ONLY | PRODUCERS_ONLY} | {"compression.level": "1"}
    cluster = Cluster("127.0.0.1:1", options)
    Producer({**cluster.producer(), "log_level": 4})
    Consumer({**cluster.consumer(), "group.id": "g", "log_level": 4}).close()
    assert "will be ignored by this" not in capfd.readouterr().err


def _named_in(module: Path) -> Iterator[str]:
    """The options of Kafka's client that a module of ours sets in a literal."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            names = [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            yield from (name for name in names if re.fullmatch(r"[a-z]+(\.[a-z]+)+|acks|partitioner|log_level", name))


def test_what_tally_sets_cannot_be_set_in_the_file_too() -> None:
    """So a line of the file is used, or it is refused, but never left out in silence."""
    clients = [
        *(
            ROOT / "streams" / f"{name}.py"
            for name in ("group", "transaction", "engine", "restore", "questions", "admin", "demo/watch", "budget")
        ),
        *(ROOT / "connectors" / name for name in ("reader.py", "sources/publish.py")),
    ]
    ours = {name for module in clients for name in _named_in(module)}
    assert {"group.id", "isolation.level", "transactional.id", "partitioner", "enable.idempotence", "acks"} <= ours
    assert ours <= OWNED.keys()


def test_every_client_of_the_product_begins_with_the_cluster() -> None:
    """An address alone would be a client without login. The five tools are programs of readers, shown and not run by us."""
    allowed = {"connectors/cluster.py", "connectors/client_options.py", "streams/five_tools.py"}
    modules = [path for house in ("streams", "connectors", "bench") for path in (ROOT / house).rglob("*.py")]
    bare = [str(path.relative_to(ROOT)) for path in modules if '"bootstrap.servers"' in path.read_text(encoding="utf-8")]
    assert set(bare) <= allowed
