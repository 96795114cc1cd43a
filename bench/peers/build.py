"""How the peers are built, and which versions they are of: with Maven, or in an environment of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.product import ROOT
from streams.kafka_runtime import find_java

PEERS_FOLDER = ROOT / "bench" / "peers"


class BuildError(Exception):
    """A peer could not be built; the sentence says what is missing."""


def maven_build(folder: Path) -> Callable[[], None]:
    """Give what compiles a peer in Java and fetches what it needs."""

    def build() -> None:
        maven = shutil.which("mvn")
        if find_java() is None or maven is None:
            raise BuildError(
                f"{folder.name} needs Java 17 or newer and Maven (`mvn`): install them, or leave it out with --peers"
            )
        command = [maven, "-q", "-B", "-f", str(folder / "pom.xml"), "process-classes"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            said = "\n".join((built.stdout + built.stderr).splitlines()[:10])
            raise BuildError(f"Maven could not build {folder.name}:\n{said}")

    return build


def pom_versions(folder: Path) -> dict[str, str]:
    """Give the properties that are versions, of a peer's pom and of the one that all of them have."""
    name_space = "{http://maven.apache.org/POM/4.0.0}"
    versions: dict[str, str] = {}
    for pom in (PEERS_FOLDER / "pom.xml", folder / "pom.xml"):
        found = ET.parse(pom).getroot().find(f"{name_space}properties")  # noqa: S314 - a file of this repository
        tags = {} if found is None else {each.tag.removeprefix(name_space): each.text or "" for each in found}
        versions |= {name: text for name, text in tags.items() if name.endswith(".version")}
    return versions


def venv_build(folder: Path, venv: Path, pins: Path) -> Callable[[], None]:
    """Give what makes a peer's own environment of the requirements in its folder, at the versions of ``pins``."""

    def build() -> None:
        requirements, stamp = folder / "requirements.txt", venv / "installed.txt"
        wanted = requirements.read_text(encoding="utf-8") + pins.read_text(encoding="utf-8")
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        constraints = ["-c", str(pins), "-r", str(requirements)]
        for command in ([sys.executable, "-m", "venv", "--clear", str(venv)], [*install, *constraints]):
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                said = "\n".join((made.stdout + made.stderr).splitlines()[:10])
                raise BuildError(f"the environment of {folder.name} could not be made:\n{said}")
        stamp.write_text(wanted, encoding="utf-8")

    return build


def venv_versions(venv: Path) -> dict[str, str]:
    """Give what is installed in a peer's environment."""
    asked = [str(venv / "bin" / "python"), "-m", "pip", "freeze", "--disable-pip-version-check"]
    frozen = subprocess.run(asked, capture_output=True, text=True, check=True)
    return dict(line.split("==") for line in frozen.stdout.splitlines() if line.count("==") == 1)
