"""Settings: read once, from the environment, the command line and what the local broker left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from streams.budget import MEMORY_MB_MAX
from streams.cli import config
from streams.context import update_context
from streams.errors import NoCluster, SettingsError
from streams.health import is_live
from streams.settings import VARIABLES, Settings, load_cluster_settings, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an empty home, with none of our variables in the environment."""
    for field in Settings.model_fields:
        monkeypatch.delenv(f"TALLY_{field.upper()}", raising=False)
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    return tmp_path


def test_the_environment_sets_fields_and_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("TALLY_EPOCH_RECORDS_MAX", "17")
    monkeypatch.setenv("TALLY_GROUP_PROTOCOL", "classic")
    settings = load_settings()
    assert (settings.bootstrap_servers, settings.epoch_records_max, settings.group_protocol) == ("kafka:9092", 17, "classic")


def test_a_registry_s_password_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://tally:s3cr:t@registry.example:8081/apis/ccompat/v7,https://other.example"
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", url)
    assert load_settings().schema_registry_url == url
    for arguments in ([], ["--json"]):
        shown = CliRunner().invoke(config.command, arguments).output
        assert "https://tally:***@registry.example:8081/apis/ccompat/v7" in shown
        assert "s3cr" not in shown
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "ftp://tally:s3cr:t@registry.example")
    with pytest.raises(SettingsError, match=r"SCHEMA_REGISTRY_URL cannot be 'ftp://tally:\*\*\*@registry.example'"):
        load_settings()


def test_the_clients_file_goes_to_every_client_and_its_password_nowhere_else(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    file = bare / "client.properties"
    file.write_text("bootstrap.servers=theirs:9093\nsasl.username=tally\nsasl.password=s3cr:t\nfetch.min.bytes=1\nretries=9\n")
    monkeypatch.setenv("KAFKA_CONFIG_FILE", str(file))
    settings = load_settings(prefix="p.")
    assert settings.bootstrap_servers == "theirs:9093", "the file names the cluster, if nothing else does"
    consumer, producer = settings.cluster.consumer(), settings.cluster.producer()
    for client in (consumer, producer, settings.model_copy(update={"prefix": "q."}).cluster.producer()):
        assert (client["bootstrap.servers"], client["sasl.username"], client["sasl.password"]) == (
            "theirs:9093",
            "tally",
            "s3cr:t",
        )
    assert ("fetch.min.bytes" in consumer, "retries" in consumer) == (True, False)
    assert ("fetch.min.bytes" in producer, "retries" in producer) == (False, True)
    shown = [CliRunner().invoke(config.command, arguments).output for arguments in ([], ["--json"])]
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.cluster), *shown):
        assert "s3cr" not in text
        assert "theirs:9093" in text
    assert json.loads(shown[1])["bootstrap_servers"]["origin"] == str(file)
    assert load_settings(bootstrap_servers="ours:9092").cluster.consumer()["bootstrap.servers"] == "ours:9092"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group.id=mine\n", r"KAFKA_CONFIG_FILE .*client.properties: group.id cannot be set here: set TALLY_PREFIX"),
        ("sasl.username=tally\n", "KAFKA_CONFIG_FILE is for a cluster of yours: set KAFKA_BOOTSTRAP_SERVERS too, or unset it"),
    ],
)  # fmt: skip
def test_a_clients_file_that_cannot_be_used_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, bare: Path, text: str, said: str
) -> None:
    file = bare / "client.properties"
    file.write_text(text)
    monkeypatch.setenv("KAFKA_CONFIG_FILE", str(file))
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_names_on_the_cluster_carry_prefix_app_and_worker() -> None:
    settings = Settings(prefix="d1.", app_id="shop", worker_id="w1", home=Path("home"))
    assert settings.group_id == "d1.shop"
    assert settings.transactional_id == "d1.shop-w1"
    assert settings.state_folder == Path("home/state/d1.w1")


def test_options_win_over_the_environment_and_none_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_PREFIX", "env.")
    assert load_settings(prefix="option.").prefix == "option."
    assert load_settings(prefix=None).prefix == "env."


def test_what_the_local_broker_left_fills_in_what_is_unset(bare: Path) -> None:
    (bare / "context.json").write_text(json.dumps({"bootstrap_servers": "127.0.0.1:7", "prefix": "demo."}))
    settings = load_settings()
    assert (settings.bootstrap_servers, settings.prefix) == ("127.0.0.1:7", "demo.")
    assert load_settings(prefix="").prefix == "", "an empty prefix that somebody asked for is a prefix"
    other = load_settings(bootstrap_servers="other:9092")
    assert (other.bootstrap_servers, other.prefix) == ("other:9092", ""), "a prefix belongs to its broker"


