"""What docker/Dockerfile and docker/compose.yaml say, read by Docker's own tools where they need no engine, and done by hand.

There is no engine here: a container's restrictions that the kernel gives to every process (a root file system
that cannot be written, no capabilities, being process 1) are put around the very command by util-linux.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"
INSTALLED = "/opt/tally"
STATE = "/var/lib/tally"


@dataclass(frozen=True)
class Step:
    """One instruction of a stage."""

    instruction: str
    value: str


@cache
def stages() -> tuple[tuple[Step, ...], ...]:
    """Give the instructions of each stage of the Dockerfile."""
    found: list[list[Step]] = []
    for line in DockerfileParser(str(DOCKERFILE)).structure:
        if line["instruction"] == "FROM":
            found.append([])
        if line["instruction"] != "COMMENT":
            found[-1].append(Step(line["instruction"], line["value"]))
    return tuple(tuple(stage) for stage in found)


def only(instruction: str) -> str:
    """Give the value of an instruction that the image has once."""
    [value] = [step.value for step in stages()[-1] if step.instruction == instruction]
    return value


def image_environment() -> dict[str, str]:
    """Give the variables that the image sets."""
    words = [word for step in stages()[-1] if step.instruction == "ENV" for word in shlex.split(step.value)]
    return dict(word.split("=", 1) for word in words)


def health_command() -> list[str]:
    """Give the command that says whether a container is healthy."""
    command: list[str] = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
    return command


def compose(*words: str) -> str:
    """Ask Docker Compose something of our file, all profiles included.

    Raises:
        AssertionError: it refuses the file; with its words.
    """
    command = [str(Path(sys.executable).with_name("docker-compose")), "-f", str(COMPOSE), "--profile", "*", *words]
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}  # without what a file's ${...} could find here
    done = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def services() -> dict[str, dict[str, Any]]:
    """Give each service with anchors, defaults and variables resolved, as Compose understands them."""
    found: dict[str, dict[str, Any]] = json.loads(compose("config", "--format", "json"))["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Give the services that run our image."""
    return {name: service for name, service in services().items() if "build" in service}


def build_by_hand(folder: Path) -> Path:
    """Do what the Dockerfile's first stage does; give where it installed.

    The copies go to an empty folder, so that a file which is not copied is missing. Only the dependencies are not
    installed again: they are those of the environment that runs the tests.
    """
    source, installed = folder / "src", folder / "opt"
    source.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # pip reads "no" to "no isolation" as its being off.
    environment = {**os.environ, "PATH": path, "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "no", "PIP_QUIET": "1"}
    for step in stages()[0]:
        if step.instruction == "COPY":
            *names, target = step.value.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__", "target"))
                else:
                    shutil.copy(ROOT / name, source / target)
        elif step.instruction == "RUN":
            script = re.sub(r"--mount=\S+", "", step.value).replace(INSTALLED, str(installed))
            subprocess.run(["sh", "-ec", script], cwd=source, env=environment, timeout=240, check=True)
            [packages] = installed.glob("lib/python*/site-packages")
            (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(source)
    return installed


def command_of(service: Mapping[str, Any]) -> list[str]:
    """Give what a container of the service runs."""
    return [*json.loads(only("ENTRYPOINT")), *(service["command"] or json.loads(only("CMD")))]


def environment_of(service: Mapping[str, Any], installed: Path, state: Path, **instead: str) -> dict[str, str]:
    """Give a container's whole environment, with the folders of this machine; ``instead`` replaces what a host differs in."""
    variables = {**image_environment(), **service["environment"], **instead}
    return {name: value.replace(INSTALLED, str(installed)).replace(STATE, str(state)) for name, value in variables.items()}


def contained(command: list[str], installed: Path, state: Path) -> list[str]:
    """Put a container's restrictions around a command: it is process 1, writes to its state only, and may do nothing special.

    Where the kernel does not let this user (or is not Linux), the command is given back as it is.
    """
    program = [str(installed / "bin" / command[0]), *command[1:]]
    if not can_contain():
        return program
    script = f"mount --bind {state} {state} && mount -o remount,bind,ro / && exec {shlex.join([*_WITHOUT_RIGHTS, *program])}"
    return [*_NAMESPACES, "sh", "-ec", script]


_NAMESPACES = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    *([] if os.getuid() == 0 else ["--user", "--map-root-user"]),
]
_WITHOUT_RIGHTS = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


@cache
def can_contain() -> bool:
    """Tell whether this machine lets us make namespaces."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    script = f"mount -o remount,bind,ro / && exec {shlex.join(_WITHOUT_RIGHTS)} true"
    return subprocess.run([*_NAMESPACES, "sh", "-ec", script], capture_output=True, timeout=30, check=False).returncode == 0
