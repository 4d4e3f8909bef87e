"""Dashboards: fresh, whole, and asking only for what somebody exports."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitoring.dashboards import BOARDS, rendered
from monitoring.evidence import VARIABLES
from monitoring.queries import (
    DASHBOARDS,
    FOLDER,
    absent_hardware,
    dashboard_queries,
    metric_names,
    rule_queries,
    rules,
    substituted,
)
from service.observability.metrics import METRICS, Metric
from tests.support.monitoring import variable_queries
from tests.support.triton import RunningTriton

FILES = sorted(DASHBOARDS.glob("*.json"))
ABSENT_QUERIES = 10
# Prometheus's own series, and those of an exporter that the live test asks.
OTHERS = re.compile(r"(up|ALERTS|node_[a-z_A-Z]+)$")


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_the_committed_files_are_fresh() -> None:
    written = {path.name: path.read_text() for path in FILES}
    assert written == {f"{board.uid}.json": rendered(board) for board in BOARDS}, (
        "run `python -m monitoring.dashboards`"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows(path: Path) -> None:
    ids = [panel["id"] for panel in json.loads(path.read_text())["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(path):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_variables_are_declared_and_used(path: Path) -> None:
    board = json.loads(path.read_text())
    declared = [variable["name"] for variable in board["templating"]["list"]]
    assert declared[0] == "datasource"
    used = set(re.findall(r"\$(?!__)(\w+)", json.dumps(board["panels"])))
    assert used == set(declared)


def test_all_choices_are_offered_somewhere() -> None:
    assert {label for _, label in variable_queries()} >= {"instance", "mode", "grid_size"}


def test_names_of_panels_are_unique() -> None:
    names = [query.name for query in dashboard_queries()]
    assert len(set(names)) == len(names)


def test_absent_hardware_is_named_and_counted() -> None:
    absent = absent_hardware()
    assert absent <= {query.name for query in dashboard_queries()}
    assert len(absent) == ABSENT_QUERIES
    exprs = [query.expr for query in dashboard_queries() if query.name in absent]
    for name in {name for expr in exprs for name in metric_names(substituted(expr, VARIABLES))}:
        assert name.startswith(("nv_gpu_", "node_disk_", "node_filesystem_", "node_network_"))


def series_names(metric: Metric) -> set[str]:
    """The names of a metric's series on a page."""
    if metric.kind != "histogram":
        return {metric.name}
    return {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}


def test_only_what_somebody_exports_is_asked_for(triton_server: RunningTriton) -> None:
    """The catalogue, Triton's own page, the rules' records; the live test asks node_exporter."""
    port = triton_server.settings.triton_metrics_port
    page = httpx.get(f"http://{triton_server.settings.triton_host}:{port}/metrics").text
    known = {family.name for family in text_string_to_metric_families(page)}
    known |= {f"{name}_total" for name in known}
    known |= {name for metric in METRICS for name in series_names(metric)}
    known |= {rule["record"] for rule in rules() if "record" in rule}
    gpu = {"utilization", "memory_used_bytes", "memory_total_bytes", "power_usage", "power_limit"}
    known |= {f"nv_gpu_{name}" for name in gpu}
    asked = [substituted(q.expr, VARIABLES) for q in (*dashboard_queries(), *rule_queries())]
    names = {name for expr in asked for name in metric_names(expr)}
    names |= {metric for metric, _ in variable_queries()}
    assert {name for name in names if not OTHERS.match(name)} <= known
    assert any(name.startswith("nv_inference_") for name in names)


def test_every_metric_of_the_catalogue_is_on_a_panel_or_in_a_rule() -> None:
    asked = [substituted(q.expr, VARIABLES) for q in (*dashboard_queries(), *rule_queries())]
    names = {name for expr in asked for name in metric_names(expr)}
    assert [metric.name for metric in METRICS if not names & series_names(metric)] == []


def test_provisioning_finds_the_files() -> None:
    folder = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((folder / "dashboards" / "qasir.yml").read_text())["providers"]
    assert source["type"] == "prometheus"
    scrape = read(FOLDER / "prometheus.yml")["global"]["scrape_interval"]
    # Grafana derives $__rate_interval from it.
    assert source["jsonData"]["timeInterval"] == scrape
    compose = read(FOLDER.parent / "compose.yaml")
    mounted = [volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"]]
    assert ["./monitoring/grafana/dashboards", provider["options"]["path"]] in mounted
