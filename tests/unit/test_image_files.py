"""The files in docker/: that they agree with each other and with the code, and what no container may be allowed.

Their grammar is checked by `make lint`, with hadolint, yamllint and Docker Compose itself.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

from schemas.topics import MAX_CHANGELOG_BYTES
from streams.kafka_runtime import KAFKA_VERSION
from streams.settings import Settings
from tests.support.image import COMPOSE, DOCKERFILE, ROOT, STATE, image_environment, only, ours, services, stages
from tests.support.promtool import PROMETHEUS_VERSION, module

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKERS = ("w1", "w2", "w3")


def test_there_is_all_that_was_asked_for() -> None:
    assert sorted(services()) == sorted(["kafka", "registry", "topics", "tally", *WORKERS, "prometheus", "grafana"])


@pytest.mark.parametrize(
    "image", sorted({*DockerfileParser(str(DOCKERFILE)).parent_images, *(service["image"] for service in services().values())})
)
def test_every_image_has_a_whole_version(image: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z]+)*", image)


def test_versions_are_those_that_the_tests_use() -> None:
    assert services()["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert services()["prometheus"]["image"] == f"prom/prometheus:v{PROMETHEUS_VERSION}"
    [registry] = re.findall(
        r"<artifactId>apicurio-registry-app</artifactId>\s*<version>(.*)</version>",
        (ROOT / "docker" / "registry" / "pom.xml").read_text(),
    )
    assert services()["registry"]["image"] == f"apicurio/apicurio-registry:{registry}"
    version = PROJECT["version"]
    assert f'image.version="{version}"' in only("LABEL")
    assert {service["image"] for service in ours().values()} == {f"tally:{version}"}
    assert [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("setuptools==")]


@pytest.mark.parametrize(("version", "tag"), [("3.5.1", "v0.305.1"), ("3.16.0", "v0.316.0")])
def test_a_version_of_prometheus_has_another_name_as_a_go_module(version: str, tag: str) -> None:
    assert module(version).endswith(f"@{tag}")


def test_what_is_copied_is_what_the_engine_is_sent() -> None:
    copied = [name for step in stages()[0] if step.instruction == "COPY" for name in step.value.split()[:-1]]
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(copied)
    houses = {
        package.split(".")[0]
        for package in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    }
    assert houses <= set(copied)


def test_the_extension_is_built_by_a_rust_that_can_and_put_where_the_images_python_looks() -> None:
    stage = next(stage for stage in stages() if stage[0].value.endswith(" AS columns"))
    [rust] = re.findall(r"^rust:([\d.]+)-", stage[0].value)
    crate = tomllib.loads((ROOT / "schemas" / "columns_rs" / "Cargo.toml").read_text())
    assert [int(part) for part in rust.split(".")] >= [int(part) for part in crate["package"]["rust-version"].split(".")]
    assert [step.value for step in stage if step.instruction == "COPY"] == ["schemas/columns_rs ./"]
    [python] = re.findall(r"^python:(\d+\.\d+)", stages()[-1][0].value)
    [placed] = [step.value for step in stages()[-1] if step.instruction == "COPY" and step.value.startswith("--from=columns")]
    assert placed.split()[1:] == [
        f"/src/target/release/lib{crate['lib']['name']}.so",
        f"/opt/tally/lib/python{python}/site-packages/{crate['lib']['name']}.abi3.so",
    ]


def test_the_image_runs_as_a_numbered_user_that_owns_only_its_state() -> None:
    assert only("USER") == "10001:10001"
    assert only("VOLUME") == only("WORKDIR") == image_environment()["TALLY_HOME"] == STATE
    [made] = [step.value for step in stages()[-1] if step.instruction == "RUN"]
    assert shlex.split(made)[-3:] == ["--owner=10001", "--group=10001", STATE]
    assert only("EXPOSE") == image_environment()["TALLY_WEB_PORT"]


def test_every_variable_of_the_image_and_of_compose_is_a_setting() -> None:
    known = {f"TALLY_{name.upper()}" for name in Settings.model_fields}
    used = {*image_environment(), *(name for service in ours().values() for name in service["environment"])}
    assert {name for name in used if name.startswith("TALLY_")} <= known


@pytest.mark.parametrize("service", services().values(), ids=services())
def test_no_container_may_do_more_than_it_must(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] in {"unless-stopped", "no"}
    assert not service.get("privileged")
    assert service.get("user") != "root"
    assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}


@pytest.mark.parametrize("name", [*ours(), "prometheus", "grafana"])
def test_the_root_file_system_cannot_be_written(name: str) -> None:
    assert services()[name]["read_only"] is True


@pytest.mark.parametrize("name", [name for name, service in services().items() if service["restart"] != "no"])
def test_what_runs_for_long_has_a_memory_limit(name: str) -> None:
    assert int(services()[name]["mem_limit"]) > 0


@pytest.mark.parametrize("name", WORKERS)
def test_a_workers_limit_has_room_for_its_budget_and_what_it_takes_beside_it(name: str) -> None:
    worker = services()[name]
    assert int(worker["mem_limit"]) >= (int(worker["environment"]["TALLY_MEMORY_MB"]) + 150) << 20


def test_workers_share_nothing() -> None:
    workers = [services()[name] for name in WORKERS]
    assert [worker["environment"]["TALLY_WORKER_ID"] for worker in workers] == list(WORKERS)
    assert [[(mount["source"], mount["target"]) for mount in worker["volumes"]] for worker in workers] == [
        [(name, STATE)] for name in WORKERS
    ]
    assert len({worker["ports"][0]["published"] for worker in workers}) == len(WORKERS)


def test_compose_has_the_local_brokers_kafka() -> None:
    properties = dict(
        line.split("=", 1)
        for line in (ROOT / "docker" / "kafka" / "server.properties").read_text().splitlines()
        if line and not line.startswith("#")
    )
    properties["message.max.bytes"] = str(MAX_CHANGELOG_BYTES)
    environment = services()["kafka"]["environment"]
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    assert given.keys() == properties.keys()
    apart = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs"}
    assert {name: given[name] for name in given.keys() - apart} == {name: properties[name] for name in given.keys() - apart}


def test_the_file_says_where_it_is_explained() -> None:
    [section] = re.findall(r'README, "([^"]+)"', COMPOSE.read_text())
    assert f"\n## {section}\n" in (ROOT / "README.md").read_text()
