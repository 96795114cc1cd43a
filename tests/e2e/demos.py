"""Demos as processes on the tests' own cluster: started, ended in any case, their topics taken away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import AdminClient

from connectors.cluster import Cluster
from streams.admin import admin_client
from streams.demo.workers import logs_folder
from streams.own_cluster import cluster_id_of, groups_under, remove
from streams.settings import Settings
from tests.support import somebodys

ROOT = Path(__file__).resolve().parents[2]
DEMO = (sys.executable, "-c", "from streams.cli import main; main()", "demo")


@contextmanager
def started(home: Path, cluster: Cluster, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``tally demo`` on this cluster; whatever of it still lives at the end is killed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TALLY_", "KAFKA_"))}
    environment = clean | {
        "TALLY_HOME": str(home),
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "TALLY_ALLOW_CLUSTER": cluster_id_of(AdminClient(cluster.producer())),
        **options.pop("environment", {}),
    }
    demo = subprocess.Popen([*DEMO, *arguments], env=environment, cwd=ROOT, **options)
    try:
        yield demo
    finally:
        demo.kill()
        demo.wait()
        for worker in workers_of(home):
            worker.kill()
        _clear(home, cluster)


def _clear(home: Path, cluster: Cluster) -> None:
    """Take away what demos of this home left, and nobody else's: the cluster may be somebody's, with demos of others."""
    settings = Settings(bootstrap_servers=cluster.bootstrap_servers, home=home)
    admin = admin_client(settings)
    for prefix in {f"{file.name.partition('.')[0]}." for file in logs_folder(settings).glob("demo-*.*")}:
        # A killed worker is a member for 45 s more: the tests' own broker ends with them, so nobody waits for that there.
        remove(admin, prefix, groups_under(admin, prefix) if somebodys.servers() else [])


def workers_of(home: Path) -> list[psutil.Process]:
    """The worker processes of this home that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TALLY_HOME") == str(home.resolve()) and "worker" in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def prefix_in(said: str) -> str:
    """The prefix that a demo has made its topics under; empty before it says so."""
    found = re.search(r"topics: \d+ made under the prefix (demo-\S+\.)\s", said)
    return found[1] if found else ""
