"""One real broker for the whole run, a topic prefix for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics, delete_topics
from streams.local_broker import LocalBroker
from streams.settings import Settings

# A shared machine's slowness is no defect (no deadline); a failure prints how to repeat it, and every run tries other examples.
hypothesis_settings.register_profile("tally", deadline=None, print_blob=True, derandomize=False, max_examples=50)
hypothesis_settings.load_profile("tally")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the broker, so that `-m "not kafka"` leaves it out."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A real Kafka; its supervisor ends it with this process, however that ends."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def prefix() -> str:
    """Before every name that this test makes on the cluster."""
    return f"t-{uuid.uuid4().hex[:8]}."


@pytest.fixture
def topics(broker: LocalBroker, prefix: str) -> Iterator[str]:
    """Every declared topic, under this test's prefix; gives the prefix."""
    admin = admin_client(Settings(bootstrap_servers=broker.bootstrap_servers, prefix=prefix))
    apply_topics(admin, TOPICS, prefix)
    try:
        yield prefix
    finally:
        delete_topics(admin, prefix)
