"""Metrics: bounded labels, one page for several processes, stages that add up."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.observability import metrics
from service.observability.metrics import METRICS, OTHER
from service.observability.telemetry import GaugeSample, Stopwatch, Telemetry

CHILD = """
from service.observability.metrics import SEARCH_SECONDS, SERVICE_METRICS
from service.observability.telemetry import Telemetry
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


def test_a_histogram_needs_no_labels() -> None:
    telemetry = Telemetry(METRICS)
    telemetry.observe(metrics.JOB_WAIT_SECONDS, 2.5)
    page = samples(telemetry.page())
    assert page["qasir_job_wait_seconds_sum", ()] == 2.5
    assert page["qasir_job_wait_seconds_bucket", (("le", "1.0"),)] == 0
    assert page["qasir_job_wait_seconds_bucket", (("le", "5.0"),)] == 1


def test_failures_are_told_before_the_first() -> None:
    page = samples(Telemetry(METRICS).page())
    for code in metrics.JOB_FAILURES.labels["code"]:
        assert page["qasir_job_failures_total", (("code", code),)] == 0


def test_gauges_are_read_when_asked() -> None:
    telemetry = Telemetry(METRICS)
    for count in (1, 7):
        page = telemetry.page([GaugeSample(metrics.INDEX_VIDEOS, count)])
        assert samples(page)["qasir_index_videos", ()] == count


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
