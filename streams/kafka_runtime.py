"""What runs Kafka on this machine: Java with Kafka's own jars from Maven, or else its official image in Docker.

The jars are copied once into the cache folder, under a temporary name first, so that a torn
download is never taken for a whole one. The Docker way has the same properties file; it is the
second choice because a container's pid and connections are not this machine's to see.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from streams.errors import BrokerFailed, NotRunnable

KAFKA_VERSION = "4.1.0"
"""As in docker/kafka/pom.xml; a test holds the two together."""
JAVA_MAJOR_MIN = 17
"""Kafka 4 brokers need it."""
IMAGE = f"apache/kafka:{KAFKA_VERSION}"
DEFINITIONS = Path(__file__).resolve().parent.parent / "docker" / "kafka"
"""The pom, the properties template and the log configuration."""
PROBE_TIMEOUT_S = 20.0
"""For `java -version` and `docker info`, which answer in under a second or hang."""
CONTAINER_FOLDER = "/tally"
HEAP_START_MB = 256
"""Enough for the reference job without a single resize."""


@dataclass(frozen=True)
class JavaRuntime:
    """Kafka as a process of this machine."""

    java: str
    jars: Path
    bind_address: str = "127.0.0.1"
    container: None = None

    def seen(self, folder: Path) -> str:
        """Give the folder's path as the broker sees it."""
        return str(folder)

    def commands(self, folder: Path, *, heap_mb: int, cluster_id: str, broker_port: int) -> tuple[list[str], list[str]]:
        """Give the command that formats the storage and the one that serves."""
        del broker_port  # a process listens where its properties say
        classes = ["-cp", f"{self.jars}/*"]
        log = [f"-Dlog4j2.configurationFile={DEFINITIONS / 'log4j2.properties'}", f"-Dtally.log.folder={folder}"]
        properties = str(folder / "server.properties")
        storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", properties]
        heap = [*_heap(heap_mb), "-XX:+UseG1GC", "-Djava.awt.headless=true"]
        return [self.java, *log, *classes, *storage], [self.java, *heap, *log, *classes, "kafka.Kafka", properties]


@dataclass(frozen=True)
class DockerRuntime:
    """Kafka in its official image; the folder is mounted, the client port published on 127.0.0.1."""

    docker: str
    container: str
    bind_address: str = "0.0.0.0"  # noqa: S104 - inside the container; published on 127.0.0.1 only

    def seen(self, folder: Path) -> str:
        """Give the folder's path as the broker sees it."""
        del folder
        return CONTAINER_FOLDER

    def commands(self, folder: Path, *, heap_mb: int, cluster_id: str, broker_port: int) -> tuple[list[str], list[str]]:
        """Give the command that formats the storage and the one that serves."""
        shutil.copy(DEFINITIONS / "log4j2.properties", folder / "log4j2.properties")
        log = f"-Dlog4j2.configurationFile={CONTAINER_FOLDER}/log4j2.properties -Dtally.log.folder={CONTAINER_FOLDER}"
        run = [
            self.docker, "run", "--rm", "--name", self.container, "--user", f"{os.getuid()}:{os.getgid()}",
            "--volume", f"{folder}:{CONTAINER_FOLDER}", "--env", f"LOG_DIR={CONTAINER_FOLDER}/logs",
            "--env", f"KAFKA_HEAP_OPTS={' '.join(_heap(heap_mb))}", "--env", f"KAFKA_LOG4J_OPTS={log}",
        ]  # fmt: skip
        properties = f"{CONTAINER_FOLDER}/server.properties"
        # The image's own entry point would mix its defaults into our properties; Kafka's scripts take them as they are.
        storage = ["/opt/kafka/bin/kafka-storage.sh", IMAGE, "format", f"--cluster-id={cluster_id}", "--config", properties]
        publish = ["--publish", f"127.0.0.1:{broker_port}:{broker_port}"]
        serve = ["/opt/kafka/bin/kafka-server-start.sh", IMAGE, properties]
        return [*run, "--entrypoint", *storage], [*run, *publish, "--entrypoint", *serve]


Runtime = JavaRuntime | DockerRuntime


def find_runtime(container: str) -> Runtime:
    """Find what can run Kafka here, downloading its jars the first time.

    Args:
        container: name of the container, should it come to Docker.

    Raises:
        NotRunnable: neither Java 17+ with Maven nor a Docker engine; the sentence says what to install.
        BrokerFailed: Maven could not copy the jars.

    """
    java, maven, jars = find_java(), shutil.which("mvn"), cache_folder(f"kafka-{KAFKA_VERSION}")
    if java and (maven or jars.is_dir()):
        fetch(jars, f"Kafka {KAFKA_VERSION}", DEFINITIONS / "pom.xml", "dependency:copy-dependencies")
        return JavaRuntime(java, jars)
    docker = shutil.which("docker")
    if docker and _answers([docker, "info"]):
        return DockerRuntime(docker, container)
    missing = "Maven (`mvn`) is" if java else f"Java {JAVA_MAJOR_MIN} or newer is"
    raise NotRunnable(
        f"cannot run Kafka here: {missing} missing and no Docker engine answers; "
        f"install Java {JAVA_MAJOR_MIN}+ and Maven, or start a Docker engine, and try again"
    )


def _heap(heap_mb: int) -> list[str]:
    return [f"-Xms{min(HEAP_START_MB, heap_mb)}m", f"-Xmx{heap_mb}m"]


def cache_folder(name: str) -> Path:
    """Give the folder in which every checkout finds what was downloaded once."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tally" / name


def find_java() -> str | None:
    """Give a Java that is new enough. A launcher that is there and does not run (macOS has one) is none."""
    home = os.environ.get("JAVA_HOME")
    for java in (shutil.which("java", path=f"{home}/bin") if home else None, shutil.which("java")):
        if java is None:
            continue
        version = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)  # noqa: S603
        major = re.search(r'version "(\d+)', version.stderr + version.stdout)
        if version.returncode == 0 and major and int(major[1]) >= JAVA_MAJOR_MIN:
            return java
    return None


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False).returncode == 0  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def fetch(folder: Path, what: str, pom: Path, goal: str) -> None:
    """Let a goal of Maven fill ``folder``, unless it is there.

    Raises:
        NotRunnable: there is no Maven.
        BrokerFailed: Maven could not do it.

    """
    if folder.is_dir():
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise NotRunnable(f"cannot fetch {what}: install Maven (`mvn`), and try again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        command = [maven, "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={fresh}"]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if fetched.returncode != 0:
            said = "\n".join((fetched.stdout + fetched.stderr).splitlines()[:5])
            raise BrokerFailed(f"Maven could not fetch {what}; mend Maven's settings or the network, and try again:\n{said}")
        try:
            fresh.rename(folder)
        except OSError:
            # Two first runs at once: the other was faster, and its copy is as good.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