def test_without_a_context_nothing_is_guessed() -> None:
    settings = load_settings()
    assert (settings.bootstrap_servers, settings.prefix) == ("", "")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().prefix = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefix", "no/slash"),
        ("worker_id", ""),
        ("worker_id", "../w1"),
        ("app_id", "a b"),
        ("epoch_records_max", 0),
        ("group_protocol", "sticky"),
        ("transaction_timeout_ms", 10),
        ("epoch_records_max", 1_000_001),
        ("epoch_wait_ms", 30_000),
        ("live_timeout_ms", 20_000),
        ("drain_timeout_ms", -1),
        ("restore_attempts_max", 0),
        ("dead_records_max", 1_001),
        ("memory_mb", MEMORY_MB_MAX + 1),
    ],
)
def test_i5_values_outside_their_limits_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"TALLY_{name.upper()} cannot be"):
        load_settings(**{name: value})


def test_a_worker_that_works_may_not_count_as_dead_before_one_that_is_silent() -> None:
    together = {"session_timeout_ms": 45_000, "max_poll_interval_ms": 30_000}
    with pytest.raises(SettingsError, match="TALLY_SESSION_TIMEOUT_MS cannot be more than TALLY_MAX_POLL_INTERVAL_MS"):
        load_settings(group_protocol="classic", **together)
    assert load_settings(**together).session_timeout_ms == 45_000, "nobody asks for it with KIP-848"


def test_a_stuck_call_is_given_up_before_its_worker_counts_as_dead() -> None:
    for live_timeout_ms in (30_000, 60_000, 3_600_000):
        settings = load_settings(live_timeout_ms=live_timeout_ms)
        assert is_live(settings.call_timeout_s + 10, live_timeout_ms)
        assert settings.call_timeout_s > 10, "the client's own calls take so long"


def test_every_field_says_what_it_is_and_has_its_unit_last() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation is int:
            assert name.endswith(("_ms", "_bytes", "_mb", "_max", "_port")), name


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "TALLY_EPOCH_RECORDS_MAX",
            "0",
            "TALLY_EPOCH_RECORDS_MAX cannot be '0': input should be greater than or equal to 1 (records of",
        ),
        ("TALLY_DISK_FREE_BYTES", "0", "TALLY_DISK_FREE_BYTES cannot be '0': input should be greater than or equal to 67108864"),
        ("TALLY_WORKER_ID", "a b", "TALLY_WORKER_ID cannot be 'a b': string should match pattern"),
        ("TALLY_GROUP_PROTOCOL", "x", "TALLY_GROUP_PROTOCOL cannot be 'x': input should be 'consumer' or 'classic'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(said)
    assert refused.value.exit_code == 2


def test_a_command_that_needs_a_cluster_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="run `tally broker up`, or set KAFKA_BOOTSTRAP_SERVERS"):
        load_cluster_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("TALLY_EPOCH_RECORD_MAX", "there is no setting TALLY_EPOCH_RECORD_MAX; did you mean TALLY_EPOCH_RECORDS_MAX?"),
        ("TALLY_QQQ", "there is no setting TALLY_QQQ; `tally config` shows what there is"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused_and_the_nearest_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value) == said


def test_config_shows_value_unit_and_origin_of_every_setting(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("TALLY_EPOCH_RECORDS_MAX", "4000")
    update_context(bare / "context.json", {"bootstrap_servers": "127.0.0.1:7", "prefix": "demo."})
    shown = CliRunner().invoke(config.command, ["--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.output)
    assert list(rows) == list(Settings.model_fields)
    assert (rows["epoch_records_max"]["value"], rows["epoch_records_max"]["unit"]) == (4_000, "records")
    origins = {name: row["origin"] for name, row in rows.items()}
    assert (origins["epoch_records_max"], origins["home"], origins["epoch_wait_ms"]) == ("environment", "environment", "default")
    assert origins["bootstrap_servers"] == origins["prefix"] == str(bare / "context.json")
    assert (rows["epoch_wait_ms"]["unit"], rows["memory_mb"]["unit"], rows["web_port"]["unit"]) == ("ms", "mb", "port")
    table = CliRunner().invoke(config.command, [])
    assert "TALLY_EPOCH_RECORDS_MAX" in table.output
    assert "4,000" in table.output
