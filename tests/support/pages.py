"""What a worker's pages say, also while it does not answer."""

from __future__ import annotations

import urllib.error
import urllib.request

from streams.metrics import Metric
from tests.support.worker import Worker
from tests.unit.test_metrics import samples


def ask(worker: Worker, path: str) -> tuple[int, str]:
    """Give the HTTP status and the text of a page; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.web_port}/{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def values(worker: Worker, metric: Metric) -> list[float]:
    """Give the samples of one metric, without their labels."""
    return list(samples(ask(worker, "metrics")[1], metric).values())
