"""Metrics: bounded labels, one page for several processes, stages that add up."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qasir import errors
from qasir.errors import QasirError
from service import metrics
from service.metrics import METRICS, OTHER, Metric
from service.telemetry import Reading, Stopwatch, Telemetry

CHILD = """
from service.metrics import SEARCH_SECONDS, SERVICE_METRICS
from service.telemetry import Telemetry
telemetry = Telemetry(SERVICE_METRICS)
telemetry.observe(SEARCH_SECONDS, 0.01, mode="fast", grid_size="2")
"""


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_unknown_label_values_become_other() -> None:
    telemetry = Telemetry(METRICS)
    telemetry.count(metrics.JOB_FAILURES, code="v1234567890")
    assert samples(telemetry.page())["qasir_job_failures_total", (("code", OTHER),)] == 1


def test_every_error_code_is_a_label_value() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {kind.code for kind in classes if issubclass(kind, QasirError)}
    assert codes == set(metrics.JOB_FAILURES.labels["code"])


def test_gauges_are_read_when_asked() -> None:
    telemetry = Telemetry(METRICS)
    for count in (1, 7):
        page = telemetry.page(lambda count=count: [Reading(metrics.INDEX_VIDEOS, count)])  # type: ignore[misc]  # bound now
        assert samples(page)["qasir_index_videos", ()] == count


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_catalogue_entries_follow_the_rules(metric: Metric) -> None:
    assert metric.name.startswith("qasir_")
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(values for values in metric.labels.values())


def test_names_are_not_used_twice() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_page_adds_up_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CHILD], check=True)
    labels = (("grid_size", "2"), ("mode", "fast"))
    assert samples(Telemetry(()).page())["qasir_search_seconds_count", labels] == 2


def test_stopwatch_adds_up_stages() -> None:
    now = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0])
    watch = Stopwatch(lambda: next(now))
    for _ in range(2):
        with watch.stage("encode"):
            pass
    assert watch.seconds == {"encode": 6.0}
    assert watch.total == 20.0
