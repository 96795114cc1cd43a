"""One real broker for the whole run, a topic prefix for each test.

With ``KAFKA_BOOTSTRAP_SERVERS`` it is somebody's cluster (``tests/support/somebodys.py``).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics, delete_topics
from streams.errors import TallyError
from streams.local_broker import LocalBroker
from streams.own_cluster import check_allowed
from streams.settings import Settings, load_settings
from tests.support import somebodys
from tests.support.somebodys import SomebodysBroker

# Brokers of tests live for seconds to minutes: what Java's second compiler spends on them is never earned back.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

# A shared machine's slowness is no defect (no deadline); a failure prints how to repeat it, and every run tries other examples.
hypothesis_settings.register_profile("tally", deadline=None, print_blob=True, derandomize=False, max_examples=50)
hypothesis_settings.load_profile("tally")

SAID_LINES = 15
"""Of each worker's log, in the report of a failed test."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ask before anything is made on somebody's cluster; once, not in every process of a run."""
    if not somebodys.servers() or hasattr(session.config, "workerinput") or session.config.option.markexpr == "not kafka":
        return
    try:
        cluster_id = somebodys.cluster_id()
        session.config.pluginmanager.get_plugin("terminalreporter").write_line(somebodys.announcement(cluster_id))  # type: ignore[union-attr]
        check_allowed(cluster_id, load_settings().allow_cluster)
    except TallyError as error:
        pytest.exit(str(error), returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the broker, so that `-m "not kafka"` leaves it out, and skip what would harm somebody's."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
        own = item.get_closest_marker("own_broker")
        if own is not None and somebodys.servers():
            item.add_marker(pytest.mark.skip(reason=somebodys.why_skipped(own.args[0])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put into the report of a failed test what its broker and its workers said last: their folders may go with the machine."""
    report = yield
    if report.failed:
        given = getattr(item, "funcargs", {})
        if isinstance(broker := given.get("broker"), LocalBroker):
            report.sections.append(("what the broker said last", broker.log_tail()))
        if isinstance(folder := given.get("tmp_path"), Path):
            report.sections += [(f"the end of {log.name}", _end_of(log)) for log in sorted(folder.glob("*.log"))]
    return report


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-SAID_LINES:])


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker | SomebodysBroker]:
    """A real Kafka; its supervisor ends it with this process, however that ends."""
    if somebodys.servers():
        yield SomebodysBroker(load_settings())
        return
    with LocalBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def prefix() -> Iterator[str]:
    """Before every name that this test makes on the cluster; on somebody's, what is left under it goes."""
    made = f"{somebodys.PREFIX}{uuid.uuid4().hex[:8]}."
    yield made
    if somebodys.servers():
        somebodys.remove_all(made)


@pytest.fixture
def topics(broker: LocalBroker, prefix: str) -> Iterator[str]:
    """Every declared topic, under this test's prefix; gives the prefix."""
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=prefix))
    apply_topics(admin, TOPICS, prefix)
    try:
        yield prefix
    finally:
        delete_topics(admin, prefix)
