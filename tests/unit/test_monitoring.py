"""Alert rules and the dashboard: Prometheus' own checker on the rules, and no name that the typed list of metrics lacks."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.metrics import METRICS, Kind
from streams.tasks import TaskState
from streams.topology import TOPOLOGY
from tests.support.image import ROOT, image_environment, services
from tests.support.promql import grouped_by, selectors, shown_labels
from tests.support.promtool import promtool_file

PROMETHEUS = ROOT / "docker" / "prometheus"
GRAFANA = ROOT / "docker" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "tally.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
CASES = [
    case for test in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"] for case in test["alert_rule_test"]
]
PROMETHEUS_ITSELF = {"instance", "job", "le"}
"""Labels that no worker writes: which target it was, by which job, and a histogram's upper bound."""


def labels_of_series() -> dict[str, set[str]]:
    """Give each series that a worker has, with its labels, and ``up``, which Prometheus makes of it."""
    found: dict[str, set[str]] = {"up": set()}
    found |= {metric.name: set(metric.labels) for metric in METRICS if metric.kind is not Kind.HISTOGRAM}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.name}_{part}": set(metric.labels) for part in ("bucket", "sum", "count")}
    return found


SERIES = labels_of_series()


def complaints(expression: str, shown: str) -> list[str]:
    """Say what an expression, and the text that shows its result, name that does not exist."""
    found: list[str] = []
    possible = set(PROMETHEUS_ITSELF)
    for selector in selectors(expression):
        if selector.metric not in SERIES:
            found.append(f"there is no metric {selector.metric}")
            continue
        labels = SERIES[selector.metric] | PROMETHEUS_ITSELF
        possible |= labels
        for label, values in selector.filters:
            if label not in labels:
                found.append(f"{selector.metric} has no label {label}")
            if label == "state" and not values <= set(TaskState):
                found.append(f"no task is {values - set(TaskState)}")
    found += [f"no metric here has the label {label}" for label in (grouped_by(expression) | shown_labels(shown)) - possible]
    return found


@pytest.mark.parametrize(
    ("expression", "shown", "said"),
    [
        ("sum(rate(tally_lag_seconds[5m])) / tally_lag", "", "there is no metric tally_lag"),
        ("max(max_over_time(tally_lags[5m:1m]))", "", "there is no metric tally_lags"),
        ('tally_lag_seconds{worker="w1"}', "", "tally_lag_seconds has no label worker"),
        ('tally_task_state{state=~"paused|asleep"}', "", "no task is frozenset({'asleep'})"),
        ("sum by (cause) (tally_lag_seconds)", "", "no metric here has the label cause"),
        ("tally_lag_seconds * on (reason) tally_lag_records", "", "no metric here has the label reason"),
        ("tally_lag_seconds", "{{stage}}/{{ $labels.reason }} {{ $value | humanize }}", "no metric here has the label reason"),
        ("tally_epoch_duration_seconds", "", "there is no metric tally_epoch_duration_seconds"),
    ],
)
def test_a_name_that_does_not_exist_is_found(expression: str, shown: str, said: str) -> None:
    assert complaints(expression, shown) == [said]


# Alerts.


def promtool(*words: str) -> None:
    if not promtool_file().is_file():
        pytest.skip("promtool is not built: `make promtool` builds it, and `make test` does so first")
    done = subprocess.run([promtool_file(), *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


def test_promtool_finds_every_rule_raised_when_it_should_be_and_only_then() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_promtool_would_find_a_rule_that_is_wrong(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    (tmp_path / "alerts_test.yml").write_text((PROMETHEUS / "alerts_test.yml").read_text())
    (tmp_path / "alerts.yml").write_text(rules.replace("tally_poll_age_seconds > 60", "tally_poll_age_seconds > 600"))
    assert (tmp_path / "alerts.yml").read_text() != rules
    with pytest.raises(AssertionError, match="TallyPollLoopStuck"):
        promtool("test", "rules", str(tmp_path / "alerts_test.yml"))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_history_that_raises_it_and_one_that_does_not(rule: dict[str, Any]) -> None:
    raised = [bool(case.get("exp_alerts")) for case in CASES if case["alertname"] == rule["alert"]]
    assert sorted(set(raised)) == [False, True]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do_in_names_that_exist(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert sorted(rule["annotations"]) == ["description", "summary"]
    assert complaints(rule["expr"], " ".join(rule["annotations"].values())) == []


def test_all_that_an_operator_must_not_miss_has_an_alert() -> None:
    watched = {selector.metric for rule in ALERTS for selector in selectors(rule["expr"])}
    assert watched >= {
        "up", "tally_task_state", "tally_lag_seconds", "tally_epoch_aborts_total", "tally_poll_age_seconds",
        "tally_dead_letters_total", "tally_transaction_age_seconds", "tally_cluster_waits",
    }  # fmt: skip


def test_the_number_of_tasks_is_the_topologys() -> None:
    tasks = sum(stage.changelog.partitions for stage in TOPOLOGY)
    [owned] = [rule for rule in ALERTS if rule["alert"] == "TallyTasksWithoutOwner"]
    assert owned["expr"].endswith(f"< {tasks}")
    assert f"of {tasks} tasks" in owned["annotations"]["summary"]


def test_prometheus_asks_every_worker_of_compose_where_it_answers() -> None:
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    workers = [name for name, service in services().items() if service.get("command") == ["worker"]]
    targets = [target for config in job["static_configs"] for target in config["targets"]]
    assert sorted(targets) == sorted(f"{name}:{image_environment()['TALLY_WEB_PORT']}" for name in workers)
    assert job["job_name"] == "tally"


# The dashboard.


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_unit_a_meaning_and_only_names_that_exist(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert panel["targets"]
    for target in panel["targets"]:
        assert complaints(target["expr"], target["legendFormat"]) == []


def test_every_metric_can_be_seen() -> None:
    shown = {selector.metric for panel in PANELS for target in panel["targets"] for selector in selectors(target["expr"])}
    unseen = {metric.name for metric in METRICS if not any(name.startswith(metric.name) for name in shown)}
    assert unseen == {"tally_ready", "tally_worker_info"}, "what only health checks and joins are for"


def test_the_dashboards_datasource_is_the_one_that_is_provisioned() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} | {
        panel["datasource"]["uid"] for panel in PANELS
    }
    assert used == {source["uid"]}
    host, _, port = re.sub("^http://", "", source["url"]).partition(":")
    assert host in services()
    assert port == str(services()[host]["ports"][0]["target"])


def test_panels_have_numbers_of_their_own_and_cover_nothing() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_what_grafana_and_prometheus_read_is_mounted_where_they_look() -> None:
    mounted = {
        mount["target"]: Path(mount["source"]) for name in ("prometheus", "grafana") for mount in services()[name]["volumes"]
    }
    for target in (
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/alerts.yml",
        "/etc/grafana/provisioning",
        "/var/lib/dashboards",
    ):
        assert mounted[target].exists(), target
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "tally.yml").read_text())["providers"]
    home = Path(services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounted[provider["options"]["path"]] / home.name).is_file()
